"""Deferred revisions: finished after a boot's own work, or before what builds on them, by one process at a time."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from sqlalchemy import Connection

from todo_schema import inspection, locks, preflights, revisions, runner
from todo_schema.compatibility import Line, number_of
from todo_schema.connections import Database
from todo_schema.driver_errors import QUERY_CANCELED, sqlstate
from todo_schema.drivers import APPLICATION_NAME, autocommit
from todo_schema.errors import MigrationLockedError, TodoSchemaError
from todo_schema.inspection import Found
from todo_schema.quoting import literal
from todo_schema.reports import AppliedStep, DeferredRevision, Listener, Progress, Revision
from todo_schema.transactions import VersionMovedError
from todo_schema.wire import Wire
from todo_schema.work import Work

_log = logging.getLogger("todo_schema")


def deferred(found: Found) -> tuple[Revision, ...]:
    """Return the revisions of this package that a database has put off, in order."""
    return revisions.at(Line.EXPAND, found.deferred)


def before(
    work: Work, connection: Connection, guard: Wire, found: Found, revision: Revision
) -> list[AppliedStep]:
    """Finish what a revision builds on, under the migration lock.

    Args:
        work: The run.
        connection: A connection in no transaction.
        guard: The connection that holds the migration lock; it takes the lock of deferred revisions too.
        found: What the database holds.
        revision: What is to be applied then.

    Raises:
        MigrationLockedError: Another process was at work on deferred revisions all the time.
        TodoSchemaError: What `runner.finish` raises.

    """
    due = [step for step in deferred(found) if step.revision in revision.builds_on]
    if not due:
        return []
    locks.take_too(
        guard, work.schema, lock_class=locks.DEFERRED_CLASS, deadline=work.deadline, sleep=work.database.sleep
    )
    # Whoever had that lock until now may have finished them.
    still = work.read(connection).deferred
    return [_finish(work, connection, found, step) for step in due if number_of(step.revision) in still]


def finish_all(
    wire: Wire, found: Found, database: Database, *, timeout: float, progress: Listener, patient: bool
) -> tuple[list[AppliedStep], Found]:
    """Finish what is deferred, unless another process is at it.

    Args:
        wire: A connection of our own in no transaction; it holds the lock of deferred revisions meanwhile.
        found: What the database holds.
        database: The database.
        timeout: How long to wait for locks, in seconds.
        progress: Told what happens.
        patient: Wait for another process that is at it, and raise what goes wrong. Otherwise what goes wrong is told
            in the log, and the revision left for later: the package does not need it.

    Returns:
        The steps, and what the database holds then.

    Raises:
        MigrationLockedError: Another process was at it all the time, and this one is patient.
        TodoSchemaError: What `runner.finish` raises, where this one is patient.

    """
    applied: list[AppliedStep] = []
    work = Work(database, found.schema, timeout, time.monotonic() + timeout, progress)
    with _claimed(work, wire, patient=patient) as claimed:
        if not claimed:
            return applied, inspection.read_alone(wire, found.schema)
        work.go_on()
        try:
            with work.connection() as connection:
                _call_deferred(work, connection)
                # Not by the connection that holds the lock: a query of asyncpg's keeps a snapshot as long as the
                # transaction. And an hour later that one may be lost.
                for step in deferred(work.read(connection)):
                    if not _attempt(work, connection, step, applied, patient=patient):
                        break
                return applied, work.read(connection)
        except Exception as error:
            if patient:
                raise
            _log.warning("deferred revisions are left for later: %s", error)
    done = {number_of(step.revision) for step in applied}
    return applied, replace(found, deferred=tuple(number for number in found.deferred if number not in done))


def _attempt(
    work: Work, connection: Connection, revision: Revision, applied: list[AppliedStep], *, patient: bool
) -> bool:
    """Finish one revision. Tells whether to go on with the next one."""
    try:
        applied.append(_finish(work, connection, work.read(connection), revision))
    except VersionMovedError:
        return True  # it has been undone meanwhile
    except TodoSchemaError as error:
        if patient:
            raise
        _log.warning("revision %s is left for later: %s", revision.revision, error)
        work.tell(Progress("left", revision.revision, f"{revision.revision} left for later: {error.found}"))
        # Somebody needs the locks, or does not want this now.
        return sqlstate(error.__cause__ or error) != QUERY_CANCELED
    return True


@contextmanager
def _claimed(work: Work, wire: Wire, *, patient: bool) -> Iterator[bool]:
    """Hold the lock of deferred revisions for the block, where it could be had. Only a patient one waits for it."""

    def waiting(holder: str) -> None:
        event, text = ("waiting", "waiting for") if patient else ("left", "left to")
        work.tell(Progress(event, "", f"deferred revisions: {text} {holder}"))

    def is_done() -> bool:
        return not inspection.read_alone(wire, work.schema).deferred

    try:
        claimed = locks.acquire(
            wire,
            work.schema,
            timeout=work.timeout if patient else 0.0,
            sleep=work.database.sleep,
            is_done=is_done,
            waiting=waiting,
            lock_class=locks.DEFERRED_CLASS,
        )
    except MigrationLockedError:
        if patient:
            raise
        claimed = False
    try:
        yield claimed
    finally:
        if claimed:
            locks.release(wire)


def _call_deferred(work: Work, connection: Connection) -> None:
    """Let others see that this session can be cancelled. Behind a pooler the name would stay with its connection."""
    with autocommit(connection) as wire:
        if not work.database.is_pooled(wire):
            wire.run(f"SET application_name = {literal(APPLICATION_NAME + locks.DEFERRED_NAME)}")


def _finish(work: Work, connection: Connection, found: Found, revision: Revision) -> AppliedStep:
    work.tell(Progress("applying", revision.revision, f"finishing {revision}"))
    preflights.refuse(work, connection, found, [revision])
    step = runner.finish(work, connection, found, revision)
    _log.info("finished %s in %.0f ms in schema %s", step.revision, step.seconds * 1000, work.schema)
    work.tell(Progress("applied", revision.revision, str(step)))
    return step


def may_finish(found: Found) -> bool:
    """Tell whether this role may change the tables: a boot of one that may not leaves deferred revisions alone."""
    return not found.read_only and not found.ownership


def described(found: Found, by: str | None = None) -> tuple[DeferredRevision, ...]:
    """Return what a database has put off as far as this package knows it.

    Args:
        found: What the database holds.
        by: Who is at work on it.

    """
    return tuple(DeferredRevision(r.revision, r.summary, str(r.deferred), by) for r in deferred(found))
