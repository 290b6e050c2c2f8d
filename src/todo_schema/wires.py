"""The connections that statements go over: a bare driver's, or one of a SQLAlchemy engine."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from todo_schema.compatibility import PACKAGE_VERSION
from todo_schema.inspection import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine

    from todo_schema.urls import DatabaseUrl

APPLICATION_NAME = f"todo-schema {PACKAGE_VERSION}"


class ClosableWire(Wire, Protocol):
    """A connection that its user closes."""

    def close(self) -> None:
        """Close the connection."""


class PsycopgWire:
    """A psycopg connection in autocommit."""

    def __init__(self, url: DatabaseUrl) -> None:
        import psycopg  # noqa: PLC0415  # a driver is imported when it is used

        self._connection = psycopg.connect(
            autocommit=True, **url.connect_arguments("psycopg", application_name=APPLICATION_NAME)
        )

    def run(self, sql: str) -> int:
        # Never prepared: psycopg would do so at the sixth time, and a pooler or a guard must not see that.
        return self._connection.execute(sql.encode(), prepare=False).rowcount

    def fetch(self, sql: str) -> list[tuple[object, ...]]:
        return self._connection.execute(sql.encode(), prepare=False).fetchall()

    def close(self) -> None:
        self._connection.close()


class AsyncpgWire:
    """An asyncpg connection, driven from a greenlet of the event loop."""

    def __init__(self, url: DatabaseUrl) -> None:
        import asyncpg  # noqa: PLC0415  # a driver is imported when it is used

        self._connection: Any = wait_for(
            asyncpg.connect(**url.connect_arguments("asyncpg", application_name=APPLICATION_NAME))
        )

    def run(self, sql: str) -> int:
        return _rows_of_tag(wait_for(self._connection.execute(sql)))

    def fetch(self, sql: str) -> list[tuple[object, ...]]:
        return [tuple(record) for record in wait_for(self._connection.fetch(sql))]

    def close(self) -> None:
        try:
            wait_for(self._connection.close(timeout=2))
        except BaseException:
            self._connection.terminate()
            raise


class TransactionWire:
    """A SQLAlchemy connection, in whatever transaction it is; the first statement begins one."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def run(self, sql: str) -> int:
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


class EngineWire(TransactionWire):
    """A connection of the caller's engine, taken out of its pool for good, in autocommit."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine.connect().execution_options(isolation_level="AUTOCOMMIT"))
        self._connection.detach()

    def run(self, sql: str) -> int:
        if self._connection.dialect.driver != "asyncpg":
            return super().run(sql)
        # SQLAlchemy's cursor prepares what it sends; the migration lock needs the simple protocol.
        adapter: Any = self._connection.connection.dbapi_connection
        return _rows_of_tag(wait_for(adapter.driver_connection.execute(sql)))

    def close(self) -> None:
        self._connection.close()


def _rows_of_tag(tag: str) -> int:
    count = tag.rsplit(" ", 1)[-1]
    return int(count) if count.isdigit() else -1


def wait_for(awaitable: Any) -> Any:
    """Let the running event loop finish an awaitable, from the greenlet that `in_greenlet` started."""
    from sqlalchemy.util import await_only  # noqa: PLC0415  # importing todo_schema costs nothing

    return await_only(awaitable)
