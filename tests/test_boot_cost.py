"""What the boot of an up-to-date replica costs: counts, which are the same on every machine."""

import asyncio

import pytest

from tests.support.processes import run_python
from tests.support.proxy import Proxy
from tests.support.states import AHEAD
from todo_schema import State, check, check_async, upgrade, upgrade_async

BOOTS = {
    "upgrade": upgrade,
    "upgrade_async": lambda url: asyncio.run(upgrade_async(url)),
    "check": check,
    "check_async": lambda url: asyncio.run(check_async(url)),
}


@pytest.mark.parametrize("boot", BOOTS.values(), ids=BOOTS)
def test_an_up_to_date_boot_is_one_statement_on_one_connection_in_two_round_trips(
    server, upgraded_database, boot
):
    with Proxy(server) as proxy:
        answer = boot(proxy.url(upgraded_database))
    assert getattr(answer, "after", answer) is State.CURRENT
    assert (proxy.connections, proxy.round_trips) == (1, 2)
    (statement,) = proxy.statements
    assert statement.sql.startswith("SELECT FROM todo_schema_version")
    assert ";" not in statement.sql


def test_an_up_to_date_boot_imports_no_alembic_and_no_models(upgraded_database):
    code = """
import sys
from todo_schema import upgrade
upgrade(sys.argv[1])
print([name for name in ("alembic", "sqlmodel", "asyncpg") if name in sys.modules])
"""
    assert run_python(code, upgraded_database).stdout == "[]\n"


def test_a_boot_on_a_newer_database_imports_no_alembic_and_takes_no_lock(server, upgraded_database):
    server.execute(AHEAD, upgraded_database)
    code = "import sys; from todo_schema import upgrade; print(upgrade(sys.argv[1]).after, 'alembic' in sys.modules)"
    with Proxy(server) as proxy:
        assert run_python(code, proxy.url(upgraded_database)).stdout == "ahead False\n"
    assert proxy.connections == 1
    assert not any("advisory" in statement.sql for statement in proxy.statements)
