"""Whatever is cancelled, and whenever: no connection is lost, and the next one works."""

import asyncio
import gc
import random
import time

import pytest
from sqlalchemy import func
from sqlmodel import select

from tests.support.backends import backend, backends, returned, two_backends
from tests.support.servers import Server
from todo_schema.models import User
from todo_schema.sessions import SessionFactory, session_factory


@pytest.fixture
def factory(upgraded_database: str) -> SessionFactory:
    return session_factory(upgraded_database)


async def cancel_queries(factory: SessionFactory, times: int) -> None:
    for _ in range(times):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01), factory() as session:
                await session.exec(select(func.pg_sleep(60)))


async def test_fifty_cancelled_queries_leave_one_usable_connection(
    factory: SessionFactory, server: Server, upgraded_database: str
):
    async with factory:
        await backend(factory)
        await cancel_queries(factory, 50)
        assert await returned(factory) == 0
        assert await backend(factory)
    assert backends(server, upgraded_database, 0) == 0


async def test_connects_that_are_cancelled_leave_no_connection(
    factory: SessionFactory, server: Server, upgraded_database: str
):
    async with factory:
        await backend(factory)
        began = time.monotonic()
        await factory.close()
        await backend(factory)
        a_connect = time.monotonic() - began
        cancelled = 0
        for step in range(60):
            await factory.close()
            try:
                async with asyncio.timeout(a_connect * step / 60), factory() as session:
                    await session.connection()
            except TimeoutError:
                cancelled += 1
            assert await returned(factory) == 0
        assert cancelled > 0
        await factory.close()
        gc.collect()
        assert backends(server, upgraded_database, 0) == 0


async def test_a_cancelled_commit_leaves_no_connection_and_no_half(
    factory: SessionFactory, server: Server, upgraded_database: str
):
    """The commit may have happened or not, but not for one row without the other."""

    async def write(number: int) -> None:
        async with factory.begin() as session:
            session.add(User(email=f"{number}-a@example.com"))
            session.add(User(email=f"{number}-b@example.com"))

    async with factory:
        await write(-1)
        for number in range(50):
            task = asyncio.create_task(write(number))
            await asyncio.sleep(random.uniform(0, 0.005))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert await returned(factory) == 0
        async with factory() as session:
            emails = (await session.exec(select(User.email))).all()
    halves = [{email[:-14] for email in emails if email[-13] == half} for half in "ab"]
    assert halves[0] == halves[1]
    assert backends(server, upgraded_database, 0) == 0


async def test_a_commit_that_hangs_can_be_given_up(
    factory: SessionFactory, server: Server, upgraded_database: str
):
    """Here a deferred trigger sleeps for longer than a test may take; SQLAlchemy's own begin() would wait for it."""
    server.execute(
        """
        CREATE FUNCTION sleep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(600); RETURN NULL; END';
        CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON users DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION sleep()
        """,
        upgraded_database,
    )
    async with factory:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2), factory.begin() as session:
                session.add(User(email="ada@example.com"))
        assert await returned(factory) == 0
        async with factory() as session:
            assert (await session.exec(select(User))).all() == []
    assert backends(server, upgraded_database, 0) == 0


async def test_close_that_is_cancelled_still_closes_everything(
    factory: SessionFactory, server: Server, upgraded_database: str
):
    await two_backends(factory)
    task = asyncio.create_task(factory.close())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await asyncio.sleep(0.2)
    assert backends(server, upgraded_database, 0) == 0


def test_everything_works_under_uvloop(factory: SessionFactory, server: Server, upgraded_database: str):
    uvloop = pytest.importorskip("uvloop")
    for _ in range(2):
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            assert len(runner.run(two_backends(factory))) == 2
            runner.run(cancel_queries(factory, 5))
        assert backends(server, upgraded_database, 0) == 0
