"""The server's side of a session factory: which of its processes serve us, and how many are left."""

import asyncio
import time

from sqlalchemy import func
from sqlmodel import select

from tests.support.servers import Server, database_name
from todo_schema.sessions import SessionFactory


async def backend(factory: SessionFactory) -> int:
    """The process of the server that answers."""
    async with factory() as session:
        return (await session.exec(select(func.pg_backend_pid()))).one()


async def two_backends(factory: SessionFactory) -> set[int]:
    async def one() -> int:
        async with factory() as session:
            pids = select(func.pg_backend_pid()).where(func.pg_sleep(0.05).is_not(None))
            return (await session.exec(pids)).one()

    return set(await asyncio.gather(one(), one()))


def backends(server: Server, database: str, expected: int) -> int:
    """The connections to the database, as soon as they are as expected: a server notices a farewell late."""
    count = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{database_name(database)}'"
    for _ in range(100):
        if (found := server.execute(count)[0][0]) == expected:
            break
        time.sleep(0.02)
    return found


async def returned(factory: SessionFactory) -> int:
    """The connections that are checked out, as soon as none is: SQLAlchemy 2.0 gives them back in the background."""
    for _ in range(200):
        if factory.engine.pool.checkedout() == 0:
            break
        await asyncio.sleep(0.01)
    return factory.engine.pool.checkedout()
