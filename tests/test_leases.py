"""Every connection of a session factory holds a lease on the schema version of its package, for as long as it lasts."""

import asyncio
import os
from collections.abc import Awaitable, Callable

import pytest
from sqlmodel import select

from tests.support import processes
from tests.support.backends import backend, two_backends
from tests.support.leases import (
    MESSAGE,
    every_way,
    factory_on,
    held_by,
    leases,
    own_engine,
    wait_until_nobody_holds_any,
)
from tests.support.proxy import Proxy
from tests.support.servers import Server
from tests.support.waiting import wait_for
from todo_schema.models import User
from todo_schema.sessions import SessionFactory, session_factory


@every_way
async def test_each_connection_of_the_pool_holds_one_lease(upgraded_database: str, way: str):
    async with factory_on(way, upgraded_database) as factory:
        pids = await two_backends(factory)
        assert len(pids) == 2
        assert leases(upgraded_database) == held_by(pids)
        assert await two_backends(factory) == pids
        assert leases(upgraded_database) == held_by(pids)


async def recycled(factory: SessionFactory) -> None:
    factory.engine.pool._recycle = 0  # from now on every connection is too old
    await backend(factory)


async def invalidated(factory: SessionFactory) -> None:
    async with factory.engine.connect() as connection:
        await connection.invalidate()


@pytest.mark.parametrize("end", [SessionFactory.close, recycled, invalidated], ids=lambda end: end.__name__)
async def test_a_lease_goes_with_its_connection_and_the_next_one_has_its_own(
    upgraded_database: str, end: Callable[[SessionFactory], Awaitable[None]]
):
    async with session_factory(upgraded_database) as factory:
        before = await backend(factory)
        await end(factory)
        wait_for(lambda: before not in dict(leases(upgraded_database)))
        after = await backend(factory)
        wait_for(lambda: leases(upgraded_database) == held_by({after}))
        assert after != before
    wait_until_nobody_holds_any(upgraded_database)


@every_way
async def test_a_connection_in_place_of_one_that_was_lost_has_a_lease(
    server: Server, upgraded_database: str, way: str
):
    async with factory_on(way, upgraded_database, pool_pre_ping=True) as factory:
        lost = await two_backends(factory)
        for pid in lost:
            server.execute(f"SELECT pg_terminate_backend({pid}, 5000)")
        assert leases(upgraded_database) == []
        pids = await two_backends(factory)
        assert not pids & lost
        assert leases(upgraded_database) == held_by(pids)


def test_the_end_of_a_loop_is_the_end_of_its_leases(upgraded_database: str):
    factory = session_factory(upgraded_database)
    for _ in range(2):
        with asyncio.Runner() as runner:
            pids = runner.run(two_backends(factory))
            assert leases(upgraded_database) == held_by(pids)
        wait_until_nobody_holds_any(upgraded_database)


SERVICE = """
import asyncio, sys
from todo_schema.sessions import session_factory

async def serve():
    async with session_factory(sys.argv[1]) as factory, factory.engine.connect(), factory.engine.connect():
        print("serving", flush=True)
        await asyncio.sleep(60)

asyncio.run(serve())
"""


def test_the_leases_of_a_process_go_when_it_is_killed(upgraded_database: str):
    process = processes.start_python(SERVICE, upgraded_database)
    try:
        assert process.stdout
        assert process.stdout.readline() == "serving\n"
        assert len(leases(upgraded_database)) == 2
    finally:
        processes.kill(process)
        process.communicate()
    wait_until_nobody_holds_any(upgraded_database)


FORK = """
import asyncio, os, sys
from tests.support.backends import two_backends
from tests.support.leases import held_by, leases
from todo_schema.sessions import session_factory

url = sys.argv[1]
factory = session_factory(url)
runner = asyncio.Runner()
before = runner.run(two_backends(factory))
assert leases(url) == held_by(before)
child = os.fork()
if child == 0:
    with asyncio.Runner() as another:
        own = another.run(two_backends(factory))
        assert leases(url) == held_by(before | own), (leases(url), before, own)
        assert len(before | own) == 4
    del runner
    sys.exit()
assert os.waitpid(child, 0)[1] == 0
assert runner.run(two_backends(factory)) == before
while len(leases(url)) > 2:
    pass
assert leases(url) == held_by(before)
runner.close()
"""


def test_a_forked_child_takes_leases_of_its_own_and_leaves_its_parents_alone(upgraded_database: str):
    path = os.pathsep.join(map(str, (processes.SOURCE, processes.CHECKOUT)))
    done = processes.run_python(FORK, upgraded_database, env={"PYTHONPATH": path})
    assert done.returncode == 0, done.stderr


async def use(engine_or_factory, sessions: int) -> None:
    for _ in range(sessions):
        async with engine_or_factory.begin() as connection:
            await (getattr(connection, "exec", None) or connection.execute)(select(User))


@pytest.mark.parametrize("check", ["connect", "never"])
@every_way
async def test_a_lease_costs_one_round_trip_for_a_connection_and_none_for_a_session(
    server: Server, upgraded_database: str, way: str, check: str
):
    """Compared with an engine that nobody leases, on the same driver and with the same pool."""
    with Proxy(server) as proxy:
        url = proxy.url(upgraded_database)

        async def cost(user, sessions: int) -> tuple[int, list[str]]:
            proxy.reset()
            await use(user, sessions)
            return proxy.round_trips, [statement.sql for statement in proxy.statements]

        plain = own_engine("asyncpg" if way == "url" else way, url, pool_pre_ping=True)
        first, again = await cost(plain, 1), await cost(plain, 10)
        await plain.dispose()
        async with factory_on(way, url, check=check, pool_pre_ping=True) as factory:
            leased_first, leased_again = await cost(factory, 1), await cost(factory, 10)
    (message,) = [text for text in leased_first[1] if MESSAGE in text]
    assert [text for text in leased_first[1] if text != message] == first[1]
    assert leased_first[0] == first[0] + 1
    assert leased_again == again
    assert ("todo_schema_history" in message) is (check == "connect")


async def test_each_further_connection_costs_the_message_alone(server: Server, upgraded_database: str):
    with Proxy(server) as proxy:
        async with session_factory(proxy.url(upgraded_database)) as factory, factory.engine.connect():
            proxy.reset()
            async with factory.engine.connect():
                assert proxy.connections == 1
                ((_, message),) = proxy.statements
    assert MESSAGE in message
