"""Through PgBouncer in transaction mode, where two statements may meet two different sessions."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.catalog_dump import dump
from tests.support.online import AFTER, scripted
from tests.support.pooler import Pooler
from tests.support.processes import run_python
from tests.support.revisions import NEXT, REVISIONS
from tests.support.servers import Server, execute
from tests.support.ways import Call, both_drivers
from todo_schema import State, upgrade, upgrade_async
from todo_schema.compatibility import HEAD

both_ways_to_say_so = pytest.mark.parametrize("said", ["option", "url"])


def address(pooler: Pooler, database: str, said: str) -> tuple[str, dict[str, bool]]:
    """The url of a database through the pooler, and the options of the call; either says that it is one."""
    url = pooler.url(database)
    if said == "option":
        return url, {"pooler": True}
    return f"{url}{'&' if '?' in url else '?'}pgbouncer=true", {}


@pytest.fixture
def reference(server: Server, template: str) -> str:
    """The definitions that every database at the head has."""
    url = server.create_database(template=template)
    clean = dump(url)
    server.drop_database(url)
    return clean


@both_drivers
@both_ways_to_say_so
def test_the_whole_life_cycle_works_through_a_pooler(
    pooler: Pooler, database: str, call: Call, said: str, reference: str
):
    url, options = address(pooler, database, said)
    assert call("status", url, **options).state is State.EMPTY
    report = call("upgrade", url, **options)
    assert [step.revision for step in report.applied] == [*REVISIONS]
    assert dump(database) == reference
    assert call("upgrade", url, **options).applied == ()
    assert call("check", url, deep=True, **options) is State.CURRENT
    assert call("history", url, **options)[0].applied_at is not None
    assert call("plan", url, **options).steps == ()
    assert call("downgrade", url, to="base", allow_unseen=True, **options).after is State.EMPTY
    assert call("upgrade", url, schema="todo", **options).after is State.CURRENT
    assert call("check", url, schema="todo", deep=True, **options) is State.CURRENT


IN_PARTS = """
operations.add_column(op, "tasks", sa.Column("note", sa.Text()))
operations.backfill(op, "tasks", {"note": "title"}, where="note IS NULL", batch=10)
operations.set_not_null(op, "tasks", "note")
operations.add_unique(op, "uq_tasks_user_id_id", "tasks", ["user_id", "id"])
operations.drop_index(op, "ix_former", "tasks")
"""
BACK = """
operations.create_index(op, "ix_former", "tasks", ["completed"])
operations.drop_constraint(op, "uq_tasks_user_id_id", "tasks")
operations.drop_column(op, "tasks", "note")
"""


@both_drivers
def test_a_revision_of_several_parts_and_a_deferred_one_work_through_a_pooler(
    pooler: Pooler, upgraded_database: str, call: Call, tmp_path: Path
):
    execute(upgraded_database, "CREATE INDEX ix_former ON tasks (completed)")
    before = dump(upgraded_database)
    execute(upgraded_database, "INSERT INTO users (email) VALUES ('a@b.c')")
    tasks = "INSERT INTO tasks (user_id, title) SELECT id, 'x' FROM users, generate_series(1, 30)"
    execute(upgraded_database, tasks)
    url, options = address(pooler, upgraded_database, "option")
    index = 'operations.create_index(op, "ix_later", "tasks", ["title"])'
    no_index = 'operations.drop_index(op, "ix_later", "tasks")'
    bodies = {"body": (IN_PARTS, BACK), "later": (index, no_index, {"deferred": "Slow."})}
    with scripted(tmp_path) as package:
        done = package("upgrade", url, call=call, **options, **bodies)
        assert ([step["revision"] for step in done["applied"]], done["deferred"]) == ([NEXT, AFTER], [])
        indexes = execute(
            upgraded_database,
            "SELECT count(*) FROM pg_indexes WHERE indexname IN "
            "('ix_later', 'uq_tasks_user_id_id', 'ix_former')",
        )
        assert indexes == [(2,)]
        assert execute(upgraded_database, "SELECT count(note) FROM tasks") == [(30,)]
        package("downgrade", url, to=HEAD, allow_unseen=True, call=call, **options, **bodies)
    assert dump(upgraded_database) == before


@both_drivers
@pytest.mark.parametrize("calls", [2, 4])
def test_upgrades_at_once_through_a_pooler_apply_each_revision_once(
    pooler: Pooler, database: str, call: Call, calls: int, reference: str
):
    """Each needs two of the pool's five connections at most while it works, and one while it waits."""
    url, _ = address(pooler, database, "url")
    with ThreadPoolExecutor(calls) as threads:
        reports = list(threads.map(lambda _: call("upgrade", url), range(calls)))
    assert sorted(len(report.applied) for report in reports) == [0] * (calls - 1) + [len(REVISIONS)]
    assert {report.after for report in reports} == {State.CURRENT}
    assert execute(database, "SELECT count(*) FROM todo_schema_history") == [(len(REVISIONS),)]
    assert dump(database) == reference


async def test_coroutines_at_once_through_a_pooler_apply_each_revision_once(pooler: Pooler, database: str):
    url, _ = address(pooler, database, "url")
    reports = await asyncio.gather(*(upgrade_async(url) for _ in range(3)))
    assert sorted(len(report.applied) for report in reports) == [0, 0, len(REVISIONS)]


@both_drivers
def test_nothing_of_ours_stays_in_the_pooler_s_sessions(pooler: Pooler, database: str, call: Call):
    """No lock, no prepared statement, no setting: the next client of the session would meet them."""
    url, _ = address(pooler, database, "url")
    for _ in range(8):  # psycopg would begin to prepare at the sixth time
        call("upgrade", url)
        call("check", url, deep=True)
    call("downgrade", url, to="base", allow_unseen=True)
    assert pooler.execute(
        """SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())""",
        database,
    ) == [(0,)]
    for _ in range(6):
        facts = pooler.execute(
            """SELECT (SELECT count(*) FROM pg_prepared_statements), current_setting('search_path'),
            current_setting('lock_timeout'), current_setting('statement_timeout')""",
            database,
        )
        assert facts == [(0, '"$user", public', "0", "0")]


SLOW = """
import asyncio, json, sys, todo_schema

driver, url = sys.argv[1:]
if driver == "psycopg":
    report = todo_schema.upgrade(url)
else:
    report = asyncio.run(todo_schema.upgrade_async(url))
print(json.dumps([step.revision for step in report.applied]))
"""


@both_drivers
def test_the_lock_holds_through_a_pooler_for_as_long_as_a_revision_takes(
    server: Server, pooler: Pooler, database: str, call: Call, tmp_path: Path
):
    from tests.support import packages

    slow = {
        name: text.replace(
            'op.add_column("tasks"', 'op.execute("SELECT pg_sleep(0.5)")\n    op.add_column("tasks"'
        )
        for name, text in packages.NEXT_REVISION.items()
    }
    package = packages.throwaway_package(tmp_path, slow)
    driver = call.__name__  # type: ignore[attr-defined]
    upgrade(database)
    url, _ = address(pooler, database, "url")
    with ThreadPoolExecutor(2) as threads:
        both = list(threads.map(lambda _: run_python(SLOW, driver, url, pythonpath=package), range(2)))
    assert [done.returncode for done in both] == [0, 0], both
    assert sorted(json.loads(done.stdout) for done in both) == [[], [NEXT]]
    query = "SELECT revision FROM todo_schema_history ORDER BY id"
    assert execute(database, query) == [(revision,) for revision in (*REVISIONS, NEXT)]
