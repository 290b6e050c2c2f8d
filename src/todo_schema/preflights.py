"""Looks for rows that a revision would fail on, before anything is changed."""

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import NamedTuple

from sqlalchemy import Connection

from todo_schema import locks, revisions
from todo_schema.backoff import pauses
from todo_schema.compatibility import ENTITY_TABLES
from todo_schema.driver_errors import (
    LOCK_NOT_AVAILABLE,
    READ_ONLY_TRANSACTION,
    UNDEFINED_COLUMN,
    UNDEFINED_FUNCTION,
    UNDEFINED_TABLE,
    reason,
    sqlstate,
)
from todo_schema.drivers import TransactionWire
from todo_schema.errors import MigrationFailedError, MigrationLockedError, PreflightError
from todo_schema.inspection import Found
from todo_schema.quoting import identifier
from todo_schema.reports import Revision
from todo_schema.transactions import explaining
from todo_schema.violations import Violation
from todo_schema.work import Work

# What a revision before it makes is not there yet.
_NOT_YET = {UNDEFINED_COLUMN, UNDEFINED_FUNCTION, UNDEFINED_TABLE}


def refuse(
    work: Work, connection: Connection, found: Found, due: Iterable[Revision], *, early: bool = False
) -> None:
    """Raise where rows are there that one of these revisions would fail on. For `early` see `look`.

    Raises:
        PreflightError: There are.
        MigrationFailedError: A preflight itself failed.

    """
    violations = look(work, connection, found, due, early=early).violations
    if violations:
        raise in_the_way(found, f"revision {violations[0].revision} would fail on", violations)


def in_the_way(found: Found, why: str, violations: tuple[Violation, ...]) -> PreflightError:
    """Say which rows are in the way, and how the first of them are found; `why` is what they would do."""
    listed = "".join(f"\n  {violation}" for violation in violations)
    path = "" if found.schema == "public" else f"SET search_path = {identifier(found.schema)}; "
    return PreflightError(
        f"rows in schema {found.schema} of database {found.database} that {why}:{listed}",
        "none of them; nothing was changed",
        f"mend or remove what this finds, then call again: {path}{violations[0].query};",
        violations,
    )


class Looked(NamedTuple):
    """What preflights have found.

    Attributes:
        violations: The rows that revisions would fail on.
        unasked: The revisions whose preflight needs what is not there yet, each with what it misses.

    """

    violations: tuple[Violation, ...]
    unasked: tuple[str, ...]


def look(
    work: Work, connection: Connection, found: Found, due: Iterable[Revision], *, early: bool = True
) -> Looked:
    """Return what these revisions would fail on; read only.

    Args:
        work: The run.
        connection: A connection in no transaction.
        found: What the database holds.
        due: The revisions.
        early: Pass over a preflight that needs what a revision before it makes. At its own turn it has to be there.

    """
    violations: list[Violation] = []
    unasked: list[str] = []
    for revision in due:
        preflight = revisions.preflight_of(revision.revision)
        if preflight is None:
            continue
        with explaining(found, revision.revision):
            try:
                told = _asked(work, connection, found, preflight)
            except Exception as error:
                if sqlstate(error) == READ_ONLY_TRANSACTION:
                    raise MigrationFailedError(
                        f"the preflight of revision {revision.revision} tried to write: {reason(error)}",
                        "one that only looks; nothing was changed",
                        "install a version of todo-schema without this mistake",
                        revision.revision,
                    ) from error
                if not early or sqlstate(error) not in _NOT_YET:
                    raise
                unasked.append(f"{revision.revision}: {reason(error)}")
                continue
        violations += [replace(violation, revision=revision.revision) for violation in told]
    return Looked(tuple(violations), tuple(unasked))


def _asked(
    work: Work, connection: Connection, found: Found, preflight: Callable[[Connection], Iterable[Violation]]
) -> tuple[Violation, ...]:
    """Ask one preflight, again and again while others keep its tables for themselves."""
    waits = pauses(0.1, 2.0)
    while True:
        try:
            with work.reading(connection, read_only=True):
                return tuple(preflight(connection))
        except Exception as error:
            if sqlstate(error) != LOCK_NOT_AVAILABLE:
                raise
            if time.monotonic() >= work.deadline:
                raise _blocked(connection, found) from error
        work.database.sleep(next(waits))


def _blocked(connection: Connection, found: Found) -> MigrationLockedError:
    with connection.begin():
        wire = TransactionWire(connection)
        holders = locks.table_holders(wire, found.schema, ENTITY_TABLES, even_from_readers=True)
    return MigrationLockedError(
        f"tables of schema {found.schema} could not be read for a preflight: {locks.named(holders)}",
        "to read them; nothing was changed",
        f"let that session finish and call again, give a longer timeout, or: {locks.ended(holders)}",
    )
