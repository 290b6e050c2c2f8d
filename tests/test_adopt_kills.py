"""An adoption that is killed at any moment is gone on with by the next, and ends where an undisturbed one does."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import forker
from tests.support.big_table import fill
from tests.support.catalog_dump import CATALOGUE
from tests.support.chatbots import copied, in_utc, rows_there
from tests.support.faults import Fault, moments_of
from tests.support.forker import Forker
from tests.support.killing import kill_at, statements_of
from tests.support.proxy import Moment, Proxy
from tests.support.servers import Server, execute
from tests.support.thorough import series
from tests.support.unversioned import DIFFERENCES, unversioned
from todo_schema import UnversionedSchemaError, adopt, check, upgrade

# Of the moments that no part begins or ends at, one of so many is tried; and of the ends of transactions, which are
# alike but for their table.
EVERY = series(307, 5)
EVERY_END = series(5, 1)
EVERY_ON_ASYNCPG = series(307, 17)
PARTS = 2

# Of somebody else's, and dropped for a while: its column becomes another type.
THEIRS = "ix; their \"own'%s"
INDEX = """CREATE INDEX "ix; their ""own'%s" ON messages (created_at DESC, role) WHERE role = 'user'"""

At = tuple[int, Moment]


@pytest.fixture(scope="module")
def filled(server: Server, chatbot_template: str) -> str:
    """A database of the chatbot with rows and that index, to be copied; nobody may connect to it."""
    url = in_utc(server.create_database(template=chatbot_template))
    fill(url, 1000)
    execute(url, INDEX)
    return url


@pytest.fixture(scope="module")
def clean(server: Server, filled: str) -> tuple[str, dict[str, tuple[Any, ...]]]:
    """The catalogue that one undisturbed adoption leaves, and the rows."""
    with copied(server, filled) as url:
        there = rows_there(url)
        adopt(url, apply=True)
        assert execute(url, "SELECT FROM pg_class WHERE relname = %s", (THEIRS,))
        return left(url)[0], there


@pytest.fixture(scope="module")
def adopters() -> Iterator[Forker]:
    with forker.forker(forker.ADOPT) as running:
        yield running


@pytest.fixture(scope="module")
def async_adopters() -> Iterator[Forker]:
    with forker.forker(forker.ADOPT_ASYNC) as running:
        yield running


def left(url: str) -> tuple[str, list[str], int]:
    """The catalogue, the version, and how often it was adopted."""
    ((catalogue, recorded, adoptions),) = execute(
        url,
        f"SELECT ({CATALOGUE}), array(SELECT version_num FROM todo_schema_version),"
        " (SELECT count(*) FROM todo_schema_history WHERE line = 'expand' AND action = 'adopt')",
    )
    return catalogue, recorded, adoptions


def statements_of_an_adoption(server: Server, filled: str, adopters: Forker) -> dict[int, str]:
    with copied(server, filled) as url:
        return statements_of(server, url, adopters)


def moments_that_matter(statements: dict[int, str], every: int) -> list[At]:
    """Those of all that ends a transaction with a lock, and of what is in none; and some of the others."""
    moments: list[At] = []
    ends: list[At] = []
    writes = False
    for number, sql in statements.items():
        writes = (writes or sql.startswith("LOCK TABLE")) and not sql.startswith("BEGIN")
        if sql == "COMMIT" and writes:
            ends += [(number, "inside"), (number, "after")]
        elif sql.startswith(("CREATE INDEX", "DROP INDEX")) or " VALIDATE " in sql:
            moments += [(number, "before"), (number, "inside")]
    moments += ends[::EVERY_END]
    return [*moments, *(set(moments_of(statements)[::every]) - set(moments))]


def kill_and_go_on(
    at: At,
    server: Server,
    filled: str,
    adopters: Forker,
    clean: tuple[str, dict[str, tuple[Any, ...]]],
) -> None:
    with copied(server, filled) as url:
        kill_at(at, server, url, adopters)
        adopt(url, apply=True, timeout=30)
        assert left(url) == (clean[0], ["001"], 1), at
        assert rows_there(url) == clean[1], at


@pytest.mark.parametrize("part", range(PARTS))
def test_a_process_that_adopts_may_be_killed_between_and_inside_its_parts(
    server: Server,
    filled: str,
    adopters: Forker,
    clean: tuple[str, dict[str, tuple[Any, ...]]],
    part: int,
):
    statements = statements_of_an_adoption(server, filled, adopters)
    moments = moments_that_matter(statements, EVERY)
    assert len(moments) > 20
    for at in moments[part::PARTS]:
        kill_and_go_on(at, server, filled, adopters, clean)


def test_a_process_that_adopts_on_asyncpg_may_be_killed_too(
    server: Server, filled: str, async_adopters: Forker, clean: tuple[str, dict[str, tuple[Any, ...]]]
):
    statements = statements_of_an_adoption(server, filled, async_adopters)
    for at in moments_of(statements)[::EVERY_ON_ASYNCPG]:
        kill_and_go_on(at, server, filled, async_adopters, clean)


def test_an_upgrade_does_not_take_tables_that_an_index_is_still_owed(server: Server, adopters: Forker):
    """But for that index they are the tables of a version by then."""
    url = unversioned(server)
    execute(url, f"{DIFFERENCES['naive times']}; {INDEX}")
    fault = Fault(
        f'CREATE INDEX CONCURRENTLY "{THEIRS.replace(chr(34), chr(34) * 2)}"', "before", lambda _: None
    )
    with Proxy(server, on_statement=fault) as proxy:
        fault.act = proxy.cut
        (outcome,) = adopters.race(1, proxy.url(url))
    assert fault.happened
    assert outcome["kind"] == "MigrationFailedError", outcome
    with pytest.raises(UnversionedSchemaError, match=r"half adopted(.|\n)*adopt --url URL --apply"):
        upgrade(url)
    adopt(url, apply=True)
    upgrade(url)
    check(url, deep=True)
    assert execute(url, "SELECT FROM pg_class WHERE relname = %s", (THEIRS,))
