"""A step that needs a table for itself keeps nobody waiting for long, and says who keeps it waiting."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from tests.support import packages
from tests.support.forker import Forker, forker
from tests.support.holding import Hold
from tests.support.online import Scripted, facts, revision_file, scripted
from tests.support.proxy import Proxy
from tests.support.revisions import NEXT
from tests.support.servers import Server, database_name, execute
from tests.support.states import rows
from tests.support.waiting import wait_for
from tests.support.ways import Call, both_drivers
from todo_schema.compatibility import HEAD

ADD = 'op.add_column("tasks", sa.Column("n", sa.Integer()))'
# A service would not even notice: ten times as long as the step queues for a lock.
A_SECOND = "SET lock_timeout = '1s'; "
READ, WRITE = "SELECT count(*) FROM tasks", "INSERT INTO tasks (user_id, title) SELECT id, 'x' FROM users"


GATE = """
CREATE FUNCTION gate(id bigint) RETURNS bigint IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN
    WHILE NOT pg_try_advisory_lock_shared(4711, 1) LOOP PERFORM pg_sleep(0.01); END LOOP;
    PERFORM pg_advisory_unlock_shared(4711, 1);
    RETURN id;
END $$
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scripted]:
    with scripted(tmp_path_factory.mktemp("waits")) as running:
        yield running


@pytest.fixture
def database(upgraded_database: str) -> str:
    """The url of a database at the head, with a user."""
    execute(upgraded_database, "INSERT INTO users (email) VALUES ('ada@example.com')")
    return upgraded_database


@contextmanager
def holding(url: str, statement: str, name: str = "nightly report") -> Iterator[psycopg.Connection]:
    """Another program's session, in a transaction in which it has executed `statement`."""
    with psycopg.connect(url, application_name=name) as connection:
        connection.execute(statement.encode())
        yield connection


def waits_told(path: Path) -> list[str]:
    """What the progress callback was told of waits for a lock."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [facts["text"] for facts in map(json.loads, lines) if facts["event"] == "retrying"]


@both_drivers
def test_readers_and_writers_go_on_while_a_step_waits_behind_a_long_transaction(
    package: Scripted, database: str, tmp_path: Path, call: Call
):
    progress = tmp_path / "told"

    def use(statement: str) -> int:
        used = 0
        with psycopg.connect(database, autocommit=True) as service:
            service.execute(A_SECOND)
            while len(waits_told(progress)) < 4:
                service.execute(statement.encode())
                used += 1
        return used

    with ThreadPoolExecutor() as threads:
        with holding(database, READ) as report:
            run = threads.submit(
                package.upgrade, database, ADD, call=call, progress=str(progress), timeout=60
            )
            services = [threads.submit(use, statement) for statement in (READ, WRITE)]
            assert all(service.result() > 1 for service in services)
            assert not run.done()
            waited_for = waits_told(progress)[-1]
            assert f"{NEXT} waits for pid {report.info.backend_pid} (nightly report, " in waited_for
        assert run.result()["after"] == "current"
    assert "column tasks.n" in facts(database)


@both_drivers
@pytest.mark.parametrize("timeout", [0, 0.5])
def test_it_gives_up_with_the_name_of_who_is_in_the_way_and_of_nobody_else(
    package: Scripted, database: str, call: Call, timeout: float
):
    before = facts(database), rows(database)
    with (
        holding(database, READ) as report,
        holding(database, "SELECT FROM users, todo_schema_history", "mere reader"),
    ):
        pid = report.info.backend_pid
        answer = package.upgrade(database, ADD, call=call, timeout=timeout)
    assert answer["error"] == "MigrationLockedError"
    assert f"pid {pid} (nightly report, role postgres, from " in answer["found"]
    assert "idle in transaction for " in answer["found"]
    assert f"SELECT pg_terminate_backend({pid});" in answer["cure"]
    assert "mere reader" not in answer["text"]
    assert (facts(database), rows(database)) == before


@both_drivers
def test_a_step_that_a_deadlock_ends_is_tried_again(
    server: Server, package: Scripted, database: str, tmp_path: Path, call: Call
):
    """The service waits for the step; as the step comes to wait for the service, the server ends the step."""
    execute(database, f"ALTER DATABASE {database_name(database)} SET deadlock_timeout = '10ms'")
    progress = tmp_path / "told"
    hold = Hold("LOCK TABLE users", "before")
    with (
        ThreadPoolExecutor() as threads,
        Proxy(server, on_statement=hold) as proxy,
        psycopg.connect(database) as service,
    ):
        service.execute("SET deadlock_timeout = '60s'")
        service.execute("UPDATE users SET email = 'bob@example.com'")
        up = f'{ADD}\nop.execute("LOCK TABLE users")'
        run = threads.submit(package.upgrade, proxy.url(database), up, call=call, progress=str(progress))
        assert hold.reached.wait(20)
        writing = threads.submit(service.execute, WRITE.encode())
        waiting = "SELECT FROM pg_locks WHERE NOT granted AND pid = %s"
        wait_for(lambda: execute(database, waiting, (service.info.backend_pid,)))
        hold.go.set()
        writing.result()
        wait_for(lambda: waits_told(progress))
        service.commit()
        assert run.result()["after"] == "current"
    deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    wait_for(lambda: execute(database, deadlocks) == [(1,)])
    assert execute(database, "SELECT email, n FROM users, tasks") == [("bob@example.com", None)]


def test_the_time_for_a_lock_begins_anew_after_a_long_part(package: Scripted, database: str, tmp_path: Path):
    """An index is built for longer than the call may wait for a lock; then it is to be written down."""
    execute(database, f"{GATE}; {WRITE}")
    progress = tmp_path / "told"
    build = 'operations.create_index(op, "ix_gate", "tasks", ["gate(id)"])'
    at_work = "SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
    with ThreadPoolExecutor() as threads:
        with holding(database, "SELECT pg_advisory_xact_lock(4711, 1)") as keeper:
            run = threads.submit(package.upgrade, database, build, progress=str(progress), timeout=1.5)
            wait_for(lambda: execute(database, at_work))
            time.sleep(1.6)
            with holding(database, "LOCK TABLE todo_schema_version IN SHARE MODE"):
                keeper.commit()
                wait_for(lambda: run.done() or len(waits_told(progress)) > 1)
        assert run.result().get("after") == "current", run.result()


# Cancels itself when it waits for the lock, or when it builds; and counts the connections that are left.
CANCELLED = """
import asyncio, json

import psycopg
from todo_schema import revisions, upgrade_async

revisions.in_order()
OURS = (
    "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'todo-schema%'"
    " AND datname = current_database()"
)

async def boot(asked):
    url, ready, delay = json.loads(asked)
    run = asyncio.create_task(upgrade_async(url))
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as other:
        async def count(query):
            return (await (await other.execute(query)).fetchone())[0]
        while not await count(ready):
            assert not run.done(), run.result()
            await asyncio.sleep(0.01)
        await asyncio.sleep(delay)
        most = await count(OURS)
        run.cancel()
        (ended,) = await asyncio.gather(run, return_exceptions=True)
        for _ in range(200):
            left = await count(OURS)
            if not left:
                break
            await asyncio.sleep(0.01)
        tasks = len(asyncio.all_tasks()) - 1
    return [type(ended).__name__, most, left, tasks]
"""
BUILD = f'{ADD}\noperations.create_index(op, "ix_gate", "tasks", ["gate(id)"])'


@pytest.fixture(scope="module")
def cancelled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forker]:
    folder = packages.throwaway_package(
        tmp_path_factory.mktemp("cancelled"), revision_file(NEXT, HEAD, BUILD)
    )
    with forker(CANCELLED, pythonpath=folder) as replicas:
        yield replicas


HELD = {
    "a wait for a lock": (READ, "wait_event = 'relation'", (0, 0.05, 0.2, 0.5)),
    "an index build": ("SELECT pg_advisory_xact_lock(4711, 1)", "wait_event = 'PgSleep'", (0, 1.2)),
}


@pytest.mark.parametrize("held", HELD)
def test_a_call_that_is_cancelled_leaves_no_connection(cancelled: Forker, database: str, held: str):
    execute(database, f"{GATE}; {WRITE}")
    statement, ready, delays = HELD[held]
    condition = f"SELECT count(*) FROM pg_stat_activity WHERE {ready} AND datname = current_database()"
    seen = []
    with holding(database, statement):
        for delay in delays:
            (outcome,) = cancelled.race(1, json.dumps([database, condition, delay]))
            assert outcome["ok"], outcome["error"]
            ended, most, left, tasks = outcome["result"]
            assert (ended, left, tasks) == ("CancelledError", 0, 0), (delay, outcome)
            seen.append(most)
    # The guard, the one that works, and the one that looks on.
    assert max(seen) == 3
    execute(database, "SET lock_timeout = '2s'; LOCK TABLE tasks, users, todo_schema_version")
