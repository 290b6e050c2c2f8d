"""A connection that meets a step under way waits for its end; given up or cancelled, it leaves nothing behind."""

import asyncio
from importlib import metadata

import psycopg
import pytest
from sqlmodel import func, select

from tests.support.backends import backend, backends, returned
from tests.support.holding import Hold
from tests.support.leases import (
    MESSAGE,
    every_way,
    factory_on,
    held_by,
    leases,
    own_engine,
    step_under_way,
    wait_until_nobody_holds_any,
)
from tests.support.proxy import Proxy
from tests.support.servers import Server, execute
from tests.support.waiting import wait_for
from tests.support.ways import assert_secret, role, role_of
from todo_schema import (
    SCHEMA_VERSION,
    MigrationLockedError,
    SchemaTooNewError,
    admission,
    session_factory,
)
from todo_schema import leases as leases_of_ours
from todo_schema.sessions import SessionFactory

ONE_AT_A_TIME = {"pool_size": 1, "max_overflow": 0}


async def until_it_waits(proxy: Proxy, messages: int = 2) -> None:
    """Wait until so many messages were answered, each of which found the lease busy."""
    await asyncio.to_thread(
        wait_for, lambda: sum(MESSAGE in statement.sql for statement in proxy.statements) > messages
    )


@every_way
async def test_it_goes_on_when_the_step_was_rolled_back(server: Server, upgraded_database: str, way: str):
    with Proxy(server) as proxy, step_under_way(upgraded_database) as step:
        async with factory_on(way, proxy.url(upgraded_database)) as factory:
            waiting = asyncio.create_task(backend(factory))
            await until_it_waits(proxy)
            step.rollback()
            pid = await waiting
            assert leases(upgraded_database) == held_by({pid})
            assert proxy.connections == 1


@every_way
async def test_it_is_refused_when_the_step_was_committed(server: Server, upgraded_database: str, way: str):
    with Proxy(server) as proxy, step_under_way(upgraded_database) as step:
        async with factory_on(way, proxy.url(upgraded_database)) as factory:
            waiting = asyncio.create_task(backend(factory))
            await until_it_waits(proxy)
            step.commit()
            with pytest.raises(SchemaTooNewError):
                await waiting
        assert backends(server, upgraded_database, 1) == 1


async def test_without_the_check_it_waits_too_and_is_not_refused(server: Server, upgraded_database: str):
    with Proxy(server) as proxy, step_under_way(upgraded_database) as step:
        async with session_factory(proxy.url(upgraded_database), check="never") as factory:
            waiting = asyncio.create_task(backend(factory))
            await until_it_waits(proxy)
            step.commit()
            assert await waiting


@every_way
async def test_a_step_that_does_not_end_is_told_at_last(
    server: Server, upgraded_database: str, way: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(admission, "_PATIENCE", 0.3)
    with role(server, upgraded_database) as url, step_under_way(upgraded_database) as step:
        execute(
            upgraded_database, f"GRANT SELECT ON todo_schema_version, todo_schema_history TO {role_of(url)}"
        )
        async with factory_on(way, url, **ONE_AT_A_TIME) as factory:
            with pytest.raises(MigrationLockedError) as caught:
                await backend(factory)
            assert f"schema {SCHEMA_VERSION} at postgresql" in caught.value.found
            assert "has been locked for 0.3 s by a contract step or a downgrade" in caught.value.found
            assert_secret(caught.value, "secret")
            step.rollback()
            assert backends(server, upgraded_database, 1) == 1
            query = caught.value.cure.partition("connection: ")[2]
            assert step.pgconn.backend_pid in dict(execute(upgraded_database, query))
            pid = await backend(factory)
            assert leases(upgraded_database) == held_by({pid})


@every_way
async def test_one_that_is_cancelled_while_the_lease_is_busy_leaves_no_connection_and_takes_no_slot(
    server: Server, upgraded_database: str, way: str
):
    async with factory_on(way, upgraded_database, **ONE_AT_A_TIME) as factory:
        with step_under_way(upgraded_database) as step:
            for _ in range(3):
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.15):
                        await backend(factory)
            assert await returned(factory) == 0
            assert backends(server, upgraded_database, 1) == 1
            step.rollback()
            pid = await backend(factory)
        assert leases(upgraded_database) == held_by({pid})


@every_way
async def test_several_that_wait_and_are_cancelled_leave_nothing(
    server: Server, upgraded_database: str, way: str
):
    """Also those that queue behind the first of them, within SQLAlchemy."""
    if way == "psycopg" and metadata.version("psycopg") < "3.3":
        pytest.skip("psycopg 3.2 may lose the cancellation of a task that is opening a connection")
    async with factory_on(way, upgraded_database, pool_size=4, max_overflow=0) as factory:
        with step_under_way(upgraded_database) as step:
            waiting = [asyncio.create_task(backend(factory)) for _ in range(4)]
            await asyncio.to_thread(wait_for, lambda: backends(server, upgraded_database, 5) == 5)
            for task in waiting:
                task.cancel()
            outcomes = await asyncio.gather(*waiting, return_exceptions=True)
            assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError] * 4
            assert backends(server, upgraded_database, 1) == 1
            step.rollback()
            pids = set(await asyncio.gather(*(slow(factory) for _ in range(4))))
        assert len(pids) == 4
        assert leases(upgraded_database) == held_by(pids)


async def slow(factory: SessionFactory) -> int:
    async with factory() as session:
        pids = select(func.pg_backend_pid()).where(func.pg_sleep(0.1).is_not(None))
        return (await session.exec(pids)).one()


@pytest.mark.parametrize("moment", ["before", "inside", "after"])
@every_way
async def test_one_that_is_cancelled_while_the_message_is_on_its_way_leaves_nothing(
    server: Server, upgraded_database: str, way: str, moment: str
):
    hold = Hold(MESSAGE, moment)
    with Proxy(server, on_statement=hold) as proxy:
        async with factory_on(way, proxy.url(upgraded_database), **ONE_AT_A_TIME) as factory:
            task = asyncio.create_task(backend(factory))
            await asyncio.to_thread(hold.reached.wait, 20)
            task.cancel()
            await asyncio.sleep(0.05)
            hold.go.set()
            await asyncio.gather(task, return_exceptions=True)
            assert task.cancelled()
            assert await returned(factory) == 0
            assert backends(server, upgraded_database, 0) == 0
            assert await backend(factory)


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_a_caller_s_idle_connection_that_is_cancelled_as_it_takes_its_lease_is_replaced(
    server: Server, upgraded_database: str, driver: str
):
    engine = own_engine(driver, upgraded_database, **ONE_AT_A_TIME)
    async with engine.connect():
        pass
    factory = session_factory(engine)
    with step_under_way(upgraded_database) as step:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.15):
                await backend(factory)
        assert await returned(factory) == 0
        assert backends(server, upgraded_database, 1) == 1
        step.rollback()
        pid = await backend(factory)
    assert leases(upgraded_database) == held_by({pid})
    await engine.dispose()


@every_way
async def test_a_history_that_is_locked_even_for_readers_is_not_waited_for_without_end(
    upgraded_database: str, way: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(leases_of_ours, "_LOCK_TIMEOUT", "50ms")
    async with factory_on(way, upgraded_database, **ONE_AT_A_TIME) as factory:
        with psycopg.connect(upgraded_database, application_name="vacuum") as other:
            other.execute("LOCK TABLE todo_schema_history IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(MigrationLockedError) as caught:
                await backend(factory)
            assert f"locked even for readers by pid {other.pgconn.backend_pid} (vacuum" in caught.value.found
            wait_until_nobody_holds_any(upgraded_database)
        assert await backend(factory)
