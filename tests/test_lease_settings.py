"""A lease is taken, and the floor read after it, whatever the role, the database, the server or a name is like."""

import asyncio
from collections.abc import Iterator

import pytest
from sqlalchemy import text

from tests.support.backends import backend
from tests.support.holding import BEFORE_THE_LEASE, build_gates, gate_shut, wait_at_gate
from tests.support.leases import NO_FLOOR, factory_on, held_by, leases
from tests.support.servers import Server, database_name, execute
from tests.support.states import FLOOR
from tests.support.ways import role, role_of
from todo_schema import SchemaTooNewError, clients, session_factory, upgrade

SETTINGS = [
    "bytea_output = 'escape'",
    "client_min_messages = 'debug1'",
    "default_transaction_deferrable = on",
    "default_transaction_isolation = 'repeatable read'",
    "default_transaction_isolation = 'serializable'",
    "default_transaction_read_only = on",
    "lock_timeout = '1ms'",
    "quote_all_identifiers = on",
    "search_path = pg_catalog, public",
    "standard_conforming_strings = off",
    "statement_timeout = '200ms'",
]


@pytest.fixture(params=["server", "debian"])
def any_server(request: pytest.FixtureRequest) -> Server:
    """The shared server, and an older PostgreSQL."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def anywhere(any_server: Server) -> Iterator[str]:
    """The url of a database at the head, on either server."""
    url = any_server.create_database()
    upgrade(url)
    yield url
    any_server.drop_database(url)


@pytest.mark.parametrize("way", ["url", "psycopg"])
async def test_whatever_the_settings_of_the_role_are(any_server: Server, anywhere: str, way: str):
    with role(any_server, anywhere) as url:
        execute(anywhere, f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role_of(url)}")
        for setting in SETTINGS:
            execute(anywhere, f"ALTER ROLE {role_of(url)} RESET ALL; ALTER ROLE {role_of(url)} SET {setting}")
            async with factory_on(way, url) as factory:
                execute(anywhere, FLOOR)
                with pytest.raises(SchemaTooNewError):
                    await backend(factory)
                execute(anywhere, NO_FLOOR)
                pid = await backend(factory)
                assert leases(anywhere) == held_by({pid}), setting
                assert [client.pids for client in clients(anywhere).clients] == [(pid,)]
                async with factory.engine.connect() as connection:
                    name = setting.partition(" ")[0]
                    ((now, default),) = await connection.execute(
                        text(f"SELECT setting, reset_val FROM pg_settings WHERE name = '{name}'")
                    )
                assert now == default, "the message leaves no setting behind"


@pytest.mark.parametrize("isolation", ["repeatable read", "serializable"])
@pytest.mark.parametrize("way", ["url", "psycopg"])
async def test_the_floor_is_read_after_the_lease_was_taken_whatever_the_isolation_is(
    server: Server, upgraded_database: str, way: str, isolation: str
):
    """With one snapshot for both, a floor that is raised in between would not be seen."""
    build_gates(upgraded_database)
    with role(server, upgraded_database) as url:
        execute(
            upgraded_database,
            f"""GRANT USAGE ON SCHEMA gates TO {role_of(url)};
            GRANT SELECT ON ALL TABLES IN SCHEMA gates, public TO {role_of(url)};
            ALTER ROLE {role_of(url)} SET default_transaction_isolation = '{isolation}'""",
        )
        async with factory_on(way, url) as factory:
            with gate_shut(upgraded_database, BEFORE_THE_LEASE):
                newcomer = asyncio.create_task(backend(factory))
                await asyncio.to_thread(wait_at_gate, upgraded_database)
                execute(upgraded_database, f"SET search_path = public; {FLOOR}")
            with pytest.raises(SchemaTooNewError):
                await newcomer


@pytest.mark.parametrize("encoding", ["UTF8", "LATIN1", "SQL_ASCII"])
async def test_whatever_the_schema_is_called_and_the_encoding_is(server: Server, encoding: str):
    url = server.create_database(encoding=encoding)
    try:
        for schema in ("todo", 'we"ird%1', "a'b\\c", "Select; :name %(x)s {y} %s --", "schön" + "x" * 57):
            upgrade(url, schema=schema)
            async with session_factory(url, schema=schema) as factory:
                pid = await backend(factory)
                assert leases(url, schema) == held_by({pid})
                assert [client.pids for client in clients(url, schema=schema).clients] == [(pid,)]
            quoted = '"' + schema.replace('"', '""') + '"'
            for setting in (f"search_path = public, {quoted}", "standard_conforming_strings = off"):
                execute(url, f"ALTER DATABASE {database_name(url)} SET {setting}")
            async with session_factory(url) as factory:
                pid = await backend(factory)
                assert leases(url, schema) == held_by({pid})
                execute(url, f"SET search_path = {quoted}; {FLOOR}")
                await factory.close()
                with pytest.raises(SchemaTooNewError):
                    await backend(factory)
            execute(url, f"DROP SCHEMA {quoted} CASCADE")
    finally:
        server.drop_database(url)


@pytest.mark.parametrize("path", ["''", "nowhere"])
async def test_where_the_search_path_finds_no_schema_a_connection_is_let_in(
    server: Server, upgraded_database: str, path: str
):
    """It is no client of the installation that is there, and waits for nothing."""
    with role(server, upgraded_database) as url:
        execute(upgraded_database, f"ALTER ROLE {role_of(url)} SET search_path = {path}")
        async with session_factory(url) as factory:
            assert await backend(factory)
            assert leases(upgraded_database) == []
            assert clients(upgraded_database).clients == ()
