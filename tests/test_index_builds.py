"""An index is built whatever an earlier run has left of it, or another session is doing; what is not ours is left."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import psycopg
import pytest

from tests.support.clusters import own_server
from tests.support.online import NEXT, Scripted, facts, scripted
from tests.support.servers import Server, execute
from tests.support.waiting import wait_for
from tests.support.ways import Call, both_drivers, role
from todo_schema import upgrade
from todo_schema.compatibility import HEAD

BODY = 'operations.create_index(op, "ix_new", "tasks", ["title", "id DESC"])'
UNIQUE = 'operations.create_index(op, "uq_new", "tasks", ["lower(title)"], unique=True)'
_CREATE = "CREATE INDEX CONCURRENTLY ix_new ON tasks (title, id DESC)"
DEFINITION = "CREATE INDEX ix_new ON tasks USING btree (title, id DESC)"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scripted]:
    with scripted(tmp_path_factory.mktemp("scripted")) as running:
        yield running


def fill(url: str, *titles: str) -> None:
    rows = ", ".join(f"('{title}')" for title in titles)
    execute(
        url,
        "INSERT INTO users (email) VALUES ('ada@example.org');"
        f" INSERT INTO tasks (user_id, title) SELECT id, title FROM users, (VALUES {rows}) AS new (title)",
    )


def oid(url: str, name: str = "ix_new") -> int | None:
    return execute(url, f"SELECT to_regclass('{name}')::oid")[0][0]


def is_valid(url: str, name: str = "ix_new") -> bool:
    return execute(url, f"SELECT indisvalid FROM pg_index WHERE indexrelid = '{name}'::regclass") == [(True,)]


def leave_invalid(url: str) -> None:
    """Leave what a build leaves whose process was killed."""
    execute(url, f"{_CREATE}")
    execute(url, "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'ix_new'::regclass")


@contextmanager
def being_built(url: str) -> Iterator[int]:
    """Let another session build the index, which comes to its end only after the block. Gives the index."""
    with psycopg.connect(url) as old:
        # A snapshot that the build has to wait for.
        old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        old.execute("SELECT FROM users")
        building = Thread(target=execute, args=(url, _CREATE))
        building.start()
        try:
            wait_for(
                lambda: execute(
                    url,
                    "SELECT FROM pg_stat_activity WHERE datname = current_database()"
                    " AND query LIKE 'CREATE INDEX%' AND wait_event_type = 'Lock'",
                )
            )
            index = oid(url)
            assert index is not None
            yield index
        finally:
            old.rollback()
            building.join()


def asked_for_builders(url: str) -> bool:
    """Whether a todo_schema has looked who builds, and has seen that somebody does."""
    return bool(
        execute(
            url,
            "SELECT FROM pg_stat_activity WHERE datname = current_database()"
            " AND application_name LIKE 'todo-schema%' AND query LIKE '%ShareUpdateExclusiveLock%'",
        )
    )


@both_drivers
def test_an_invalid_index_that_nobody_is_building_is_built_anew(
    upgraded_database: str, package: Scripted, call: Call
):
    leave_invalid(upgraded_database)
    left = oid(upgraded_database)
    assert package.upgrade(upgraded_database, BODY, call=call)["after"] == "current"
    assert oid(upgraded_database) != left
    assert is_valid(upgraded_database)
    assert facts(upgraded_database)["index tasks.ix_new"] == DEFINITION


@both_drivers
def test_a_valid_index_that_was_built_and_not_recorded_is_kept(
    upgraded_database: str, package: Scripted, call: Call
):
    execute(upgraded_database, _CREATE)
    built = oid(upgraded_database)
    assert package.upgrade(upgraded_database, BODY, call=call)["after"] == "current"
    assert oid(upgraded_database) == built
    # Once more, with nothing recorded of it.
    execute(
        upgraded_database,
        f"DELETE FROM todo_schema_history WHERE ordinal > {int(HEAD)};"
        f" UPDATE todo_schema_version SET version_num = '{HEAD}'",
    )
    assert package.upgrade(upgraded_database, BODY)["applied"][0]["revision"] == NEXT
    assert oid(upgraded_database) == built


@both_drivers
def test_an_index_that_another_session_is_building_is_waited_for_and_kept(
    upgraded_database: str, package: Scripted, call: Call
):
    with being_built(upgraded_database) as index:
        package.start("upgrade", upgraded_database, body=(BODY, "pass"), call=call)
        wait_for(lambda: asked_for_builders(upgraded_database))
        assert oid(upgraded_database) == index
        assert not is_valid(upgraded_database)
    assert package.outcome()["after"] == "current"
    assert oid(upgraded_database) == index
    assert is_valid(upgraded_database)


def test_an_index_that_another_session_goes_on_building_is_not_dropped_and_the_session_is_named(
    upgraded_database: str, package: Scripted
):
    with being_built(upgraded_database) as index:
        refused = package.upgrade(upgraded_database, BODY, timeout=0.2)
        assert refused["error"] == "MigrationLockedError"
        assert "index ix_new was being built by pid " in refused["found"]
        assert "pg_terminate_backend" in refused["cure"]
        assert oid(upgraded_database) == index
    assert is_valid(upgraded_database)


def test_an_index_that_another_session_makes_first_is_kept(upgraded_database: str, package: Scripted):
    # Its CREATE is not yet committed when we look, and ours waits for its lock on the table.
    with psycopg.connect(upgraded_database) as other:
        other.execute("CREATE INDEX ix_new ON tasks (title, id DESC)")
        package.start("upgrade", upgraded_database, body=(BODY, "pass"))
        wait_for(
            lambda: execute(
                upgraded_database,
                "SELECT FROM pg_stat_activity WHERE datname = current_database()"
                " AND query LIKE 'CREATE INDEX CONCURRENTLY%' AND wait_event_type = 'Lock'",
            )
        )
        other.commit()
    made = oid(upgraded_database)
    assert package.outcome()["after"] == "current"
    assert oid(upgraded_database) == made


@pytest.mark.parametrize(
    ("there", "found"),
    [
        ("CREATE INDEX ix_new ON tasks (title, id)", "an index of that name, USING btree (title, id)"),
        (
            "CREATE INDEX ix_new ON tasks (title, id DESC) WHERE completed",
            "an index of that name, USING btree (title, id DESC) WHERE completed",
        ),
        (
            "CREATE UNIQUE INDEX ix_new ON tasks (title, id DESC)",
            "a unique index of that name, USING btree (title, id DESC)",
        ),
        ("CREATE INDEX ix_new ON users (email)", "a relation of that name that is no index of the table"),
        ("CREATE TABLE ix_new (id int)", "a relation of that name that is no index of the table"),
        ("CREATE SEQUENCE ix_new", "a relation of that name that is no index of the table"),
    ],
)
def test_something_else_of_that_name_is_left_alone_and_named(
    upgraded_database: str, package: Scripted, there: str, found: str
):
    execute(upgraded_database, there)
    before = oid(upgraded_database)
    refused = package.upgrade(upgraded_database, BODY)
    assert refused["error"] == "SchemaDriftError"
    assert refused["found"] == f"{found}, where index ix_new of tasks is to be made"
    assert refused["needed"] == "USING btree (title, id DESC)"
    assert 'ALTER INDEX "ix_new" RENAME TO' in refused["cure"]
    assert oid(upgraded_database) == before


@both_drivers
def test_a_unique_index_over_values_that_are_there_twice_names_them_and_leaves_nothing(
    upgraded_database: str, package: Scripted, call: Call
):
    fill(upgraded_database, "Milk", "milk")
    refused = package.upgrade(upgraded_database, UNIQUE, call=call)
    assert refused["error"] == "MigrationFailedError"
    assert "uq_new" in refused["found"]
    assert "(lower(title))=(milk)" in refused["cause"]
    assert oid(upgraded_database, "uq_new") is None
    execute(upgraded_database, "UPDATE tasks SET title = 'bread' WHERE title = 'milk'")
    assert package.upgrade(upgraded_database, UNIQUE, call=call)["after"] == "current"
    assert is_valid(upgraded_database, "uq_new")


@pytest.mark.parametrize("column", ["(1 / length(btrim(title, 'm')))", "repeat(md5(title), 9999)"])
def test_an_index_over_values_that_it_cannot_hold_leaves_nothing(
    upgraded_database: str, package: Scripted, column: str
):
    fill(upgraded_database, "m")
    execute(upgraded_database, "ALTER TABLE tasks ALTER title SET STORAGE EXTERNAL")
    body = f'operations.create_index(op, "ix_new", "tasks", ["{column}"])'
    assert package.upgrade(upgraded_database, body)["error"] == "MigrationFailedError"
    assert oid(upgraded_database) is None


def test_a_role_that_may_not_make_temporary_tables_builds_indexes(
    server: Server, database: str, package: Scripted
):
    execute(
        database,
        """DO $$ BEGIN EXECUTE format('REVOKE TEMP ON DATABASE %I FROM PUBLIC', current_database()); END $$;
        GRANT CREATE ON SCHEMA public TO PUBLIC""",
    )
    with role(server, database) as url:
        assert package.upgrade(url, BODY)["after"] == "current"
        assert facts(database)["index tasks.ix_new"] == DEFINITION


def test_autovacuum_is_not_taken_for_somebody_who_builds(package: Scripted):
    with own_server(autovacuum_naptime=1, deadlock_timeout="10ms") as cluster:
        url = cluster.create_database()
        upgrade(url)
        fill(url, *map(str, range(2000)))
        leave_invalid(url)
        # It never comes to its end by itself, and gives way to whoever waits for it.
        execute(
            url,
            """ALTER TABLE tasks SET (autovacuum_vacuum_threshold = 0, autovacuum_vacuum_scale_factor = 0,
                autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1);
            UPDATE tasks SET completed = true""",
        )
        wait_for(
            lambda: execute(
                url,
                """SELECT FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE relation = 'tasks'::regclass
                AND mode = 'ShareUpdateExclusiveLock' AND backend_type = 'autovacuum worker'""",
            )
        )
        assert package.upgrade(url, BODY, timeout=5).get("after") == "current"
        assert is_valid(url)
