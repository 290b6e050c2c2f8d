"""Loops, threads, forks and cancellations: no connection is shared, left behind or lost."""

import asyncio
import gc
import threading
from collections.abc import Awaitable, Callable, Iterator

import pytest
from sqlalchemy import NullPool
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlmodel import select

from tests.support.backends import backend, backends, two_backends
from tests.support.processes import run_python
from tests.support.servers import Server
from todo_schema.errors import WrongEventLoopError
from todo_schema.models import User
from todo_schema.sessions import SessionFactory, session_factory
from todo_schema.urls import DatabaseUrl


@pytest.fixture
def factory(upgraded_database: str) -> SessionFactory:
    return session_factory(upgraded_database)


@pytest.fixture
def in_another_thread() -> Iterator[Callable[[Awaitable], object]]:
    """Runs a coroutine in a loop that goes on running in a thread of its own until the test ends."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield lambda coroutine: asyncio.run_coroutine_threadsafe(coroutine, loop).result(20)
    asyncio.run_coroutine_threadsafe(loop.shutdown_asyncgens(), loop).result(20)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def own_engine(url: str, **options) -> AsyncEngine:
    parsed = DatabaseUrl.parse(url)
    return create_async_engine(
        parsed.sqlalchemy_url("asyncpg"), **parsed.engine_arguments("asyncpg"), **options
    )


def test_the_connections_of_a_loop_are_closed_as_it_ends_and_the_next_loop_opens_its_own(
    factory: SessionFactory, server: Server, upgraded_database: str
):
    """Without a word from the caller; asyncio.run knows nothing of pools."""
    seen = set()
    for _ in range(3):
        seen |= asyncio.run(two_backends(factory))
        assert backends(server, upgraded_database, 0) == 0
    assert len(seen) == 6


def test_a_loop_that_was_only_closed_leaves_nothing_behind_once_the_factory_is_used_again(
    factory: SessionFactory, server: Server, upgraded_database: str
):
    """And neither "Event loop is closed" nor a ResourceWarning: warnings are errors here."""
    loop = asyncio.new_event_loop()
    first = loop.run_until_complete(two_backends(factory))
    loop.close()
    second = asyncio.run(two_backends(factory))
    assert not first & second
    gc.collect()
    assert backends(server, upgraded_database, 0) == 0


def test_a_factory_that_is_dropped_closes_its_connections(server: Server, upgraded_database: str):
    async def use_and_drop() -> int:
        await two_backends(session_factory(upgraded_database))
        gc.collect()
        await asyncio.sleep(0.1)
        gc.collect()
        return backends(server, upgraded_database, 0)

    assert asyncio.run(use_and_drop()) == 0


def test_a_session_and_an_engine_made_before_any_loop_work_in_one(factory: SessionFactory):
    session, engine = factory(), factory.engine

    async def use() -> None:
        async with session, engine.connect() as connection:
            assert (await session.exec(select(User))).all() == []
            await connection.execute(select(User))

    asyncio.run(use())
    assert factory.engine is engine


async def test_another_loop_is_refused_while_the_first_is_open(factory: SessionFactory, in_another_thread):
    in_another_thread(backend(factory))
    with pytest.raises(WrongEventLoopError, match="still open"):
        await factory.close()
    with pytest.raises(WrongEventLoopError, match="still open"):
        _ = factory.engine
    async with factory() as session:
        with pytest.raises(WrongEventLoopError) as caught:
            await session.exec(select(User))
    assert "session factory" in caught.value.found
    assert "each" in caught.value.needed
    assert "session_factory(url)" in caught.value.cure
    assert in_another_thread(backend(factory))


def test_the_cure_for_another_loop_works(factory: SessionFactory, in_another_thread):
    in_another_thread(backend(factory))
    in_another_thread(factory.close())
    assert asyncio.run(backend(factory))


def test_two_threads_with_a_factory_each_work_at_the_same_time(upgraded_database: str):
    failures = []

    async def work() -> None:
        async with session_factory(upgraded_database) as factory:
            for _ in range(20):
                await two_backends(factory)

    def run() -> None:
        try:
            asyncio.run(work())
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_an_engine_of_the_callers_stays_with_its_first_loop(upgraded_database: str, in_another_thread):
    engine = own_engine(upgraded_database)
    factory = session_factory(engine)
    in_another_thread(backend(factory))
    with pytest.raises(WrongEventLoopError, match="give session_factory the URL"):
        asyncio.run(backend(factory))
    assert in_another_thread(backend(factory))
    in_another_thread(engine.dispose())


def test_an_engine_of_the_callers_stays_with_its_first_loop_even_when_that_is_closed(upgraded_database: str):
    engine = own_engine(upgraded_database)
    factory = session_factory(engine)

    async def use() -> None:
        await backend(factory)
        async with engine.connect() as connection:
            # The caller's pool keeps a connection, which the test ends so that none is left open.
            (await connection.get_raw_connection()).driver_connection.terminate()

    asyncio.run(use())
    with pytest.raises(WrongEventLoopError, match="another event loop"):
        asyncio.run(backend(factory))


def test_an_engine_of_the_callers_may_go_on_after_its_dispose(upgraded_database: str):
    engine = own_engine(upgraded_database)
    factory = session_factory(engine, schema="public")

    async def use() -> None:
        await backend(factory)
        await engine.dispose()

    asyncio.run(use())
    asyncio.run(use())


def test_an_engine_that_pools_nothing_belongs_to_no_loop(upgraded_database: str, in_another_thread):
    for factory in (
        session_factory(upgraded_database, poolclass=NullPool),
        session_factory(own_engine(upgraded_database, poolclass=NullPool)),
    ):
        assert in_another_thread(backend(factory)) != asyncio.run(backend(factory))


FORK = """
import asyncio, gc, os, sys
from sqlmodel import func, select
from todo_schema.sessions import session_factory
if sys.argv[2] == "uvloop":
    from uvloop import new_event_loop
else:
    from asyncio import new_event_loop

factory = session_factory(sys.argv[1])

async def one():
    async with factory() as session:
        pids = select(func.pg_backend_pid()).where(func.pg_sleep(0.1).is_not(None))
        return (await session.exec(pids)).one()

async def two():
    return set(await asyncio.gather(one(), one()))

runner = asyncio.Runner(loop_factory=new_event_loop)
before = runner.run(two())
child = os.fork()
if child == 0:
    with asyncio.Runner(loop_factory=new_event_loop) as another:
        assert not another.run(two()) & before
    if sys.argv[2] == "asyncio":
        del runner  # uvloop would close what it shares with the parent
    gc.collect()
    sys.exit()  # the interpreter frees everything: here a goodbye would reach the server
assert os.waitpid(child, 0)[1] == 0
assert runner.run(two()) == before
runner.close()
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_forked_child_opens_its_own_connections_and_leaves_its_parents_alone(
    upgraded_database: str, loop: str
):
    done = run_python(FORK, upgraded_database, loop)
    assert done.returncode == 0, done.stderr


def test_an_engine_of_the_callers_is_refused_in_a_forked_child_only_once_it_was_used(upgraded_database: str):
    done = run_python(
        """
import asyncio, os, sys
from sqlalchemy.ext.asyncio import create_async_engine
from sqlmodel import func, select
from todo_schema.errors import WrongEventLoopError
from todo_schema.sessions import session_factory
from todo_schema.urls import DatabaseUrl

url = DatabaseUrl.parse(sys.argv[1])
engine = create_async_engine(url.sqlalchemy_url("asyncpg"), **url.engine_arguments("asyncpg"))
factory = session_factory(engine)
factory.engine

async def use():
    async with factory() as session:
        return (await session.exec(select(func.pg_backend_pid()))).one()

def in_child(refused):
    child = os.fork()
    if child == 0:
        try:
            asyncio.run(use())
        except WrongEventLoopError as error:
            os._exit(not (refused and "before a fork" in error.found))
        except BaseException:
            os._exit(2)
        os._exit(refused)
    assert os.waitpid(child, 0)[1] == 0

in_child(False)
with asyncio.Runner() as runner:
    before = runner.run(use())
    in_child(True)
    assert runner.run(use()) == before
    runner.run(engine.dispose())
""",
        upgraded_database,
    )
    assert done.returncode == 0, done.stderr
