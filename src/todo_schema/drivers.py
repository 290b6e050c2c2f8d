"""The connections that statements go over: a bare driver's, or one of a SQLAlchemy engine."""

from __future__ import annotations

import os
import socket
from contextlib import contextmanager, suppress
from threading import Event, Timer
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from todo_schema.compatibility import PACKAGE_VERSION
from todo_schema.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    import psycopg
    from sqlalchemy import Connection, Dialect, Engine

    from todo_schema.urls import DatabaseUrl

T = TypeVar("T")

APPLICATION_NAME = f"todo-schema {PACKAGE_VERSION}"

_HEARD_WITHIN = 2.0  # seconds


class ClosableWire(Wire, Protocol):
    """A connection that its user closes."""

    @property
    def closed(self) -> bool:
        """Whether the connection is closed, or was lost."""

    @property
    def server_pid(self) -> int:
        """The process id that the server announced; a pooler announces another one than its server has."""

    def close(self) -> None:
        """Close the connection."""


class PsycopgWire:
    """A psycopg connection in autocommit."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def run(self, sql: str, *, limit: float | None = None) -> int:
        # Never prepared: psycopg would do so at the sixth time, and a pooler or a guard must not see that.
        with _cancelled_after(limit, self._connection):
            return _last_count(self._connection.execute(sql.encode(), prepare=False))

    def fetch(self, sql: str) -> list[tuple[object, ...]]:
        return self._connection.execute(sql.encode(), prepare=False).fetchall()

    @property
    def closed(self) -> bool:
        return self._connection.closed

    @property
    def server_pid(self) -> int:
        return self._connection.info.backend_pid

    def close(self) -> None:
        self._connection.close()


class AsyncPsycopgWire:
    """An asynchronous psycopg connection in autocommit, driven from a greenlet of the event loop."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection = connection

    def run(self, sql: str, *, limit: float | None = None) -> int:
        return _last_count(wait_for(_within(limit, self._connection.execute(sql.encode(), prepare=False))))

    def fetch(self, sql: str) -> list[tuple[object, ...]]:
        cursor = wait_for(self._connection.execute(sql.encode(), prepare=False))
        return list(wait_for(cursor.fetchall()))

    @property
    def closed(self) -> bool:
        return self._connection.closed

    @property
    def server_pid(self) -> int:
        return self._connection.info.backend_pid

    def close(self) -> None:
        wait_for(self._connection.close())


class AsyncpgWire:
    """An asyncpg connection, driven from a greenlet of the event loop."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._late = False

    def run(self, sql: str, *, limit: float | None = None) -> int:
        # Not asyncpg's own timeout: it bounds neither the cancelling of a statement nor the one after it.
        try:
            return _rows_of_tag(wait_for(_within(limit, self._connection.execute(sql))))
        except TimeoutError:
            self._late = True
            raise

    def fetch(self, sql: str) -> list[tuple[object, ...]]:
        return [tuple(record) for record in wait_for(self._connection.fetch(sql))]

    @property
    def closed(self) -> bool:
        return bool(self._connection.is_closed())

    @property
    def server_pid(self) -> int:
        return int(self._connection.get_server_pid())

    def close(self) -> None:
        if self._late:
            # A polite goodbye would wait for the answer that was not waited for.
            self._connection.terminate()
            return
        try:
            wait_for(self._connection.close(timeout=2))
        except BaseException:
            self._connection.terminate()
            raise


class TransactionWire:
    """A SQLAlchemy connection, in whatever transaction it is; the first statement begins one."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def run(self, sql: str, *, limit: float | None = None) -> int:  # noqa: ARG002  # its transaction has limits
        with self._cursor(sql) as cursor:
            return int(cursor.rowcount)

    def fetch(self, sql: str) -> list[tuple[object, ...]]:
        with self._cursor(sql) as cursor:
            return [tuple(row) for row in cursor.fetchall()]

    @contextmanager
    def _cursor(self, sql: str) -> Iterator[Any]:
        # The driver's own cursor: without parameters it takes a per cent sign for what it is.
        cursor = self._connection.connection.cursor()
        try:
            cursor.execute(sql)
            yield cursor
        finally:
            cursor.close()


class EngineWire:
    """A connection of an engine that is ours alone, in autocommit.

    Statements go to the driver itself: SQLAlchemy's cursors prepare them, and the migration lock needs the
    simple protocol.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        self._wire = wire_of(engine.dialect, self._connection.connection.dbapi_connection)

    def run(self, sql: str, *, limit: float | None = None) -> int:
        return self._wire.run(sql, limit=limit)

    def fetch(self, sql: str) -> list[tuple[object, ...]]:
        return self._wire.fetch(sql)

    @property
    def closed(self) -> bool:
        return self._wire.closed

    @property
    def server_pid(self) -> int:
        return self._wire.server_pid

    def close(self) -> None:
        with suppress(Exception):
            self._connection.close()
        self._engine.dispose()


@contextmanager
def autocommit(connection: Connection) -> Iterator[ClosableWire]:
    """Give a connection that is in no transaction as its driver sees it, for what cannot run in a transaction."""
    connection.execution_options(isolation_level="AUTOCOMMIT")
    try:
        yield wire_of(connection.dialect, connection.connection.dbapi_connection)
    finally:
        if not connection.invalidated:
            with suppress(Exception):  # one that is lost is found out by the next statement
                connection.execution_options(isolation_level="READ COMMITTED")


_WIRES: dict[tuple[str, bool], Callable[[Any], ClosableWire]] = {
    ("psycopg", False): PsycopgWire,
    ("psycopg", True): AsyncPsycopgWire,
    ("asyncpg", True): AsyncpgWire,
}


def wire_of(dialect: Dialect, connection: Any) -> ClosableWire:
    """Return a connection of a SQLAlchemy pool as its driver sees it; it has to be in autocommit."""
    return _WIRES[dialect.driver, dialect.is_async](
        connection.driver_connection if dialect.is_async else connection
    )


def is_known(engine: Engine) -> bool:
    """Tell whether an engine has a driver that this package can use."""
    return engine.dialect.name == "postgresql" and (engine.dialect.driver, engine.dialect.is_async) in _WIRES


def connect(url: DatabaseUrl) -> PsycopgWire:
    """Open a connection by psycopg."""
    import psycopg  # noqa: PLC0415  # a driver is imported when it is used

    return PsycopgWire(
        psycopg.connect(
            autocommit=True, **url.connect_arguments("psycopg", application_name=APPLICATION_NAME)
        )
    )


def connect_in_loop(url: DatabaseUrl) -> AsyncpgWire:
    """Open a connection by asyncpg."""
    import asyncpg  # noqa: PLC0415  # a driver is imported when it is used

    return AsyncpgWire(
        wait_for(asyncpg.connect(**url.connect_arguments("asyncpg", application_name=APPLICATION_NAME)))
    )


@contextmanager
def _cancelled_after(seconds: float | None, connection: Any) -> Iterator[None]:
    """Cancel what a blocking psycopg connection is executing after so many seconds."""
    if seconds is None:
        yield
        return
    timer = Timer(seconds, _end, [connection, finished := Event()])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        finished.set()
        timer.cancel()
        timer.join()


def _end(connection: psycopg.Connection[Any], finished: Event) -> None:
    """Cancel what the connection executes, and break the connection where the server does not even hear that."""
    with suppress(Exception):
        connection.cancel_safe(timeout=_HEARD_WITHIN)
    if not finished.wait(_HEARD_WITHIN):
        with suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as lost:
            lost.shutdown(socket.SHUT_RDWR)


async def _within(seconds: float | None, answer: Awaitable[T]) -> T:
    """Wait for an answer for so many seconds at most."""
    import asyncio  # noqa: PLC0415  # importing todo_schema costs nothing

    # Not asyncio.wait_for: before Python 3.12 a cancellation that comes together with the answer is lost in it.
    async with asyncio.timeout(seconds):
        return await answer


def _last_count(cursor: Any) -> int:
    # Of several statements in one message psycopg shows the first one's answer first.
    while cursor.nextset():
        pass
    return int(cursor.rowcount)


def _rows_of_tag(tag: str) -> int:
    count = tag.rsplit(" ", 1)[-1]
    return int(count) if count.isdigit() else -1


def wait_for(awaitable: Any) -> Any:
    """Let the running event loop finish an awaitable, from the greenlet that `in_greenlet` started."""
    from sqlalchemy.util import await_only  # noqa: PLC0415  # importing todo_schema costs nothing

    return await_only(awaitable)
