"""A service's own Alembic in the same database: its version is neither read nor touched."""

import pytest

from tests.support.catalog_dump import dump
from tests.support.clusters import Cluster
from tests.support.proxy import Proxy
from tests.support.servers import Server, execute
from tests.support.ways import Call, both_drivers
from todo_schema import SCHEMA_VERSION, State


@both_drivers
@pytest.mark.parametrize("revision", ["001", "abc123"])
def test_an_alembic_version_of_the_service_is_neither_read_nor_touched(
    server: Server, database: str, call: Call, revision: str
):
    execute(
        database,
        "CREATE TABLE alembic_version (version_num varchar(32) NOT NULL);"
        f"INSERT INTO alembic_version VALUES ('{revision}')",
    )
    before = dump(database, tables=["alembic_version"])
    with Proxy(server) as proxy:
        url = proxy.url(database)
        assert call("upgrade", url).after is State.CURRENT
        call("upgrade", url)
        call("check", url, deep=True)
        call("status", url)
        call("history", url)
        call("plan", url)
        call("stamp", url, SCHEMA_VERSION)
        call("downgrade", url, to="base")
        call("upgrade", url)
        statements = [statement.sql for statement in proxy.statements]
    assert len(statements) > 50
    assert not [statement for statement in statements if "alembic" in statement.lower()]
    assert execute(database, "SELECT version_num FROM alembic_version") == [(revision,)]
    assert dump(database, tables=["alembic_version"]) == before


@both_drivers
def test_the_server_s_own_log_shows_no_alembic_version_either(private_server: Cluster, call: Call):
    """The proxy could miss a statement; the server cannot."""
    database = private_server.create_database()
    private_server.execute("CREATE TABLE alembic_version AS SELECT '001'::text AS version_num", database)
    private_server.set("log_statement", "all")
    private_server.set("log_min_duration_statement", 0)
    begin = len(private_server.log.read_text())
    assert call("upgrade", database).after is State.CURRENT
    call("downgrade", database, to="base")
    logged = private_server.log.read_text()[begin:]
    assert "todo_schema_version" in logged
    assert "alembic" not in logged
