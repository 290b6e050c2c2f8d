"""A caller's engine is leased as it is, and what the library does on a factory's engine is no client of its own."""

import asyncio

import pytest
from sqlalchemy import StaticPool, func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.support.backends import backend, two_backends
from tests.support.leases import (
    MESSAGE,
    advisory_locks,
    every_way,
    factory_on,
    held_by,
    leases,
    own_engine,
    step_under_way,
    wait_until_nobody_holds_any,
)
from tests.support.proxy import Proxy
from tests.support.revisions import CONTRACTS
from tests.support.servers import Server, execute
from tests.support.states import FLOOR
from tests.support.waiting import wait_for
from tests.support.ways import psycopg
from todo_schema import (
    ClientsConnectedError,
    DatabaseUnreachableError,
    SchemaTooNewError,
    State,
    User,
    check_async,
    clients_async,
    contract_async,
    downgrade_async,
    session_factory,
    stamp_async,
    status_async,
    upgrade_async,
)
from todo_schema.compatibility import HEAD

drivers = pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])


async def two_of(engine: AsyncEngine) -> set[int]:
    """Two connections of a pool, which are idle afterwards."""

    async def one() -> int:
        async with engine.connect() as connection:
            return (
                await connection.execute(text("SELECT pg_backend_pid() FROM pg_sleep(0.05)"))
            ).scalar_one()

    return set(await asyncio.gather(one(), one()))


@drivers
async def test_connections_that_were_open_before_the_factory_was_made_are_leased_when_they_are_first_used(
    server: Server, upgraded_database: str, driver: str
):
    with Proxy(server) as proxy:
        engine = own_engine(driver, proxy.url(upgraded_database))
        before = await two_of(engine)
        factory = session_factory(engine)
        _ = factory.engine
        assert leases(upgraded_database) == []
        proxy.reset()
        first = await backend(factory)
        assert leases(upgraded_database) == held_by({first})
        for _ in range(3):
            assert await two_backends(factory) == before
        assert leases(upgraded_database) == held_by(before)
        assert sum(MESSAGE in statement.sql for statement in proxy.statements) == 2
        await engine.dispose()


@drivers
async def test_such_a_connection_is_closed_where_the_floor_has_risen(upgraded_database: str, driver: str):
    engine = own_engine(driver, upgraded_database, pool_size=1, max_overflow=0)
    async with engine.connect():
        pass
    execute(upgraded_database, FLOOR)
    factory = session_factory(engine)
    for _ in range(2):
        with pytest.raises(SchemaTooNewError):
            await backend(factory)
        assert leases(upgraded_database) == []
        assert engine.pool.checkedout() == 0
    await engine.dispose()


@drivers
async def test_two_factories_on_one_engine_hold_one_lease_for_each_connection(
    upgraded_database: str, driver: str
):
    engine = own_engine(driver, upgraded_database)
    first, second = session_factory(engine), session_factory(engine)
    _ = first.engine, second.engine
    pids = await two_backends(first)
    assert await two_backends(second) == pids
    assert advisory_locks(upgraded_database) == 2
    assert leases(upgraded_database) == held_by(pids)
    await engine.dispose()


@drivers
async def test_a_factory_for_each_schema_on_one_engine_makes_its_connections_clients_of_both(
    database: str, driver: str
):
    for schema in ("one", "two"):
        psycopg("upgrade", database, schema=schema)
    engine = own_engine(driver, database)
    pid = await backend(session_factory(engine, schema="one"))
    assert (leases(database, "one"), leases(database, "two")) == (held_by({pid}), [])
    assert await backend(session_factory(engine, schema="two")) == pid
    assert leases(database, "one") == leases(database, "two") == held_by({pid})
    await engine.dispose()


@drivers
async def test_a_connection_of_a_shared_engine_that_lost_the_server_s_leases_the_next_one(
    database: str, driver: str
):
    psycopg("upgrade", database, schema="one")
    engine = own_engine(driver, database)
    number = text("SELECT pg_backend_pid()")
    async with session_factory(engine, schema="one").engine.connect() as connection:
        lost = (await connection.execute(number)).scalar_one()
        await connection.rollback()
        await connection.invalidate()
        pid = (await connection.execute(number)).scalar_one()
        assert pid != lost
        assert leases(database, "one") == held_by({pid})
    await engine.dispose()


@drivers
async def test_where_an_engine_says_that_its_tables_are_the_lease_is_taken_unless_a_factory_says_another(
    database: str, driver: str
):
    for schema in ("one", "two"):
        psycopg("upgrade", database, schema=schema)
    async with session_factory(database, schema="one") as first:
        for schema, expected in ((None, "one"), ("two", "two")):
            engine = own_engine(driver, database)
            options = first.engine.get_execution_options()
            factory = session_factory(engine.execution_options(**options), schema=schema)
            async with factory.begin() as session:
                session.add(User(email=f"{schema}@example.com"))
                pid = (await session.exec(select(func.pg_backend_pid()))).scalar_one()
                assert leases(database, expected) == held_by({pid})
            assert execute(database, f"SELECT email FROM {expected}.users") == [(f"{schema}@example.com",)]
            await engine.dispose()
            wait_until_nobody_holds_any(database, expected)
    options = {"schema_translate_map": {None: "two"}}
    async with session_factory(database, execution_options=options) as factory:
        pid = await backend(factory)
        assert leases(database, "two") == held_by({pid})


@drivers
async def test_a_server_that_ends_a_connection_while_it_takes_its_lease_is_unreachable(
    server: Server, upgraded_database: str, driver: str
):
    engine = own_engine(driver, upgraded_database)
    with step_under_way(upgraded_database):  # keeps the lease waiting, which asks again and again
        asked = asyncio.create_task(backend(session_factory(engine)))
        query = f"SELECT pid FROM pg_stat_activity WHERE query LIKE '%{MESSAGE}%' AND pid <> pg_backend_pid()"
        found = await asyncio.to_thread(wait_for, lambda: server.execute(query, upgraded_database))
        server.terminate(found[0][0])
        with pytest.raises(DatabaseUnreachableError):
            await asked
    await engine.dispose()


@every_way
async def test_what_the_library_does_on_a_factory_s_engine_takes_no_lease(
    server: Server, database: str, way: str
):
    """A downgrade that is under way would meet one of its own."""
    with Proxy(server) as proxy:
        async with factory_on(way, proxy.url(database)) as factory:
            engine = factory.engine
            assert (await upgrade_async(engine)).after is State.CURRENT
            assert await check_async(engine, deep=True) is State.CURRENT
            assert (await status_async(engine)).clients == ()
            assert (await clients_async(engine)).clients == ()
            applied = (await contract_async(engine)).applied
            assert [step.revision for step in applied] == [*CONTRACTS]
            assert (await stamp_async(engine, HEAD)).after is State.CURRENT
            assert (await downgrade_async(engine, to="base")).after is State.EMPTY
            assert (await upgrade_async(engine)).after is State.CURRENT
            assert not [statement for statement in proxy.statements if MESSAGE in statement.sql]
            pid = await backend(factory)
            assert leases(database) == held_by({pid})


@every_way
async def test_a_downgrade_on_a_factory_s_engine_is_refused_while_that_has_connections(
    upgraded_database: str, way: str
):
    """Idle ones too: the next session would use them."""
    async with factory_on(way, upgraded_database) as factory:
        pid = await backend(factory)
        with pytest.raises(ClientsConnectedError) as caught:
            await downgrade_async(factory.engine, to="base")
        assert [client.pids for client in caught.value.clients] == [(pid,)]
        await factory.engine.dispose()
        assert (await downgrade_async(factory.engine, to="base")).after is State.EMPTY


@drivers
async def test_what_sessions_do_beside_the_library_in_the_same_loop_is_leased(
    upgraded_database: str, driver: str
):
    engine = own_engine(driver, upgraded_database)
    factory = session_factory(engine)
    *_, pids = await asyncio.gather(*(status_async(engine) for _ in range(3)), two_backends(factory))
    assert leases(upgraded_database) == held_by(pids)
    await engine.dispose()


@drivers
async def test_the_isolation_and_the_transactions_of_a_leased_engine_are_its_callers(
    upgraded_database: str, driver: str
):
    for options, expected in (
        ({"isolation_level": "SERIALIZABLE"}, "serializable"),
        ({"isolation_level": "AUTOCOMMIT"}, "read committed"),
        ({"poolclass": StaticPool}, "read committed"),
    ):
        engine = own_engine(driver, upgraded_database, **options)
        factory = session_factory(engine)
        async with factory() as session:
            assert (await session.exec(text("SHOW transaction_isolation"))).scalar_one() == expected
            (xact,) = (await session.exec(select(text("pg_current_xact_id()::text")))).one()
            (next_,) = (await session.exec(select(text("pg_current_xact_id()::text")))).one()
            assert (xact == next_) is (options.get("isolation_level") != "AUTOCOMMIT")
            ((pid, _),) = leases(upgraded_database)
            assert (await session.exec(text("SELECT pg_backend_pid()"))).scalar_one() == pid
        await engine.dispose()


@drivers
async def test_a_step_is_waited_for_by_connections_that_were_open_before_too(
    upgraded_database: str, driver: str
):
    engine = own_engine(driver, upgraded_database)
    before = await two_of(engine)
    factory = session_factory(engine)
    with step_under_way(upgraded_database) as step:
        waiting = asyncio.create_task(backend(factory))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        step.rollback()
        assert await waiting in before
    await engine.dispose()
