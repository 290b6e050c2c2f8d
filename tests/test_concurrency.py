"""Many calls at once in one process: threads, coroutines, other event loops, cancelled ones."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
import uvloop
from sqlalchemy.ext.asyncio import create_async_engine

from tests.support import forker, packages, processes
from tests.support.catalog_dump import dump
from tests.support.migrated import assert_migrated, clients, empty
from tests.support.ports import blackhole
from tests.support.proxy import Moment, Proxy
from tests.support.revisions import NEXT, REVISIONS
from tests.support.servers import Server
from tests.support.thorough import series
from tests.support.waiting import wait_for
from todo_schema import ChangeReport, State, upgrade, upgrade_async
from todo_schema.compatibility import HEAD
from todo_schema.locks import LOCK_CLASS, lock_key

# In a process of its own, so that the threads also meet in the first import of everything.
EIGHT_THREADS = """
import json, sys, threading
from concurrent.futures import ThreadPoolExecutor
sys.setswitchinterval(1e-5)
from todo_schema import upgrade
together = threading.Barrier(8)
def boot(url):
    together.wait()
    return upgrade(url).as_dict()
urls = sys.argv[1:]
with ThreadPoolExecutor(8) as threads:
    print(json.dumps([report for report in threads.map(boot, urls * (8 // len(urls)))]))
"""
SLEEPING = {
    f"{NEXT}_sleeps.py": f"""
revision = "{NEXT}"
down_revision = "{HEAD}"


def upgrade(op):
    op.execute("ALTER TABLE tasks ADD COLUMN {packages.COLUMN} text")
    op.execute("SELECT pg_sleep(120)")
"""
}
IMPATIENT = """
import asyncio, threading
from todo_schema import upgrade_async
async def boot(url):
    try:
        async with asyncio.timeout(1):
            await upgrade_async(url)
    except TimeoutError:
        return threading.active_count()
"""


@pytest.fixture(scope="module")
def clean(server: Server) -> str:
    """The catalogue that one undisturbed call leaves."""
    url = server.create_database()
    upgrade(url)
    return dump(url)


@pytest.fixture
def databases(server: Server) -> Iterator[list[str]]:
    """Eight empty databases."""
    urls = [server.create_database() for _ in range(8)]
    yield urls
    for url in urls:
        server.drop_database(url)


def steps(reports: list[dict]) -> list[list[str]]:
    return sorted([step["revision"] for step in report["applied"]] for report in reports)


@pytest.mark.parametrize("attempt", range(series(2, 3)))
def test_of_eight_threads_on_one_database_one_migrates(
    server: Server, database: str, clean: str, attempt: int
):
    with Proxy(server, barrier=8) as proxy:
        done = processes.run_python(EIGHT_THREADS, proxy.url(database))
    assert done.returncode == 0, done.stderr
    assert steps(json.loads(done.stdout)) == [[]] * 7 + [[*REVISIONS]]
    assert_migrated(database, clean)


def test_eight_threads_migrate_eight_databases(server: Server, databases: list[str], clean: str):
    with Proxy(server, barrier=8) as proxy:
        done = processes.run_python(EIGHT_THREADS, *(proxy.url(url) for url in databases))
    assert done.returncode == 0, done.stderr
    assert steps(json.loads(done.stdout)) == [[*REVISIONS]] * 8
    for url in databases:
        assert_migrated(url, clean)


loops = pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])


@loops
def test_of_eight_coroutines_of_one_loop_one_migrates(
    server: Server, database: str, clean: str, run: Callable
):
    with Proxy(server, barrier=8) as proxy:
        reports = run(gathered([proxy.url(database)] * 8))
    assert steps([report.as_dict() for report in reports]) == [[]] * 7 + [[*REVISIONS]]
    assert_migrated(database, clean)


@loops
def test_eight_coroutines_migrate_eight_databases(
    server: Server, databases: list[str], clean: str, run: Callable
):
    with Proxy(server, barrier=8) as proxy:
        reports = run(gathered([proxy.url(url) for url in databases]))
    assert steps([report.as_dict() for report in reports]) == [[*REVISIONS]] * 8
    for url in databases:
        assert_migrated(url, clean)


async def gathered(urls: list[str]) -> list[ChangeReport]:
    return await asyncio.gather(*(upgrade_async(url) for url in urls))


async def test_the_loop_runs_on_while_the_database_is_migrated_and_while_it_is_waited_for(
    server: Server, database: str
):
    loop = asyncio.get_running_loop()
    held, go_on = asyncio.Event(), threading.Event()

    def hold(connection: int, number: int, sql: str, moment: Moment) -> None:
        if sql.strip().startswith("CREATE TABLE messages") and moment == "inside":
            loop.call_soon_threadsafe(held.set)
            # Only the loop sets it: a loop that stood still would fail the migration.
            if not go_on.wait(20):
                proxy.cut(connection)

    with Proxy(server, on_statement=hold) as proxy:
        working = asyncio.create_task(upgrade_async(proxy.url(database)))
        await held.wait()
        waits = asyncio.Event()
        waiting = asyncio.create_task(upgrade_async(database, progress=lambda _: waits.set()))
        await waits.wait()
        go_on.set()
        assert [(await working).waited, (await waiting).waited] == [False, True]


async def upgrade_by(way: str, url: str) -> None:
    """Upgrade by a url, or with an engine of the caller's."""
    if way == "url":
        await upgrade_async(url)
        return
    engine = create_async_engine(url.replace("postgresql:", "postgresql+asyncpg:").partition("?")[0])
    try:
        await upgrade_async(engine)
    finally:
        await engine.dispose()


async def upgrade_timed_out_at(server: Server, database: str, way: str, number: int, moment: Moment) -> None:
    """Let `asyncio.timeout` strike while the client waits for the answer to a statement."""
    loop = asyncio.get_running_loop()

    def strike(done: threading.Event) -> None:
        limit.reschedule(loop.time())
        loop.call_later(0.01, done.set)

    def tell(connection: int, this: int, sql: str, now: Moment) -> None:
        if (this, now) == (number, moment):
            done = threading.Event()
            loop.call_soon_threadsafe(strike, done)
            done.wait(20)

    with Proxy(server, on_statement=tell) as proxy:
        with suppress(TimeoutError):
            async with asyncio.timeout(None) as limit:
                await upgrade_by(way, proxy.url(database))
        assert limit.expired(), (number, moment)
        assert asyncio.all_tasks() == {asyncio.current_task()}, (number, moment)
        # The loop stands still here: nothing is left for it to tidy up.
        wait_for(lambda: not clients(database))


@pytest.mark.parametrize(("way", "half"), [("url", 0), ("engine", 1)])
async def test_a_timeout_at_any_statement_rolls_back_and_leaves_nothing_behind(
    server: Server, database: str, clean: str, way: str, half: int
):
    """One of a kind of statement, of other kinds each way, and the last statements of all."""
    told: dict[int, str] = {}
    with Proxy(server, on_statement=lambda *call: told.update({call[1]: call[2]})) as proxy:
        await upgrade_by(way, proxy.url(database))
    kinds: dict[str, list[int]] = {}
    for number, sql in told.items():
        kinds.setdefault(" ".join(sql.split()[:2]), []).append(number)
    chosen = {numbers[len(numbers) // 2] for _, numbers in sorted(kinds.items())[half :: series(4, 2)]}
    chosen |= set(range(max(told) - 6, max(told)))
    threads = set(threading.enumerate())
    some: list[tuple[int, Moment]] = [(1, "before"), *((number, "inside") for number in sorted(chosen))]
    for number, moment in some:
        empty(database)
        await upgrade_timed_out_at(server, database, way, number, moment)
        assert set(threading.enumerate()) <= threads, (number, moment)
        assert (await upgrade_async(database)).after is State.CURRENT
        assert_migrated(database, clean)


async def test_a_timeout_while_the_lock_is_waited_for_leaves_nothing_behind(database: str):
    with psycopg.connect(database) as holder:
        holder.execute("SELECT pg_advisory_lock(%s, %s)", [LOCK_CLASS, lock_key("public")])
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await upgrade_async(database)
        wait_for(lambda: [pid for pid, _ in clients(database)] == [holder.info.backend_pid])
    assert (await upgrade_async(database)).after is State.CURRENT


async def test_a_timeout_while_the_server_says_nothing_ends_the_call():
    with blackhole() as url, pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await upgrade_async(url)
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_a_timeout_in_a_long_statement_ends_it_on_the_server_too(
    database: str, tmp_path: Path, next_package: Path, clean: str
):
    upgrade(database)
    package = packages.throwaway_package(tmp_path, SLEEPING)
    with forker.forker(IMPATIENT, pythonpath=package) as replicas:
        (outcome,) = replicas.race(1, database)
    assert (outcome["error"], outcome["result"]) == (None, 1)
    wait_for(lambda: not clients(database))
    assert_migrated(database, clean)
    with forker.forker(forker.UPGRADE_ASYNC, pythonpath=next_package) as replicas:
        (outcome,) = replicas.race(1, database)
    assert [step["revision"] for step in outcome["result"]["applied"]] == [NEXT]
