"""Applies one revision in one transaction, on a connection, without Alembic's globals.

`alembic.op` and `alembic.context` are proxies of the module: two threads, or two coroutines, that migrate at
once send their DDL to each other's database. So no Config, no env.py and no proxy is used here: a
MigrationContext and an Operations object belong to one connection, and revision files take `op` as an argument.
"""

import random
import time
from collections.abc import Callable

from sqlalchemy import Connection

from todo_schema import bookkeeping, catalog, leaseholders, locks, revisions
from todo_schema.bookkeeping import Step
from todo_schema.compatibility import (
    BOOKKEEPING_TABLES,
    ENTITY_TABLES,
    Line,
    number_of,
)
from todo_schema.diagnosis import statement_error
from todo_schema.driver_errors import (
    DEADLOCK_DETECTED,
    DUPLICATE_SCHEMA,
    DUPLICATE_TABLE,
    LOCK_NOT_AVAILABLE,
    UNIQUE_VIOLATION,
    is_connection_lost,
    reason,
    sqlstate,
)
from todo_schema.drivers import TransactionWire
from todo_schema.errors import (
    MigrationFailedError,
    MigrationLockedError,
    TodoSchemaError,
)
from todo_schema.inspection import Found
from todo_schema.reports import AppliedStep, Revision

_BOOTSTRAP_TRIES = 5


class VersionMovedError(Exception):
    """The version table no longer says what this step starts from: another process was faster."""


def apply(
    connection: Connection,
    found: Found,
    revision: Revision,
    *,
    downward: bool = False,
    deadline: float,
    sleep: Callable[[float], None],
) -> AppliedStep:
    """Apply or undo one revision, with its bookkeeping, in one transaction.

    A step that cannot get its locks lets go of everything and tries again, so that no reader or writer
    queues behind it for longer than the lock timeout.

    Args:
        connection: A connection in no transaction.
        found: What the database held as the step was decided on; its version is compared again under lock.
        revision: What to apply.
        downward: Undo it instead.
        deadline: When to give up for want of a lock, on `time.monotonic`'s clock.
        sleep: Pauses for so many seconds.

    Raises:
        VersionMovedError: Another process applied it meanwhile.
        ContractBlockedError: A service is connected that a contract revision would break.
        ClientsConnectedError: A service is connected that needs what would be undone.
        MigrationLockedError: Another session held a lock on our tables until the deadline.
        InsufficientPrivilegeError: The role lacks a right.
        ReadOnlyDatabaseError: Nothing can be written.
        MigrationFailedError: The revision itself failed, or the connection was lost.

    """

    def work(wire: TransactionWire) -> None:
        expect_recorded(wire, found)
        step = step_of(revision, found.floor, downward=downward)
        # The floor first, then those who are connected, then the change: who comes from now on reads the new floor.
        wire.run(bookkeeping.record_statement(found.schema, step, bookkeeping.this_host()))
        if concerned := versions_concerned(revision, downward=downward):
            leaseholders.claim(wire, found, revision.revision, revision.line, *concerned)
        revisions.run(connection, revision.revision, downward=downward)
        for statement in bookkeeping.finish_statements(found.schema, step):
            wire.run(statement)

    started = time.perf_counter()
    in_transaction(connection, found, revision.revision, work, deadline=deadline, sleep=sleep)
    return AppliedStep(revision.revision, revision.summary, time.perf_counter() - started)


def step_of(revision: Revision, floor: int | None, *, downward: bool) -> Step:
    """Return what the bookkeeping says once a revision is applied, or undone; an expand step leaves the floor."""
    after = revisions.below(revision.revision) if downward else revision.revision
    number = number_of(after)
    return Step(
        line=revision.line,
        number=number,
        action="downgrade" if downward else "upgrade",
        checksum=revisions.checksum(after) if number else None,
        floor=catalog.floor_after(number) if revision.line is Line.CONTRACT else floor,
    )


def versions_concerned(revision: Revision, *, downward: bool) -> tuple[int, int] | None:
    """Return the oldest and the newest schema version that a step would break, None where it breaks none."""
    if revision.line is Line.EXPAND:
        return (number_of(revision.revision), leaseholders.NEWEST) if downward else None
    if downward or revision.floor is None or revision.floor <= 1:
        return None
    return 1, revision.floor - 1


def in_transaction(
    connection: Connection,
    found: Found,
    revision: str,
    work: Callable[[TransactionWire], None],
    *,
    deadline: float,
    sleep: Callable[[float], None],
) -> None:
    """Do one piece of work in one transaction with the version table locked; the parameters are `apply`'s."""
    wire = TransactionWire(connection)
    pause = 0.1
    while True:
        try:
            with connection.begin():
                wire.run(bookkeeping.settings_statement(found.schema))
                _bootstrap(connection, wire, found)
                wire.run(bookkeeping.lock_statement(found.schema))
                work(wire)
        except (VersionMovedError, TodoSchemaError):
            raise
        except Exception as error:
            if sqlstate(error) not in {LOCK_NOT_AVAILABLE, DEADLOCK_DETECTED}:
                raise _explain(error, found, revision) from error
            tables = ENTITY_TABLES | BOOKKEEPING_TABLES
            with connection.begin():
                blockers = locks.table_holders(wire, found.schema, tables)
            if time.monotonic() >= deadline:
                raise _blocked(found, revision, blockers) from error
        else:
            return
        sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311  # not a secret
        pause = min(pause * 2, 2.0)


def expect_recorded(wire: TransactionWire, found: Found) -> None:
    """Compare the locked version table with what a step was decided on. Raises VersionMovedError."""
    if {str(row[0]) for row in wire.fetch(bookkeeping.versions_query(found.schema))} != found.recorded:
        raise VersionMovedError(found.schema)


def _bootstrap(connection: Connection, wire: TransactionWire, found: Found) -> None:
    """Make what is missing of the schema and of our bookkeeping tables.

    Safe without the migration lock: where another process commits the same table first, PostgreSQL ends our
    CREATE with an error, and the next look finds the table.
    """
    for attempt in range(_BOOTSTRAP_TRIES):
        try:
            with connection.begin_nested():
                wire.run(bookkeeping.create_missing_statement(found.schema))
        except Exception as error:
            last = attempt == _BOOTSTRAP_TRIES - 1
            if last or sqlstate(error) not in {DUPLICATE_TABLE, DUPLICATE_SCHEMA, UNIQUE_VIOLATION}:
                raise
        else:
            return


def _explain(error: Exception, found: Found, revision: str) -> TodoSchemaError:
    known = statement_error(error, found)
    if known is not None:
        return known
    if is_connection_lost(error):
        return MigrationFailedError(
            f"the connection to database {found.database} was lost while revision {revision} was applied: "
            f"{reason(error)}",
            "a connection that lasts until the revision is committed",
            "call again: a revision is applied whole or not at all, and what is applied is not repeated",
            revision,
        )
    return MigrationFailedError(
        f"revision {revision} failed and was rolled back: {reason(error)}",
        f"a database in which revision {revision} can be applied",
        "remove the reason and call again: it goes on from the revision before",
        revision,
    )


def _blocked(found: Found, revision: str, blockers: list[locks.Session]) -> MigrationLockedError:
    return MigrationLockedError(
        f"revision {revision} could not lock the tables of schema {found.schema}, which were held by "
        f"{locks.named(blockers)}",
        f"a lock on them for at most {bookkeeping.LOCK_TIMEOUT_MS / 1000:g} s at a time",
        f"let that session finish and call again, give a longer timeout, or: {locks.ended(blockers)}",
    )
