"""wait: a service that may not migrate, or an init container, waits until somebody else has."""

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.backends import backends
from tests.support.clusters import Cluster, own_server
from tests.support.obstacles import OBSTACLES, Obstacle, locked
from tests.support.pooler import Pooler
from tests.support.processes import run_python, start_python
from tests.support.proxy import Proxy
from tests.support.revisions import NEXT_VERSION
from tests.support.servers import Server, execute
from tests.support.states import with_package
from tests.support.waiting import wait_for
from tests.support.ways import Call, both_drivers, in_process
from tests.support.ways import psycopg as blocking
from todo_schema import (
    SCHEMA_VERSION,
    Progress,
    SchemaOutdatedError,
    State,
    boot_check,
    upgrade,
    wait_async,
)
from todo_schema.connections import Database


@pytest.fixture(scope="module")
def own() -> Iterator[Cluster]:
    """A server that the tests stop and start."""
    with own_server() as running:
        yield running


@pytest.fixture(params=OBSTACLES, ids=lambda make: make.__name__)
def obstacle(
    request: pytest.FixtureRequest,
    database: str,
    server: Server,
    own: Cluster,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Obstacle]:
    monkeypatch.setattr(boot_check, "_BOOT_CHECK_LIMIT", 0.2)
    with request.param(database, server, own) as made:
        yield made


@contextmanager
def waiting(call: Call, url: str, **options: Any) -> Iterator[tuple[Future[State], list[Progress]]]:
    """Wait in a thread, and give the answer to come, and what was reported: something, as the block begins."""
    reported: list[Progress] = []
    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(call, "wait", url, timeout=60, progress=reported.append, **options)
        wait_for(lambda: reported or answer.done())
        yield answer, reported


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between two looks, as they are made."""
    made: list[float] = []
    sleep = Database.sleep

    def remember(self: Database, seconds: float) -> None:
        made.append(seconds)
        sleep(self, seconds)

    monkeypatch.setattr(Database, "sleep", remember)
    return made


# What passes


@both_drivers
def test_what_somebody_else_puts_right_is_waited_for(call: Call, obstacle: Obstacle):
    with waiting(call, obstacle.url, **obstacle.options) as (answer, reported):
        assert not answer.done()
        assert (reported[0].event, reported[0].revision) == ("waiting", "")
        assert reported[0].text.startswith("waiting: found ")
        assert obstacle.found in reported[0].text
        obstacle.remove()
    assert answer.result() is State.CURRENT


@both_drivers
def test_at_the_timeout_what_was_met_last_is_raised(call: Call, obstacle: Obstacle):
    reported: list[Progress] = []
    with pytest.raises(obstacle.error) as caught:
        call("wait", obstacle.url, timeout=0.25, progress=reported.append, **obstacle.options)
    assert type(caught.value) is obstacle.error
    assert obstacle.found in caught.value.found
    assert len(reported) <= 1


WAITER = """
import asyncio, sys, todo_schema

driver, url, timeout = sys.argv[1:]
options = {"timeout": float(timeout), "progress": lambda progress: print(progress, flush=True)}
try:
    if driver == "psycopg":
        print(todo_schema.wait(url, **options))
    else:
        print(asyncio.run(todo_schema.wait_async(url, **options)))
except todo_schema.TodoSchemaError as error:
    print(type(error).__name__)
print("alembic" in sys.modules)
"""


@both_drivers
def test_a_newer_package_waits_until_another_process_has_upgraded(
    upgraded_database: str, next_package: Path, call: Call
):
    driver = call.__name__  # type: ignore[attr-defined]
    given_up = run_python(WAITER, driver, upgraded_database, "0", pythonpath=next_package)
    assert given_up.stdout.splitlines() == ["SchemaOutdatedError", "False"]
    with start_python(WAITER, driver, upgraded_database, "60", pythonpath=next_package) as waiter:
        assert waiter.stdout
        first = waiter.stdout.readline()
        assert f"found schema {SCHEMA_VERSION} in database" in first
        assert f"needed schema {NEXT_VERSION} " in first
        with_package(next_package, "t.upgrade(url)", upgraded_database)
        assert waiter.stdout.read().splitlines()[-2:] == ["current", "False"]
    assert waiter.returncode == 0


@both_drivers
def test_it_looks_again_at_least_every_second_and_returns_at_the_first_look_after_an_upgrade(
    server: Server, database: str, call: Call, monkeypatch: pytest.MonkeyPatch
):
    """So it returns within a second of another process's upgrade, and ten looks cost little."""
    pauses: list[float] = []

    def pause(_database: Database, seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 7:
            assert in_process(blocking, "upgrade", database)["kind"] is None

    monkeypatch.setattr(Database, "sleep", pause)
    with Proxy(server) as proxy:
        assert call("wait", proxy.url(database)) is State.CURRENT
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0]
    assert proxy.connections == len(pauses) + 1


@both_drivers
def test_it_never_pauses_beyond_the_timeout(database: str, call: Call, pauses: list[float]):
    with pytest.raises(SchemaOutdatedError):
        call("wait", database, timeout=0.45)
    assert len(pauses) > 1
    assert sum(pauses) <= 0.45


# What it reports


@both_drivers
def test_progress_says_what_it_waits_for_once_for_each_change(database: str, call: Call, pauses: list[float]):
    with waiting(call, database) as (answer, reported):
        wait_for(lambda: len(pauses) > 2)
        execute(database, "CREATE TABLE users (id int)")
        wait_for(lambda: len(reported) > 1)
        looks = len(pauses)
        wait_for(lambda: len(pauses) > looks)
        execute(database, "DROP TABLE users")
        wait_for(lambda: len(reported) > 2)
        upgrade(database)
    assert answer.result() is State.CURRENT
    empty, unversioned, empty_again = (progress.text for progress in reported)
    assert "found none of our tables" in empty
    assert f"needed schema {SCHEMA_VERSION} " in empty
    assert "found tables users without a version of ours" in unversioned
    assert empty_again == empty


@both_drivers
def test_a_listener_that_fails_does_not_end_the_wait(
    database: str, call: Call, caplog: pytest.LogCaptureFixture
):
    def fail(_progress: Progress) -> None:
        upgrade(database)
        raise BrokenPipeError("nobody listens")

    assert call("wait", database, progress=fail) is State.CURRENT
    assert "the progress callback failed at: waiting: found none of our tables" in caplog.text


# Where it is called


async def test_a_wait_that_is_cancelled_leaves_no_connection(server: Server, database: str):
    """At any moment: as it connects, as it asks, and as it pauses."""
    for step in range(40):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(step / 500):
                await wait_async(database)
    assert backends(server, database, 0) == 0


async def test_a_wait_is_cancelled_also_in_the_moment_that_an_answer_comes(server: Server, database: str):
    """asyncio.wait_for of Python 3.11 loses such a cancellation: the wait would go on."""
    for steps in range(60):
        waiter = asyncio.create_task(wait_async(database))
        for _ in range(steps):
            await asyncio.sleep(0)
            time.sleep(0.001)  # noqa: ASYNC251  # whatever the server has to say is there before the loop looks
        waiter.cancel()
        ended, _ = await asyncio.wait([waiter], timeout=20)
        assert ended, f"cancelled after {steps} steps of the loop, it waits on"
        assert waiter.cancelled()
    assert backends(server, database, 0) == 0


async def test_a_wait_that_is_cancelled_behind_a_lock_leaves_no_connection(
    server: Server, upgraded_database: str
):
    with locked(upgraded_database, server, None):  # type: ignore[arg-type]
        for seconds in (0.1, 0.3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(seconds):
                    await wait_async(upgraded_database)
        assert backends(server, upgraded_database, 1) == 1


async def test_other_coroutines_go_on_meanwhile(database: str):
    waiter = asyncio.create_task(wait_async(database))
    for _ in range(20):
        await asyncio.sleep(0.01)
    assert not waiter.done()
    await asyncio.to_thread(upgrade, database)
    assert await waiter is State.CURRENT


@both_drivers
def test_it_waits_through_a_pooler(pooler: Pooler, database: str, call: Call):
    with waiting(call, pooler.url(database)) as (answer, reported):
        assert "found none of our tables" in reported[0].text
        upgrade(database)
    assert answer.result() is State.CURRENT
