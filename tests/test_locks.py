"""Who waits for whom: waits are bounded, the holder is named, and a caller's own transaction is left alone."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine

from tests.support import forker, ways
from tests.support.catalog_dump import dump
from tests.support.forker import Forker
from tests.support.migrated import assert_migrated, clients
from tests.support.proxy import Proxy
from tests.support.psql import apply
from tests.support.revisions import NEXT
from tests.support.servers import Server, execute
from tests.support.waiting import wait_for
from tests.support.ways import Call, both_drivers
from todo_schema import MigrationLockedError, Progress, State, check, sql, status, upgrade, upgrade_async
from todo_schema.connections import blocking, in_greenlet, in_loop
from todo_schema.locks import LOCK_CLASS, lock_key, release, try_lock_query
from todo_schema.locks import acquire as acquire_lock

KEY = f"{LOCK_CLASS}, {lock_key('public')}"
IMPATIENT = """
from todo_schema import upgrade, upgrade_async
def boot(url):
    return upgrade(url, timeout=0.5).as_dict()
"""


@contextmanager
def holding(url: str, statement: str) -> Iterator[psycopg.Connection]:
    """Another program's session, in a transaction in which it has executed `statement`."""
    with psycopg.connect(url, application_name="nightly report") as connection:
        connection.execute(statement)
        yield connection


def test_the_key_of_the_lock_is_the_same_in_every_release():
    assert try_lock_query("public") == "SELECT WHERE pg_try_advisory_xact_lock(1414480975, 1001664029)"
    assert (lock_key("todo"), lock_key("tenant_1")) == (1510913696, -421129589)


def assert_names(error: MigrationLockedError | str, holder: psycopg.Connection) -> None:
    assert f"pid {holder.info.backend_pid} (nightly report, role postgres, from " in str(error)
    if isinstance(error, MigrationLockedError):
        assert f"SELECT pg_terminate_backend({holder.info.backend_pid});" in error.cure


@pytest.fixture(scope="module")
def clean(server: Server) -> str:
    """The catalogue that one undisturbed call leaves."""
    url = server.create_database()
    upgrade(url)
    return dump(url)


@pytest.fixture(scope="module")
def next_replicas(next_package: Path) -> Iterator[Forker]:
    """Replicas of the next version, which wait for half a second."""
    with forker.forker(IMPATIENT, pythonpath=next_package) as running:
        yield running


@both_drivers
@pytest.mark.parametrize(
    "lock", ["pg_advisory_lock", "pg_advisory_xact_lock", "pg_advisory_xact_lock_shared"]
)
def test_a_held_migration_lock_is_waited_for_so_long_and_its_holder_is_named(
    database: str, call: Call, lock: str
):
    before = dump(database)
    with holding(database, f"SELECT {lock}({KEY})") as holder:
        with pytest.raises(MigrationLockedError) as caught:
            call("upgrade", database, timeout=0.3)
        assert_names(caught.value, holder)
        with pytest.raises(MigrationLockedError):
            call("upgrade", database, timeout=0)
    assert dump(database) == before
    wait_for(lambda: not clients(database))
    assert not call("upgrade", database).waited


def test_the_migration_lock_of_another_schema_or_database_is_nobodys_business(server: Server, database: str):
    elsewhere = server.create_database()
    with (
        holding(database, f"SELECT pg_advisory_lock({LOCK_CLASS}, {lock_key('todo')})"),
        holding(elsewhere, f"SELECT pg_advisory_lock({KEY})"),
    ):
        assert not upgrade(database, timeout=0).waited


def test_a_boot_does_not_hang_where_somebody_has_locked_the_version_table(upgraded_database: str):
    def refused(call: Call, name: str) -> MigrationLockedError:
        with pytest.raises(MigrationLockedError) as caught:
            call(name, upgraded_database)
        return caught.value

    with (
        holding(upgraded_database, "LOCK TABLE todo_schema_version IN ACCESS EXCLUSIVE MODE") as holder,
        ThreadPoolExecutor(20) as threads,
    ):
        names = ("upgrade", "check", "status", "downgrade", "history", "plan")
        options = {"downgrade": {"to": "base"}}
        waiting = [
            threads.submit(refused, partial(call, **options.get(name, {})), name)
            for call in (ways.psycopg, ways.asyncpg)
            for name in names
        ]
        for future in waiting:
            assert_names(future.result(), holder)


@pytest.mark.parametrize("way", ["url", "engine"])
def test_the_boot_check_is_one_message_without_a_warning(server: Server, upgraded_database: str, way: str):
    with Proxy(server) as proxy:
        url = proxy.url(upgraded_database)
        if way == "url":
            upgrade(url)
        else:
            engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
            upgrade(engine)
            engine.dispose()
        messages = [sql for _, sql in proxy.statements if "todo_schema_" in sql]
        assert len(messages) == 1
        assert len(proxy.statements) == 1 or way == "engine"
        (statement,) = messages
    with psycopg.connect(upgraded_database, autocommit=True) as connection:
        notices: list[str | None] = []
        connection.add_notice_handler(lambda notice: notices.append(notice.message_primary))
        connection.execute(statement.encode())
        assert notices == []
        assert connection.execute("SHOW lock_timeout").fetchone() == ("0",)


@pytest.mark.parametrize(
    "statement",
    [
        "LOCK TABLE tasks IN ACCESS EXCLUSIVE MODE",
        "SELECT FROM tasks",
        "LOCK TABLE todo_schema_version IN SHARE MODE",
        "LOCK TABLE todo_schema_version IN ACCESS EXCLUSIVE MODE",
    ],
)
def test_a_revision_that_cannot_lock_its_tables_changes_nothing_and_names_who_holds_them(
    upgraded_database: str, next_replicas: Forker, statement: str, clean: str
):
    with holding(upgraded_database, statement) as holder:
        (outcome,) = next_replicas.race(1, upgraded_database)
        assert outcome["kind"] == "MigrationLockedError"
        assert_names(outcome["error"], holder)
    assert_migrated(upgraded_database, clean)
    (outcome,) = next_replicas.race(1, upgraded_database)
    assert [step["revision"] for step in outcome["result"]["applied"]] == [NEXT]


def test_a_revision_lets_go_of_its_locks_while_it_waits_for_others(
    server: Server, upgraded_database: str, next_package: Path
):
    """Nobody queues behind it for longer than its lock timeout; it goes on when the lock is free."""
    with forker.forker(pythonpath=next_package) as replicas, Proxy(server) as proxy:
        with holding(upgraded_database, "SELECT FROM tasks"):
            replicas.start(proxy.url(upgraded_database))
            wait_for(lambda: [sql for _, sql in proxy.statements].count("ROLLBACK") > 1)
            execute(upgraded_database, "SET statement_timeout = '10s'; SELECT FROM tasks")
        (outcome,) = replicas.outcomes()
    assert [step["revision"] for step in outcome["result"]["applied"]] == [NEXT]


def test_replicas_that_wait_are_told_for_whom_and_return_when_the_work_is_done(server: Server, database: str):
    told: list[Progress] = []
    everybody_waits = threading.Barrier(5)

    def hold(connection: int, number: int, sql: str, moment: str) -> None:
        if "CREATE TABLE messages" in sql and moment == "before":
            everybody_waits.wait(20)

    def wait(progress: Progress) -> None:
        told.append(progress)
        everybody_waits.wait(20)

    async def boot_async() -> object:
        return await upgrade_async(database, progress=lambda said: threads.submit(wait, said))

    with ThreadPoolExecutor(20) as threads, Proxy(server, on_statement=hold) as proxy:
        first = threads.submit(upgrade, proxy.url(database))
        wait_for(lambda: any("CREATE TABLE messages" in sql for _, sql in proxy.statements))
        others = [threads.submit(upgrade, database, progress=wait) for _ in range(2)]
        others += [threads.submit(asyncio.run, boot_async()) for _ in range(2)]
        holder = proxy.backend_pid(1)
        reports = [other.result() for other in others]
        assert not first.result().waited
    assert {progress.event for progress in told} == {"waiting"}
    assert all(f"pid {holder} (todo-schema " in progress.text for progress in told)
    for report in reports:
        assert report.waited
        assert report.waited_seconds > 0
        assert report.applied == ()
        assert (report.before, report.after) == (State.EMPTY, State.CURRENT)
        assert "waited" in str(report)


def test_a_replica_that_waits_needs_no_lock_once_the_database_is_current(database: str):
    def migrate(progress: Progress) -> None:
        apply(database, script)

    script = sql().replace(f"pg_try_advisory_xact_lock({KEY})", "true")
    with holding(database, f"SELECT pg_advisory_lock({KEY})"):
        report = upgrade(database, timeout=30, progress=migrate)
    assert report.waited
    assert report.after is State.CURRENT
    assert report.applied == ()


async def test_neither_the_guard_nor_who_waits_for_it_stops_an_index_that_is_built_concurrently(
    upgraded_database: str,
):
    """A guard with a snapshot would: CREATE INDEX CONCURRENTLY waits for every older one."""
    build = (
        "SET statement_timeout = '10s';",
        "CREATE INDEX CONCURRENTLY ix_task_title ON tasks (title)",
        "DROP INDEX CONCURRENTLY ix_task_title",
    )

    def build_while_guarded(database) -> None:
        with database.wire() as guard:
            acquire_lock(
                guard,
                "public",
                timeout=0,
                sleep=database.sleep,
                is_done=lambda: False,
                waiting=lambda _: None,
            )
            with psycopg.connect(upgraded_database, autocommit=True) as connection:
                assert connection.execute(try_lock_query("public").encode()).rowcount == 0
                for statement in build:
                    connection.execute(statement.encode())
            release(guard)

    build_while_guarded(blocking(upgraded_database))
    await in_greenlet(lambda: build_while_guarded(in_loop(upgraded_database)))
    assert check(upgraded_database, deep=True) is State.CURRENT


def test_nothing_is_lost_and_nothing_touched_where_the_callers_connection_is_in_a_transaction(
    database: str, clean: str
):
    execute(database, "CREATE SCHEMA host; CREATE TABLE host.notes (note text)")
    engine = create_engine(
        database.replace("postgresql:", "postgresql+psycopg:"), pool_size=1, max_overflow=2
    )
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
        connection.execute(text("INSERT INTO host.notes VALUES ('uncommitted')"))
        connection.execute(text("SET LOCAL search_path = host"))
        backend = connection.scalar(text("SELECT pg_backend_pid()"))
        assert upgrade(connection, schema="public").after is State.CURRENT
        assert_migrated(database, clean)
        assert connection.in_transaction()
        assert connection.scalar(text("SELECT pg_backend_pid()")) == backend
        assert connection.scalar(text("SHOW search_path")) == "host"
        assert connection.scalar(text("SELECT count(*) FROM notes")) == 1
        assert execute(database, "SELECT count(*) FROM host.notes") == [(0,)]
        connection.rollback()
    assert execute(database, "SELECT count(*) FROM host.notes") == [(0,)]
    assert status(engine).state is State.CURRENT
    engine.dispose()
    wait_for(lambda: not clients(database))


async def test_the_same_holds_for_an_asynchronous_connection(database: str, clean: str):
    execute(database, "CREATE SCHEMA host; CREATE TABLE host.notes (note text)")
    engine = create_async_engine(database.replace("postgresql:", "postgresql+asyncpg:"))
    async with engine.connect() as connection:
        await connection.execute(text("INSERT INTO host.notes VALUES ('committed later')"))
        assert (await upgrade_async(connection)).after is State.CURRENT
        assert_migrated(database, clean)
        assert await connection.run_sync(lambda inner: upgrade(inner).after) is State.CURRENT
        assert execute(database, "SELECT count(*) FROM host.notes") == [(0,)]
        await connection.commit()
    assert execute(database, "SELECT count(*) FROM host.notes") == [(1,)]
    await engine.dispose()
    wait_for(lambda: not clients(database))
