"""What stands in the way of an operation is met, waited for, or told: it is never passed over in silence."""

from collections.abc import Iterator

import psycopg
import pytest

from tests.support.contracting import everything
from tests.support.online import Scripted, facts, scripted
from tests.support.servers import Server, database_name, execute
from tests.support.waiting import wait_for
from tests.support.ways import Call, both_drivers
from todo_schema.backoff import pauses
from todo_schema.transactions import lock_timeout

FILL = 'operations.backfill(op, "tasks", {{"title": "\'filled\'"}}, where="title <> \'filled\'", key="{}")'
SEED = """
INSERT INTO users (email) VALUES ('a@b.c');
INSERT INTO tasks (user_id, title) SELECT id, 'x' FROM users, generate_series(1, 50)
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scripted]:
    with scripted(tmp_path_factory.mktemp("scripted")) as running:
        yield running


@pytest.fixture
def filled(upgraded_database: str) -> str:
    execute(upgraded_database, SEED)
    return upgraded_database


def titles(url: str) -> list[tuple[str, int]]:
    return execute(url, "SELECT title, count(*) FROM tasks GROUP BY 1")


@both_drivers
def test_a_key_that_may_be_null_is_refused_since_it_does_not_lead_to_every_row(
    filled: str, package: Scripted, call: Call
):
    execute(filled, "ALTER TABLE tasks ADD place int; UPDATE tasks SET place = id WHERE id > 1")
    refused = package.upgrade(filled, FILL.format("place"), call=call)
    assert (refused["error"], refused["found"]) == (
        "SchemaDriftError",
        "column place of tasks, which may be null",
    )
    assert titles(filled) == [("x", 50)]


@both_drivers
def test_a_key_means_the_same_whatever_times_the_database_prefers(
    server: Server, filled: str, package: Scripted, call: Call
):
    name = database_name(filled)
    execute(filled, "ALTER TABLE tasks ADD moment timestamptz")
    execute(filled, "UPDATE tasks SET moment = timestamptz '2024-07-01' + id * interval '1 hour'")
    execute(filled, "ALTER TABLE tasks ALTER moment SET NOT NULL, ADD UNIQUE (moment)")
    for setting in ("datestyle = 'SQL, DMY'", "timezone = 'Europe/Dublin'"):
        execute(filled, f'ALTER DATABASE "{name}" SET {setting}')
    assert package.upgrade(filled, FILL.format("moment"), call=call)["after"] == "current"
    assert titles(filled) == [("filled", 50)]


def test_rows_that_a_policy_hides_are_an_error_and_not_passed_over(
    server: Server, filled: str, package: Scripted
):
    name = database_name(filled)
    execute(filled, f'CREATE ROLE "owner_{name}" LOGIN; GRANT ALL ON SCHEMA public TO "owner_{name}"')
    for table in (
        "users",
        "conversations",
        "messages",
        "tasks",
        "todo_schema_version",
        "todo_schema_history",
    ):
        execute(filled, f'ALTER TABLE {table} OWNER TO "owner_{name}"')
    execute(filled, "ALTER TABLE tasks ENABLE ROW LEVEL SECURITY; ALTER TABLE tasks FORCE ROW LEVEL SECURITY")
    refused = package.upgrade(server.url(name, f"owner_{name}"), FILL.format("id"))
    assert refused["error"] in ("MigrationFailedError", "InsufficientPrivilegeError"), refused
    assert "row-level security policy" in str(refused)
    execute(filled, f'REASSIGN OWNED BY "owner_{name}" TO CURRENT_USER; DROP OWNED BY "owner_{name}"')
    execute(filled, f'DROP ROLE "owner_{name}"')


@both_drivers
def test_an_index_of_another_table_is_not_dropped(filled: str, package: Scripted, call: Call):
    execute(filled, "CREATE INDEX ix_title ON tasks (title)")
    before = everything(filled)
    refused = package.upgrade(filled, 'operations.drop_index(op, "ix_title", "messages")', call=call)
    assert (refused["error"], refused["found"]) == ("SchemaDriftError", "index ix_title of table tasks")
    assert everything(filled) == before


PREFLIGHT = (
    'operations.add_column(op, "tasks", sa.Column("note", sa.Text()))\n',
    "pass",
)


def test_a_session_that_only_looks_like_ours_is_not_cancelled(filled: str, package: Scripted):
    with psycopg.connect(filled, application_name="celery worker (deferred)") as service:
        service.execute("LOCK TABLE tasks IN ACCESS SHARE MODE")
        refused = package.upgrade(filled, PREFLIGHT[0], timeout=0.5)
        assert refused["error"] == "MigrationLockedError"
        assert "celery worker (deferred)" in refused["found"]
        assert service.execute("SELECT 1").fetchone() == (1,)


def test_who_is_in_the_way_of_a_statement_without_a_timeout_is_told(filled: str, package: Scripted, tmp_path):
    told = tmp_path / "told"
    execute(filled, "CREATE INDEX ix_title ON tasks (title)")
    with psycopg.connect(filled, application_name="reporting") as service:
        service.execute("SELECT count(*) FROM tasks")
        package.start(
            "upgrade",
            filled,
            body=('operations.drop_index(op, "ix_title", "tasks")', "pass"),
            progress=str(told),
        )
        wait_for(lambda: told.exists() and "waits for pid" in told.read_text())
        service.rollback()
    assert package.outcome()["after"] == "current"
    assert "reporting" in told.read_text()
    assert "index tasks.ix_title" not in facts(filled)


def test_autovacuum_is_made_to_give_way(filled: str, package: Scripted, server: Server):
    """It does so for who waits longer than `deadlock_timeout`, and the first tries are shorter."""
    execute(
        filled,
        "ALTER TABLE tasks SET (autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1, "
        "autovacuum_vacuum_threshold = 1, autovacuum_vacuum_scale_factor = 0)",
    )
    server.execute("ALTER SYSTEM SET autovacuum_naptime = '1s'")
    server.execute("SELECT pg_reload_conf()")
    try:
        execute(filled, "UPDATE tasks SET title = title || 'y'; UPDATE tasks SET title = 'x'")
        at_it = "SELECT FROM pg_stat_progress_vacuum WHERE relid = 'tasks'::regclass"
        wait_for(lambda: execute(filled, at_it))
        assert package.upgrade(filled, PREFLIGHT[0], timeout=8)["after"] == "current"
    finally:
        server.execute("ALTER SYSTEM RESET autovacuum_naptime")
        server.execute("SELECT pg_reload_conf()")


def test_a_try_for_a_lock_is_short_and_grows_only_after_many_in_vain():
    assert [lock_timeout(tries) for tries in (0, 7, 8, 15, 16, 24, 32, 39, 40, 1000)] == [
        *(100, 100, 200, 200, 400, 800, 900, 900, 900, 900)
    ]


def test_pauses_grow_to_the_longest_and_none_is_like_another():
    waits = pauses(0.1, 1.0)
    some = [next(waits) for _ in range(50)]
    assert all(0.05 <= wait <= 0.15 for wait in some[:1])
    assert all(0.5 <= wait <= 1.5 for wait in some[4:])
    assert len(set(some)) == len(some)
