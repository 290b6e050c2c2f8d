"""One transaction on the version table: tried again where it cannot have its locks, and explained where it fails.

A transaction that cannot get its locks lets go of everything and tries again, so that no reader or writer queues
behind it for longer than the lock timeout, which begins short and grows.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import Connection

from todo_schema import bookkeeping, locks, watching
from todo_schema.backoff import pauses
from todo_schema.compatibility import BOOKKEEPING_TABLES, ENTITY_TABLES
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
from todo_schema.errors import MigrationFailedError, MigrationLockedError, TodoSchemaError
from todo_schema.inspection import Found
from todo_schema.reports import Progress
from todo_schema.work import Work

_BOOTSTRAP_TRIES = 5
_TRIES_EACH = 8
_FIRST_PAUSE = 0.1  # seconds
_LONGEST_PAUSE = 2.0


class VersionMovedError(Exception):
    """The version table no longer says what this step starts from: another process was faster."""


def in_transaction(
    work: Work, connection: Connection, found: Found, revision: str, do: Callable[[TransactionWire], None]
) -> None:
    """Do one piece of work in one transaction with the version table locked.

    Args:
        work: The run that it is part of; its deadline bounds the wait for locks.
        connection: A connection in no transaction.
        found: What the database held as the step was decided on.
        revision: The revision, for messages.
        do: The work; done anew with every try.

    Raises:
        VersionMovedError: From `do`.
        MigrationLockedError: Other sessions held a lock on our tables until the deadline.
        InsufficientPrivilegeError: The role lacks a right.
        ReadOnlyDatabaseError: Nothing can be written.
        MigrationFailedError: The work itself failed, or the connection was lost.

    """
    refused = _try(connection, found, revision, do, lock_timeout(0))
    if refused is None:
        return
    # Who is in the way is known only while we wait behind them: from now on somebody looks on.
    waits, tries = pauses(_FIRST_PAUSE, _LONGEST_PAUSE), 1
    pid, deadlock_timeout = _session(connection)
    with watching.blockers(work, pid) as seen:
        while refused is not None:
            # One try at least is looked at, however short the time is: it is for the names of those in the way.
            if tries > 1 and time.monotonic() >= work.deadline:
                raise _blocked(found, revision, _blockers(connection, found, seen)) from refused
            names = locks.named(list(seen.values())) if seen else "a lock"
            work.tell(Progress("retrying", revision, f"{revision} waits for {names}"))
            work.database.sleep(next(waits))
            # Whoever waits for that long looks for a deadlock, and in one with us the service would be the victim.
            limit = min(
                lock_timeout(tries), max(deadlock_timeout * 9 // 10, bookkeeping.FIRST_LOCK_TIMEOUT_MS)
            )
            if seen and all(session.is_autovacuum for session in seen.values()):
                limit = max(limit, deadlock_timeout + bookkeeping.FIRST_LOCK_TIMEOUT_MS)
            seen.clear()
            refused = _try(connection, found, revision, do, limit)
            tries += 1


def lock_timeout(tries: int) -> int:
    """Return for how many milliseconds a try queues for a lock, and everybody behind it, after so many in vain.

    It stays short for as long as one long transaction may be all that is in the way; where short ones follow each
    other without a gap, only a longer one comes through.
    """
    return int(
        min(bookkeeping.FIRST_LOCK_TIMEOUT_MS * 2 ** (tries // _TRIES_EACH), bookkeeping.LOCK_TIMEOUT_MS)
    )


def _try(
    connection: Connection, found: Found, revision: str, do: Callable[[TransactionWire], None], limit: int
) -> Exception | None:
    """Try once. Returns the error where a lock was not to be had, None where it is done."""
    wire = TransactionWire(connection)
    try:
        with connection.begin():
            wire.run(bookkeeping.settings_statement(found.schema, limit))
            _bootstrap(connection, wire, found)
            wire.run(bookkeeping.lock_statement(found.schema))
            do(wire)
    except (VersionMovedError, TodoSchemaError):
        raise
    except Exception as error:
        if sqlstate(error) not in {LOCK_NOT_AVAILABLE, DEADLOCK_DETECTED}:
            raise explained(error, found, revision) from error
        return error
    return None


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


@contextmanager
def explaining(found: Found, revision: str, part: str = "") -> Iterator[None]:
    """Explain what goes wrong in a block that is no transaction.

    Args:
        found: What the database held.
        revision: The revision.
        part: What it was about to do, where parts of it may be done already.

    """
    try:
        yield
    except (VersionMovedError, TodoSchemaError):
        raise
    except Exception as error:
        raise explained(error, found, revision, part) from error


def explained(error: Exception, found: Found, revision: str, part: str = "") -> TodoSchemaError:
    """Return an error of a revision as one of ours; for the parameters see `explaining`."""
    known = statement_error(error, found)
    if known is not None:
        return known
    if is_connection_lost(error):
        return MigrationFailedError(
            f"the connection to database {found.database} was lost while revision {revision} was applied: "
            f"{reason(error)}",
            "a connection that lasts until the revision is committed",
            "call again: each part of a revision is applied whole or not at all, and what is applied is not repeated",
            revision,
        )
    failed = f"failed at: {part}; what it did before stays" if part else "failed and was rolled back"
    return MigrationFailedError(
        f"revision {revision} {failed}: {reason(error)}",
        f"a database in which revision {revision} can be applied",
        "remove the reason and call again: it goes on from where it stopped",
        revision,
    )


def _session(connection: Connection) -> tuple[int, int]:
    """Return the process id of our session, and after how many milliseconds autovacuum gives way to those who wait."""
    query = """SELECT pg_backend_pid(),
        (extract(epoch FROM current_setting('deadlock_timeout')::interval) * 1000)::int"""
    with connection.begin():
        ((pid, patience),) = TransactionWire(connection).fetch(query)
    return int(str(pid)), int(str(patience))


def _blockers(connection: Connection, found: Found, seen: dict[str, locks.Session]) -> list[locks.Session]:
    """Return who was in the way; where nobody was seen, whoever holds a lock on our tables now."""
    if seen:
        return list(seen.values())
    with connection.begin():
        tables = ENTITY_TABLES | BOOKKEEPING_TABLES
        return locks.table_holders(TransactionWire(connection), found.schema, tables)


def _blocked(found: Found, revision: str, blockers: list[locks.Session]) -> MigrationLockedError:
    return MigrationLockedError(
        f"revision {revision} could not lock the tables of schema {found.schema}, which were held by "
        f"{locks.named(blockers)}",
        f"a lock on them for at most {bookkeeping.LOCK_TIMEOUT_MS / 1000:g} s at a time",
        f"let that session finish and call again, give a longer timeout, or: {locks.ended(blockers)}",
    )
