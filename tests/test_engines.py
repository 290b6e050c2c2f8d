"""The caller's own engine: whatever its pool and its options are, it is left alone, and ours work beside it."""

import asyncio
import os
import signal

import pytest
from sqlalchemy import NullPool, StaticPool, create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine

from tests.support.ports import refuse
from tests.support.proxy import Proxy
from tests.support.servers import execute
from todo_schema import (
    DatabaseUnreachableError,
    InvalidUrlError,
    State,
    check,
    check_async,
    session_factory,
    status_async,
    upgrade,
    upgrade_async,
)


def on(driver: str, url: str) -> str:
    return url.replace("postgresql:", f"postgresql+{driver}:")


POOLS = [{"pool_size": 1, "max_overflow": 0}, {"poolclass": StaticPool}, {"poolclass": NullPool}]


@pytest.mark.parametrize("pool", POOLS, ids=["one", "static", "null"])
def test_a_connection_whose_pool_is_used_up_keeps_its_transaction(database, pool):
    engine = create_engine(on("psycopg", database), **pool)
    with engine.connect() as connection:
        connection.execute(text("CREATE TABLE keep (x int)"))
        assert upgrade(connection).after is State.CURRENT
        assert connection.in_transaction()
        connection.commit()
    engine.dispose()
    assert execute(database, "SELECT count(*) FROM keep") == [(0,)]


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
@pytest.mark.parametrize("pool", POOLS, ids=["one", "static", "null"])
async def test_an_asynchronous_connection_too_on_either_driver(database, driver, pool):
    engine = create_async_engine(on(driver, database), **pool)
    async with engine.connect() as connection:
        await connection.execute(text("CREATE TABLE keep (x int)"))
        assert (await upgrade_async(connection)).after is State.CURRENT
        assert (await upgrade_async(connection)).applied == ()
        assert await check_async(connection, deep=True) is State.CURRENT
        await connection.commit()
    await engine.dispose()
    assert execute(database, "SELECT count(*) FROM keep") == [(0,)]


async def test_the_engine_of_a_session_factory_leads_to_the_schema_of_the_factory(database):
    async with session_factory(database, schema="todo") as factory:
        assert (await upgrade_async(factory.engine)).schema == "todo"
        assert (await status_async(factory.engine)).state is State.CURRENT
    tables = "SELECT DISTINCT schemaname FROM pg_tables WHERE tablename IN ('users', 'todo_schema_version')"
    assert execute(database, tables) == [("todo",)]


def test_an_engine_of_another_database_is_refused_by_name():
    with pytest.raises(InvalidUrlError, match="an engine for sqlite with the driver pysqlite"):
        upgrade(create_engine("sqlite://"))


def test_an_asynchronous_engine_outside_of_a_loop_is_a_mistake_that_names_the_other_function(database):
    with pytest.raises(TypeError, match="ends in _async"):
        upgrade(create_async_engine(on("asyncpg", database)).sync_engine)


@pytest.mark.parametrize("url", [None, b"postgresql://u:sekret@h/d"])
def test_what_is_no_url_at_all_is_a_mistake_that_shows_nothing(url):
    with pytest.raises(TypeError) as caught:
        upgrade(url)
    assert "found: a url" in str(caught.value)
    assert "sekret" not in str(caught.value)
    frames = []
    traceback = caught.value.__traceback__
    while traceback is not None:
        if (
            "todo_schema" in traceback.tb_frame.f_code.co_filename
            and "tests" not in traceback.tb_frame.f_code.co_filename
        ):
            frames.append(repr(traceback.tb_frame.f_locals))
        traceback = traceback.tb_next
    assert frames
    assert not any("sekret" in frame for frame in frames)


def test_secrets_in_the_query_of_an_engine_are_not_shown():
    with refuse() as url:
        address = (
            f"{on('psycopg', url)}&password=sekret" if "?" in url else f"{on('psycopg', url)}?password=sekret"
        )
        with pytest.raises(DatabaseUnreachableError) as caught:
            upgrade(create_engine(address))
    assert "sekret" not in str(caught.value)
    engine = create_async_engine("postgresql+psycopg://u@h/d?password=sekret&sslpassword=sekret")
    assert "sekret" not in repr(session_factory(engine))


BOOTS = {"psycopg": check, "asyncpg": lambda url: asyncio.run(check_async(url))}


@pytest.mark.parametrize("boot", BOOTS.values(), ids=BOOTS)
def test_a_server_that_hangs_after_it_has_let_us_in_does_not_hang_the_boot(private_server, boot):
    database = private_server.create_database()
    upgrade(database)
    stopped: list[int] = []

    def stop(connection: int, _number: int, _sql: str, moment: str) -> None:
        if moment == "before" and not stopped:
            stopped.append(proxy.backend_pid(connection))
            os.kill(stopped[0], signal.SIGSTOP)

    with Proxy(private_server, on_statement=stop) as proxy:
        try:
            with pytest.raises(DatabaseUnreachableError):
                boot(proxy.url(database))
        finally:
            os.kill(stopped[0], signal.SIGCONT)
