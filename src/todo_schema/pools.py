"""Keeps the pool of an engine to the process and the event loop that its connections belong to."""

import asyncio
import ctypes
import gc
import os
import warnings
from collections.abc import AsyncGenerator
from contextlib import suppress

from sqlalchemy import NullPool, Pool, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import ConnectionPoolEntry

from todo_schema.errors import WrongEventLoopError


class PoolKeeper:
    """Lets one event loop after the other use an engine.

    Where the engine is ours, its connections are closed as their loop ends (`asyncio.run` returns), and the next
    loop opens its own; so does a forked child, which leaves those of its parent alone. A caller's engine stays
    with the first loop that uses it: what to do with its connections is not for us to decide.
    """

    def __init__(self, engine: AsyncEngine, *, ours: bool) -> None:
        self._engine = engine
        self._ours = ours
        # A caller's engine that no loop has used yet may go to any loop of any process.
        self._owner = _Owner(engine.pool, None) if ours else None

    def admit(self) -> AsyncEngine:
        """Return the engine for the running loop, or for the next one where none runs.

        Raises:
            WrongEventLoopError: Its connections belong to another loop that is still open, or it is the caller's
                and has been used in another loop or process.

        """
        # A NullPool keeps no connection that could belong to anybody.
        if not isinstance(self._engine.pool, NullPool):
            self._claim(_running_loop())
        return self._engine

    async def close(self) -> None:
        """Close our engine's connections; one that is in use is closed when its user gives it back.

        Raises:
            WrongEventLoopError: They belong to another loop that is still open.

        """
        if self._ours:
            self.admit()
            await _dispose(self._engine, self._engine.pool)

    def _claim(self, loop: asyncio.AbstractEventLoop | None) -> None:
        owner = self._owner
        # A pool that is not the owner's has come with a dispose(), and is nobody's yet.
        if owner is not None and owner.pool is self._engine.pool:
            if owner.process != os.getpid():
                if not self._ours:
                    raise _not_for_this_process()
                _leave_to_the_parent(owner)
                self._engine.sync_engine.dispose(close=False)
            elif loop is None or loop is owner.loop:
                return
            elif owner.loop is not None:
                if not self._ours:
                    raise _engine_of_another_loop()
                if not owner.loop.is_closed():
                    raise _loop_still_open()
                self._owner = owner = None
                _abandon(self._engine)
        if loop is None:
            self._owner = _Owner(self._engine.pool, None) if self._ours else None
        else:
            self._owner = _Owner(self._engine.pool, loop, _farewell(self._engine) if self._ours else None)


class _Owner:
    """The process and the event loop that the connections of a pool belong to."""

    def __init__(
        self,
        pool: Pool,
        loop: asyncio.AbstractEventLoop | None,
        farewell: AsyncGenerator[None, None] | None = None,
    ) -> None:
        self.pool = pool
        self.process = os.getpid()
        self.loop = loop
        self._farewell = farewell
        if farewell is not None:
            # Up to its `yield`, before which nothing is awaited: from now on the loop knows the generator.
            with suppress(StopIteration):
                farewell.asend(None).send(None)


def _leave_to_the_parent(owner: _Owner) -> None:
    """Make a pool that a fork copied immortal.

    asyncpg says goodbye to the server for a connection that is freed, and would say it through the parent's
    socket. To keep the pool in a variable would not do: a child that exits frees its variables.
    """
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(owner))


async def _farewell(engine: AsyncEngine) -> AsyncGenerator[None, None]:
    """Close the engine's present pool as the loop ends: before itself, a loop closes its asynchronous generators."""
    pool, process = engine.pool, os.getpid()
    try:
        yield
    finally:
        if process == os.getpid():  # a forked child may end its copy of the loop
            await _dispose(engine, pool)


async def _dispose(engine: AsyncEngine, pool: Pool) -> None:
    async def dispose() -> None:
        if engine.pool is pool:
            await engine.dispose()
            # What is still in use will return to a pool that nobody empties again.
            event.listen(pool, "checkin", _close_entry)

    # A cancellation would leave the rest of the pool open.
    await asyncio.shield(dispose())


def _close_entry(_connection: DBAPIConnection | None, entry: ConnectionPoolEntry) -> None:
    entry.close()


def _abandon(engine: AsyncEngine) -> None:
    """Let go of connections whose loop was closed without a farewell, by `loop.close()` alone.

    Nothing can close them in order any more: the collector closes their sockets, which ends the server's side.
    It warns of connections that were left open, but they are not: this is their end.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        engine.sync_engine.dispose(close=False)
        gc.collect()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _loop_still_open() -> WrongEventLoopError:
    return WrongEventLoopError(
        "a session factory whose connections belong to another event loop, which is still open",
        "a session factory for each of the event loops that are open at the same time",
        "call session_factory(url) once for each loop, or await factory.close() and close the first loop before "
        "the second one uses the factory",
    )


def _engine_of_another_loop() -> WrongEventLoopError:
    return WrongEventLoopError(
        "a session factory on an engine that has been used in another event loop",
        "an engine for each event loop, because its connections cannot leave theirs",
        "give session_factory the URL instead of the engine: it opens connections for one loop after the other",
    )


def _not_for_this_process() -> WrongEventLoopError:
    return WrongEventLoopError(
        "a session factory on an engine that has been used in the parent process, before a fork",
        "an engine for each process, because two cannot share a connection",
        "give session_factory the URL instead of the engine: it opens connections for each process",
    )
