"""What a connection of a session factory does as it opens: it takes its lease and reads the floor."""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from sqlalchemy import Engine, event

from todo_schema import inspection, leases, locks, verdict
from todo_schema.backoff import pauses
from todo_schema.compatibility import BOOKKEEPING_TABLES, SCHEMA_VERSION, State
from todo_schema.diagnosis import connection_error, locked_for_reading, missing_read_right
from todo_schema.driver_errors import (
    INSUFFICIENT_PRIVILEGE,
    INVALID_SCHEMA_NAME,
    LOCK_NOT_AVAILABLE,
    UNDEFINED_COLUMN,
    UNDEFINED_FUNCTION,
    UNDEFINED_TABLE,
    WRONG_OBJECT_TYPE,
    is_connection_lost,
    sqlstate,
)
from todo_schema.drivers import is_known, wait_for, wire_of
from todo_schema.errors import MigrationLockedError, SchemaNotFoundError
from todo_schema.urls import masked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.pool import ConnectionPoolEntry

    from todo_schema.drivers import ClosableWire

# A contract step holds the lock for one transaction, which lets go of everything where a lock keeps it waiting.
_PATIENCE = 30.0  # seconds
_FIRST_PAUSE = 0.025
_LONGEST_PAUSE = 1.0

_TAKEN = "todo_schema_lease"
_ATTACHED: WeakKeyDictionary[Engine, set[object]] = WeakKeyDictionary()

# Our tables are missing, all or one, or somebody else's have their names.
_NOT_THERE = {INVALID_SCHEMA_NAME, UNDEFINED_COLUMN, UNDEFINED_FUNCTION, UNDEFINED_TABLE, WRONG_OBJECT_TYPE}


class Admission:
    """Lets an engine's connections in, each as it is opened.

    Attributes:
        schema: The PostgreSQL schema of the installation; None leaves it to the connection's search_path.
        check: Whether a connection reads the floor, and is closed where it is above this package.
        pooler: Whether a transaction pooler stands in between; None finds out.

    """

    def __init__(self, schema: str | None, *, check: bool, pooler: bool | None) -> None:
        self.schema = schema
        self.check = check
        self.pooler = pooler

    def attach(self, engine: Engine) -> None:
        """Take a lease on every connection that the engine opens from now on, once for each kind of admission.

        A caller's engine may have opened some already: those are leased as they are used for the next time. So are
        those that were opened before there were tables of ours, and may belong to another schema than it seemed.
        """
        key = self._key
        attached = _ATTACHED.setdefault(engine, set())
        if not is_known(engine) or key in attached:
            return
        attached.add(key)

        # What this raises closes the connection: SQLAlchemy sees to that, also where the task is being cancelled.
        def admit(connection: DBAPIConnection, entry: ConnectionPoolEntry, *_user: object) -> None:
            if (
                key not in entry.info
                and not leases.EXEMPT.get()
                and self._admit(engine, connection, entry.info)
            ):
                entry.info[key] = True

        event.listen(engine, "connect", admit)
        event.listen(engine, "checkout", admit)

    def attach_to_uses(self, engine: Engine) -> None:
        """Take a lease on a connection as this engine comes to use it, of a pool that it shares with others.

        Of the factories of many tenants on one engine, each is then a client of its own tenant alone, and keeps none
        from theirs where it is refused.
        """
        if not is_known(engine):
            return
        key = self._key

        def admit(connection: Connection, *_xid: object) -> None:
            if key in connection.info or leases.EXEMPT.get():
                return
            try:
                if self._admit(engine, connection.connection.dbapi_connection, connection.info):
                    connection.info[key] = True
            except BaseException:
                # It may hold the lease, and SQLAlchemy has not got it yet.
                connection.invalidate()
                connection.close()
                raise

        event.listen(engine, "engine_connect", admit)
        # SQLAlchemy's Connection that has lost the server's takes another one, which it tells nobody.
        event.listen(engine, "begin", admit)
        event.listen(engine, "begin_twophase", admit)

    @property
    def _key(self) -> tuple[str, str | None, bool, bool | None]:
        return (_TAKEN, self.schema, self.check, self.pooler)

    def _admit(self, engine: Engine, connection: Any, info: dict[Any, Any]) -> bool:
        """Let a connection in, or raise. Tells whether that is settled for as long as it is open."""
        wire = wire_of(engine.dialect, connection)
        address = masked(engine.url)
        others = {key[1] for key in info if isinstance(key, tuple) and key[0] == _TAKEN} - {self.schema}
        with _in_autocommit(engine, connection):
            answer = self._take(wire, address, shared=bool(others))
            return not answer.doubtful or self._decide(wire)

    def _decide(self, wire: ClosableWire) -> bool:
        try:
            found = inspection.read_alone(wire, self.schema)
        except SchemaNotFoundError:
            return False
        # Where nothing of ours is recorded there is nothing to be wrong about, yet.
        if found.state in (State.EMPTY, State.UNVERSIONED):
            return False
        verdict.require_usable(found)
        return True

    def _take(self, wire: ClosableWire, address: str, *, shared: bool) -> leases.Answer:
        """Take the lease, waiting for a step that is being applied; `shared` is with another installation."""
        pid = {True: 0, False: None, None: wire.server_pid}[self.pooler]
        with_check = self.check
        deadline = time.monotonic() + _PATIENCE
        waits = pauses(_FIRST_PAUSE, _LONGEST_PAUSE)
        while True:
            try:
                rows = wire.run(
                    leases.take_message(self.schema, pid=pid, with_check=with_check, shared=shared)
                )
            except Exception as error:
                if sqlstate(error) == INSUFFICIENT_PRIVILEGE:
                    inspection.read_alone(wire, self.schema)  # names the role, and each right that it lacks
                    raise missing_read_right(error, self.schema, address) from error
                if sqlstate(error) == LOCK_NOT_AVAILABLE:
                    held = locks.table_holders(wire, self.schema, BOOKKEEPING_TABLES, even_from_readers=True)
                    raise locked_for_reading(address, locks.named(held), locks.ended(held)) from error
                if is_connection_lost(error):
                    # SQLAlchemy makes one of its own of what asyncpg raises, but not here.
                    raise connection_error(error, address) from error
                if sqlstate(error) not in _NOT_THERE or not with_check:
                    raise
                with_check = False  # the lease first; then somebody looks what there is instead
                continue
            answer = leases.answer_of(rows)
            if not answer.busy:
                return answer._replace(doubtful=answer.doubtful or with_check is not self.check)
            left = deadline - time.monotonic()
            if left <= 0:
                raise _still_locked(address)
            wait_for(asyncio.sleep(min(left, next(waits))))


@contextmanager
def _in_autocommit(engine: Engine, connection: Any) -> Iterator[None]:
    """Keep psycopg from opening a transaction; asyncpg opens none by itself."""
    if engine.dialect.driver != "psycopg":
        yield
        return
    before, connection.autocommit = connection.autocommit, True
    yield
    connection.autocommit = before


def _still_locked(address: str) -> MigrationLockedError:
    return MigrationLockedError(
        f"schema {SCHEMA_VERSION} at {address} has been locked for {_PATIENCE:g} s by a contract step or a downgrade "
        "that this package would not survive",
        "that step to end",
        "connect again later; if the step hangs, end its connection: "
        "SELECT pid, application_name FROM pg_stat_activity",
    )
