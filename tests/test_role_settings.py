"""Roles and databases whose own settings are against a migration."""

from pathlib import Path

import pytest
from psycopg import connect

from tests.support import packages
from tests.support.catalog_dump import dump
from tests.support.revisions import NEXT
from tests.support.servers import Server, database_name, execute
from tests.support.ways import (
    Call,
    asyncpg,
    both_drivers,
    drivers_by_turns,
    in_process,
    psycopg,
    role,
    role_of,
)
from todo_schema import (
    DatabaseUnreachableError,
    MigrationLockedError,
    State,
)
from todo_schema.locks import LOCK_CLASS

# Both connections are idle for longer than the timeouts below, one is busy for longer, and the guard outlives it.
SLOW_STEPS = f'''time.sleep(0.3)
    op.execute("SELECT pg_sleep(0.3)")
    op.execute("""
    DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND classid = {LOCK_CLASS}
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))
    THEN RAISE EXCEPTION 'the guard has gone'; END IF; END $$
    """)
    op.add_column("tasks"'''
SLOW_REVISION = {
    name: text.replace('op.add_column("tasks"', SLOW_STEPS).replace(
        "import sqlalchemy", "import time\n\nimport sqlalchemy"
    )
    for name, text in packages.NEXT_REVISION.items()
}


@pytest.fixture(scope="module")
def slow_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The PYTHONPATH of a package that is one slow revision ahead."""
    return packages.throwaway_package(tmp_path_factory.mktemp("slow"), SLOW_REVISION)


@both_drivers
def test_the_timeouts_of_a_role_do_not_apply_to_a_migration(
    server: Server, database: str, slow_package: Path, call: Call
):
    names = ("statement", "lock", "idle_in_transaction_session", "transaction")
    with role(server, database) as url:
        execute(database, f"GRANT CREATE ON SCHEMA public TO {role_of(url)}")
        call("upgrade", url)
        for name in names:
            if server.execute(f"SELECT FROM pg_settings WHERE name = '{name}_timeout'"):
                execute(database, f"ALTER ROLE {role_of(url)} SET {name}_timeout = '100ms'")
        assert in_process(call, "upgrade", url, slow_package).get("found") is None
        assert execute(database, "SELECT version_num FROM todo_schema_version") == [(NEXT,)]


@drivers_by_turns(
    "setting",
    [
        "statement_timeout = '20ms'",
        "default_transaction_isolation = 'serializable'",
        "default_transaction_deferrable = on",
        "standard_conforming_strings = off",
        "timezone = 'Asia/Kathmandu'",
        "datestyle = 'SQL, DMY'",
        "intervalstyle = 'iso_8601'",
        "quote_all_identifiers = on",
        "client_min_messages = 'debug1'",
    ],
)
def test_the_settings_of_a_role_do_not_change_what_a_migration_makes(
    server: Server, database: str, call: Call, setting: str
):
    with role(server, database) as url:
        execute(database, f"GRANT CREATE ON SCHEMA public TO {role_of(url)}")
        execute(database, f"ALTER ROLE {role_of(url)} SET {setting}")
        assert call("upgrade", url).after is State.CURRENT
        assert call("check", url, deep=True) is State.CURRENT
        assert call("history", url)[0].applied_at is not None
        assert call("downgrade", url, to="base").after is State.EMPTY
        assert call("upgrade", url).after is State.CURRENT


@pytest.mark.parametrize(("call", "function"), [(psycopg, "status"), (asyncpg, "check")])
def test_a_table_that_is_locked_against_readers_is_told_and_not_waited_for(
    database: str, call: Call, function: str
):
    call("upgrade", database)
    execute(database, "DELETE FROM todo_schema_version")
    with connect(database) as other:
        other.execute("LOCK TABLE todo_schema_history IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(MigrationLockedError, match="locked even for readers by pid"):
            call(function, database)


def limit_connections(server: Server, database: str, place: str, limit: int) -> None:
    """Set a limit, and wait until the server has seen the last of those who were connected before."""
    server.execute(f"ALTER {place} CONNECTION LIMIT {limit}")
    remaining = f"SELECT FROM pg_stat_activity WHERE datname = '{database_name(database)}'"
    while server.execute(remaining):
        pass


@both_drivers
@pytest.mark.parametrize("limited", ["role", "database"])
def test_at_the_connection_limit_nothing_is_half_made_and_the_next_call_goes_on(
    server: Server, database: str, call: Call, limited: str
):
    with role(server, database) as url:
        execute(database, f"GRANT CREATE ON SCHEMA public TO {role_of(url)}")
        before = dump(database)
        place = f"ROLE {role_of(url)}" if limited == "role" else f"DATABASE {database_name(database)}"
        for limit in (0, 1):
            limit_connections(server, database, place, limit)
            with pytest.raises(DatabaseUnreachableError, match="too many connections") as caught:
                call("upgrade", url)
            assert "connect" in caught.value.cure
            limit_connections(server, database, place, -1)
            assert call("status", url).state is State.EMPTY
        assert dump(database) == before
        limit_connections(server, database, place, 2)
        assert call("upgrade", url).after is State.CURRENT
        limit_connections(server, database, place, 1)
        assert call("upgrade", url).after is State.CURRENT
