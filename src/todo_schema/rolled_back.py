"""Async sessions whose work is undone, for tests: each works in a transaction that is never committed."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from sqlalchemy import Connection, Engine, NullPool
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import Session as AnySession
from sqlalchemy.util import greenlet_spawn
from sqlmodel import Session
from sqlmodel.ext.asyncio.session import AsyncSession

from todo_schema import WrongEventLoopError
from todo_schema.urls import DatabaseUrl

_PATIENCE = 5.0  # seconds; a connection that a test has left in the middle of something is cut off


class RolledBack:
    """Gives sessions on a database, one after the other.

    The engine is the same for all of them, so that what SQLAlchemy has compiled and knows of the server is kept;
    a connection stays with the event loop that opened it, and serves the next test if that has the same loop.
    """

    def __init__(self, url: str, terminate: Callable[[int], object]) -> None:
        """Take the URL of the database, and what ends a backend, given its number, from outside."""
        address = DatabaseUrl.parse(url)
        # As the session factory makes it, but without a lease, which takes as long again as the connecting.
        self._engine = create_async_engine(
            address.sqlalchemy_url("asyncpg"), poolclass=NullPool, **address.engine_arguments("asyncpg")
        ).sync_engine
        self._terminate = terminate
        self._open: dict[asyncio.AbstractEventLoop, _LoopConnection] = {}

    @contextmanager
    def session(self) -> Iterator[AsyncSession]:
        """Give a session, and undo its work at the end of the `with` block."""
        turn = _Turn(self)
        session = AsyncSession(
            sync_session_class=_Session,
            turn=turn,
            expire_on_commit=False,
            join_transaction_mode="create_savepoint",
        )
        try:
            yield session
        finally:
            if turn.taken is not None:
                self._end(turn.taken, session)

    def connect(self, loop: asyncio.AbstractEventLoop) -> "_LoopConnection":
        """Return the connection of the running loop."""
        known = self._open.get(loop)
        if known is None or known.connection.closed or known.connection.invalidated:
            known = self._open[loop] = _LoopConnection(self._engine, loop, self._open)
        return known

    def _end(self, taken: "_LoopConnection", session: AsyncSession) -> None:
        loop = taken.loop
        if not loop.is_closed():
            # Between tests the loop stands still, except one that somebody runs in another thread.
            if loop.is_running():
                asyncio.run_coroutine_threadsafe(taken.undo(session), loop).result()
            else:
                loop.run_until_complete(taken.undo(session))
        elif not taken.connection.closed:
            # The loop was closed without the farewell that every runner gives: nothing here can reach the server.
            self._open.pop(loop, None)
            self._terminate(taken.pid)


class _LoopConnection:
    """A connection, and the event loop that it belongs to."""

    def __init__(
        self,
        engine: Engine,
        loop: asyncio.AbstractEventLoop,
        open_ones: "dict[asyncio.AbstractEventLoop, _LoopConnection]",
    ) -> None:
        self.loop = loop
        self.connection: Connection = engine.connect()
        driver: Any = self.connection.connection.driver_connection
        self.pid: int = driver.get_server_pid()
        self._farewell = self._close_with_the_loop(open_ones)
        # Up to its `yield`, before which nothing is awaited: from now on the loop knows the generator.
        with suppress(StopIteration):
            self._farewell.asend(None).send(None)

    async def undo(self, session: AsyncSession) -> None:
        """Roll back what the session did."""
        await self._orderly(session.run_sync(self._undo))

    def _undo(self, session: AnySession) -> None:
        session.close()
        self.connection.rollback()

    async def _close_with_the_loop(
        self, open_ones: "dict[asyncio.AbstractEventLoop, _LoopConnection]"
    ) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:  # before itself, a loop closes its asynchronous generators
            open_ones.pop(self.loop, None)
            await self._orderly(greenlet_spawn(self.connection.close))

    async def _orderly(self, work: Any) -> None:
        """Await it; the connection is cut off where it fails, because somebody else ended it or is using it."""
        try:
            await asyncio.wait_for(work, _PATIENCE)
        except Exception:  # noqa: BLE001 - the test has its own failure to tell
            with suppress(Exception):
                await greenlet_spawn(self.connection.invalidate)


class _Turn:
    """One session's use of a connection, from its first statement on."""

    def __init__(self, connections: RolledBack) -> None:
        self._connections = connections
        self.taken: _LoopConnection | None = None

    def connection(self) -> Connection:
        """Return the connection, in a transaction.

        Raises:
            WrongEventLoopError: No loop of asyncio is running, or another one than at the first use.

        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise _without_asyncio() from None
        if self.taken is None:
            self.taken = self._connections.connect(loop)
        if self.taken.loop is not loop:
            raise _another_loop()
        connection = self.taken.connection
        if not connection.in_transaction():
            connection.begin()
        return connection


class _Session(Session):
    """SQLModel's session, which connects at its first statement: a fixture makes it before a loop runs."""

    def __init__(self, *, turn: _Turn, **options: Any) -> None:
        super().__init__(**options)
        self._turn = turn

    def get_bind(self, mapper: Any = None, **arguments: Any) -> Engine | Connection:
        self.bind = self._turn.connection()
        return super().get_bind(mapper, **arguments)


def _without_asyncio() -> WrongEventLoopError:
    return WrongEventLoopError(
        "todo_schema_session was used where no event loop of asyncio runs",
        "asyncio or uvloop, which asyncpg is made for; Trio is neither",
        'a fixture `anyio_backend` that returns "asyncio", for tests with anyio',
    )


def _another_loop() -> WrongEventLoopError:
    return WrongEventLoopError(
        "todo_schema_session was used in one event loop and then in another",
        "one loop for the whole test, because its connection and its transaction belong to one",
        "todo_schema_url, with a session factory for each loop; of FastAPI's TestClient the form "
        "`with TestClient(app) as client:`, which keeps one loop",
    )
