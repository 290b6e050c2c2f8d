"""One database, and how to reach it: by a URL or by an engine of the caller's, blocking or in an event loop.

All of the library above this module is synchronous code. In an event loop it runs in a greenlet, and what has
to wait hands its awaitable to the loop by SQLAlchemy's `await_only`; nothing is written twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

from todo_schema.compatibility import BOOKKEEPING_TABLES
from todo_schema.diagnosis import connection_error, locked_for_reading, missing_read_right
from todo_schema.driver_errors import INSUFFICIENT_PRIVILEGE, LOCK_NOT_AVAILABLE, is_connection_lost, sqlstate
from todo_schema.drivers import (
    APPLICATION_NAME,
    ClosableWire,
    EngineWire,
    connect,
    connect_in_loop,
    is_known,
    wait_for,
)
from todo_schema.errors import DatabaseUnreachableError, InvalidUrlError, TodoSchemaError
from todo_schema.inspection import schema_in
from todo_schema.leases import EXEMPT
from todo_schema.quoting import identifier

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from todo_schema.urls import DatabaseUrl

    Address = str | URL | Engine | Connection
    AsyncAddress = str | URL | AsyncEngine | AsyncConnection

T = TypeVar("T")


class Database:
    """One installation in one database, by a URL or by an engine, blocking or in an event loop.

    What cannot be used is told when the database is first reached, not here: the function that was given the URL
    can then forget its text first, and no traceback shows a password among its locals.

    Attributes:
        schema: The PostgreSQL schema of the installation; None leaves it to the connection's search_path.
        is_async: Whether what has to wait lets the running event loop go on.

    """

    def __init__(
        self,
        schema: str | None,
        *,
        is_async: bool,
        url: DatabaseUrl | None = None,
        engine: Engine | None = None,
        problem: Exception | None = None,
        pooler: bool | None = None,
    ) -> None:
        self.schema = schema
        self._pooler = pooler
        self.is_async = is_async
        self._url = url
        self._engine = engine
        self._problem = problem

    def __repr__(self) -> str:
        return f"Database({self.address})"

    @property
    def address(self) -> str:
        """Where it is, without a password."""
        if self._engine is None:
            return str(self._url)
        from todo_schema.urls import masked  # noqa: PLC0415  # imports SQLAlchemy

        return masked(self._engine.url)

    def sleep(self, seconds: float) -> None:
        """Pause without holding up an event loop."""
        if self.is_async:
            import asyncio  # noqa: PLC0415  # importing todo_schema costs nothing

            wait_for(asyncio.sleep(seconds))
        else:
            time.sleep(seconds)

    def is_pooled(self, wire: ClosableWire) -> bool:
        """Tell whether a pooler stands in between: by what the caller says, or by what the server says."""
        if self._pooler is None:
            self._pooler = wire.run(f"SELECT WHERE pg_backend_pid() = {wire.server_pid}") == 0
        return self._pooler

    @contextmanager
    def wire(self, *, connect_retry: float = 0.0) -> Iterator[ClosableWire]:
        """Open one bare connection, and explain what goes wrong on it.

        Args:
            connect_retry: For how many seconds to try again where the server cannot be reached.

        Raises:
            InvalidUrlError: The URL cannot be used.
            InvalidNameError: PostgreSQL cannot have a schema of that name.
            DatabaseUnreachableError: Nobody answered in time.
            DatabaseRefusedError: The server refused the credentials, the database or TLS.
            InsufficientPrivilegeError: The role may not read our bookkeeping tables.

        """
        if self.schema is not None:
            identifier(self.schema)
        wire = self._open(connect_retry)
        try:
            yield wire
        except TodoSchemaError:
            raise
        except Exception as error:
            if sqlstate(error) == INSUFFICIENT_PRIVILEGE:
                raise missing_read_right(error, self.schema, self.address) from error
            if sqlstate(error) == LOCK_NOT_AVAILABLE:
                from todo_schema import locks  # noqa: PLC0415  # an up-to-date boot needs none of this

                holders = locks.table_holders(wire, self.schema, BOOKKEEPING_TABLES, even_from_readers=True)
                raise locked_for_reading(self.address, locks.named(holders), locks.ended(holders)) from error
            if wire.closed or is_connection_lost(error):
                raise connection_error(error, self.address) from error
            raise
        finally:
            with suppress(Exception):
                wire.close()

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Open a connection for one piece of work; READ COMMITTED, whatever the role's default is."""
        engine = self._new_engine() if self._engine is None else sibling(self._engine)
        problem: TodoSchemaError | None = None
        try:
            with _without_lease():
                connection = engine.connect().execution_options(isolation_level="READ COMMITTED")
        except Exception as error:  # noqa: BLE001  # each driver has its own; all become one of ours
            problem = connection_error(error, self.address)
        if problem is not None:
            raise problem
        try:
            with connection:
                yield connection
        finally:
            engine.dispose()

    def _open(self, connect_retry: float) -> ClosableWire:
        if self._problem is not None:
            raise self._problem
        deadline = time.monotonic() + connect_retry
        pause = 0.1
        while True:
            # Raised outside of the `except`: the driver's frames, which hold the password, are not chained to it.
            problem: TodoSchemaError
            try:
                return self._connect()
            except TodoSchemaError as error:
                problem = error
            except Exception as error:  # noqa: BLE001  # each driver has its own; all become one of ours
                problem = connection_error(error, self.address)
            left = deadline - time.monotonic()
            if left <= 0 or not isinstance(problem, DatabaseUnreachableError):
                raise problem
            self.sleep(min(pause, left))
            pause = min(pause * 2, 2.0)

    def _connect(self) -> ClosableWire:
        if self._engine is not None:
            with _without_lease():
                return EngineWire(sibling(self._engine))
        assert self._url is not None  # noqa: S101  # a Database has a URL, an engine or a problem
        return connect_in_loop(self._url) if self.is_async else connect(self._url)

    def _new_engine(self) -> Engine:
        from sqlalchemy import NullPool, create_engine  # noqa: PLC0415  # not needed for an up-to-date boot

        assert self._url is not None  # noqa: S101  # the caller's engine was handled above
        if not self.is_async:
            return create_engine(
                self._url.sqlalchemy_url("psycopg"),
                poolclass=NullPool,
                **self._url.engine_arguments("psycopg", application_name=APPLICATION_NAME),
            )
        from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415  # ditto

        return create_async_engine(
            self._url.sqlalchemy_url("asyncpg"),
            poolclass=NullPool,
            **self._url.engine_arguments("asyncpg", application_name=APPLICATION_NAME),
        ).sync_engine


def blocking(address: Address, *, schema: str | None = None, pooler: bool | None = None) -> Database:
    """Take what a blocking function was given."""
    from sqlalchemy import URL, Connection, Engine  # noqa: PLC0415  # importing todo_schema costs nothing
    from sqlalchemy.util.concurrency import in_greenlet as is_in_loop  # noqa: PLC0415  # ditto

    if isinstance(address, (str, URL)):
        return _from_url(address, schema, is_async=False, pooler=pooler)
    engine = address.engine if isinstance(address, Connection) else address
    # Inside AsyncConnection.run_sync a Connection stands for an asynchronous one: what waits must await.
    if not isinstance(engine, Engine) or (engine.dialect.is_async and not is_in_loop()):
        needed = "a URL, an Engine or a Connection, or the function of the same name that ends in _async"
        return _unusable(address, schema, needed)
    return _from_engine(engine, address, schema, pooler)


def in_loop(address: AsyncAddress, *, schema: str | None = None, pooler: bool | None = None) -> Database:
    """Take what an asynchronous function was given."""
    from sqlalchemy import URL  # noqa: PLC0415  # importing todo_schema costs nothing
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine  # noqa: PLC0415  # ditto

    if isinstance(address, (str, URL)):
        return _from_url(address, schema, is_async=True, pooler=pooler)
    engine = address.engine if isinstance(address, AsyncConnection) else address
    if not isinstance(engine, AsyncEngine):
        # Types say that this cannot be; callers without a type checker do it.
        needed = "a URL, an AsyncEngine or an AsyncConnection, or the function without _async"  # type: ignore[unreachable]
        return _unusable(address, schema, needed)
    # One that was not started yet has none of its own.
    begun = address.sync_connection if isinstance(address, AsyncConnection) else None
    return _from_engine(engine.sync_engine, begun or engine.sync_engine, schema, pooler)


async def in_greenlet(work: Callable[[], T]) -> T:
    """Run synchronous code in which `Database` may wait for the running event loop."""
    from sqlalchemy.util import greenlet_spawn  # noqa: PLC0415  # importing todo_schema costs nothing

    return await greenlet_spawn(work)


def sibling(engine: Engine) -> Engine:
    """Make an engine that connects as this one does, with a pool and execution options of its own.

    The caller's pool may be full, or share one connection with everybody; its schema_translate_map would send
    our statements elsewhere.
    """
    from sqlalchemy import Engine  # noqa: PLC0415  # importing todo_schema costs nothing

    return Engine(engine.pool.recreate(), engine.dialect, engine.url)


def _unusable(address: object, schema: str | None, needed: str) -> Database:
    kind = "None (is DATABASE_URL set?)" if address is None else f"of type {type(address).__name__}"
    return Database(schema, is_async=False, problem=TypeError(f"found: a url {kind}\nneeded: {needed}"))


@contextmanager
def _without_lease() -> Iterator[None]:
    """Open connections of our own, also with the pool of a session factory, which would lease them."""
    token = EXEMPT.set(True)
    try:
        yield
    finally:
        EXEMPT.reset(token)


def _from_engine(
    engine: Engine, address: Engine | Connection, schema: str | None, pooler: bool | None
) -> Database:
    if schema is None:
        schema = schema_in(address.get_execution_options())
    problem = None
    if not is_known(engine):
        problem = InvalidUrlError(
            f"an engine for {engine.dialect.name} with the driver {engine.dialect.driver}",
            "an engine for postgresql with psycopg or asyncpg",
            "create_engine('postgresql+psycopg://...') or create_async_engine('postgresql+asyncpg://...')",
        )
    return Database(schema, is_async=engine.dialect.is_async, engine=engine, problem=problem, pooler=pooler)


def _from_url(url: str | URL, schema: str | None, *, is_async: bool, pooler: bool | None) -> Database:
    from todo_schema.urls import DatabaseUrl  # noqa: PLC0415  # imports SQLAlchemy

    try:
        parsed = DatabaseUrl.parse(url, pooler=pooler)
        return Database(schema, is_async=is_async, url=parsed, pooler=parsed.pooler or pooler)
    except InvalidUrlError as error:
        return Database(schema, is_async=is_async, problem=error.with_traceback(None))
