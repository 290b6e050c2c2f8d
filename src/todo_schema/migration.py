"""How a database is changed: under the migration lock, one revision after the other."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import Connection

from todo_schema import (
    catalog,
    creation,
    dependents,
    finishing,
    locks,
    preflights,
    revisions,
    runner,
    unfinished,
    verdict,
)
from todo_schema.compatibility import (
    BASE,
    HISTORY_TABLE,
    Line,
    State,
    line_of,
    number_of,
    ordinal_of,
    revision_at,
)
from todo_schema.connections import Database
from todo_schema.errors import SchemaDriftError, UnknownRevisionError
from todo_schema.inspection import Found
from todo_schema.reports import AppliedStep, ChangeReport, Listener, Progress, Revision, tell
from todo_schema.transactions import VersionMovedError
from todo_schema.wire import Wire
from todo_schema.work import Work

_log = logging.getLogger("todo_schema")


def to_head(work: Work, connection: Connection, guard: Wire) -> tuple[list[AppliedStep], bool, Found]:
    """Apply what is due. Returns the steps, whether tables were adopted, and what the database holds then.

    Args:
        work: The run.
        connection: A connection in no transaction.
        guard: The connection that holds the migration lock.

    """
    applied: list[AppliedStep] = []
    adopted = looked = False
    while True:
        found = work.read(connection)
        verdict.refuse(found)
        try:
            if found.state is State.UNVERSIONED and adopted:
                raise verdict.not_kept(found)
            if found.state is State.UNVERSIONED:
                existing = work.catalog(connection)
                place = verdict.recognise(found, existing)
                _refuse_half_adopted(work, connection, found, existing)
                adopted = record_adopted(work, connection, found, *place)
                continue
            if finish_undo(work, connection, found):
                continue
            due = revisions.due(found.version)
            if not due:
                return applied, adopted, found
            if found.state is State.EMPTY:
                applied += creation.create(work, connection, found, due)
                continue
            if not looked:
                required = [step for step in due if step.deferred is None]
                preflights.refuse(work, connection, found, required, early=True)
                looked = True
            applied += _up(work, connection, guard, found, due[0])
        except VersionMovedError:
            work.look_again()


def _refuse_half_adopted(work: Work, connection: Connection, found: Found, existing: catalog.Catalog) -> None:
    """Raise where an adoption died that still owes somebody an index: once recorded, nobody would make it."""
    if HISTORY_TABLE not in found.tables:
        return
    with work.reading(connection) as wire:
        kept = [unfinished.kept(str(row[0])) for row in wire.fetch(unfinished.kept_query(work.schema))]
    missing = [index.name for index in kept if f"index {index.table}.{index.name}" not in existing]
    if missing:
        raise verdict.half_adopted(found, missing)


def record_adopted(work: Work, connection: Connection, found: Found, version: int, contract: int) -> bool:
    """Write down one of the rows that tables are adopted by. Tells whether it was the last.

    The contract line first: as long as the other row is missing, a run that died here is repeated.
    """
    # What a newer package wrote of it is not ours to correct.
    if found.contract != contract and found.contract <= len(catalog.contracts()):
        runner.record(work, connection, found, revision_at(Line.CONTRACT, contract), "adopt")
        return False
    runner.record(work, connection, found, revision_at(Line.EXPAND, version), "adopt")
    _log.info("adopted the tables of schema %s as schema version %d", work.schema, version)
    return True


def _up(
    work: Work, connection: Connection, guard: Wire, found: Found, revision: Revision
) -> list[AppliedStep]:
    """Move one revision up: apply it, or write down that it is left for later."""
    if revision.deferred is not None:
        runner.record(work, connection, found, revision.revision, "defer")
        work.tell(Progress("left", revision.revision, f"{revision.revision} deferred: {revision.deferred}"))
        return []
    steps = finishing.before(work, connection, guard, found, revision)
    return [*steps, carry_out(work, connection, found, revision)]


def carry_out(
    work: Work, connection: Connection, found: Found, revision: Revision, *, downward: bool = False
) -> AppliedStep:
    """Apply or undo one revision, and say so."""
    verb = "undoing" if downward else "applying"
    work.tell(Progress("applying", revision.revision, f"{verb} {revision}"))
    if not downward:
        preflights.refuse(work, connection, found, [revision])
    step = runner.apply(work, connection, found, revision, downward=downward)
    _log.info("%s %s took %.0f ms in schema %s", verb, step.revision, step.seconds * 1000, work.schema)
    work.tell(Progress("applied", revision.revision, str(step)))
    return step


def finish_undo(work: Work, connection: Connection, found: Found) -> bool:
    """Undo to its end what a run that died has left half undone. Tells whether there was something."""
    # What only a newer package knows stays as it is: an older one needs none of it.
    left = revisions.at(Line.EXPAND, found.undoing)
    if not left:
        return False
    work.tell(Progress("applying", left[0].revision, f"undoing the rest of {left[0]}"))
    runner.finish_undo(work, connection, found, left[0])
    return True


def contract_to(
    work: Work, connection: Connection, guard: Wire, last: int
) -> tuple[list[AppliedStep], Found]:
    """Apply what is due of the contract line, up to a place. Returns the steps, and what the database holds then."""
    applied: list[AppliedStep] = []
    looked = False
    while True:
        found = work.read(connection)
        verdict.require_usable(found)
        if found.state is State.UNVERSIONED:
            raise verdict.unrecorded(found, work.catalog(connection))
        due = revisions.between(Line.CONTRACT, found.contract_whole, last)
        if not due:
            return applied, found
        if not looked:
            preflights.refuse(work, connection, found, due, early=True)
            looked = True
        try:
            applied += finishing.before(work, connection, guard, found, due[0])
            applied.append(carry_out(work, connection, found, due[0]))
        except VersionMovedError:
            work.look_again()


def down_to(work: Work, connection: Connection, target: str) -> tuple[list[AppliedStep], Found]:
    """Undo revisions until the target. Returns the steps, and what the database holds then."""
    undone: list[AppliedStep] = []
    while True:
        found = work.read(connection)
        verdict.refuse(found)
        verdict.refuse_to_undo(found)
        if found.state is State.UNVERSIONED:
            raise verdict.unrecorded(found, work.catalog(connection))
        at = found.contract if line_of(target) is Line.CONTRACT else found.version or 0
        if number_of(target) > at:
            raise UnknownRevisionError(
                f"target {target} of a downgrade, above {_said(line_of(target), at)} that the database is at",
                "a revision below that",
                f"todo-schema {'contract' if line_of(target) is Line.CONTRACT else 'upgrade'} --url URL{found.option}",
            )
        above = revisions.undue(found.version, found.contract_begun, target)
        if target == BASE and not undone:
            with work.reading(connection) as wire:
                dependents.refuse(wire, found)
        try:
            if finish_undo(work, connection, found):
                continue
            if not above:
                return undone, found
            undone.append(carry_out(work, connection, found, above[0], downward=True))
        except VersionMovedError:
            work.look_again()


def _said(line: Line, number: int) -> str:
    return revision_at(line, number) if line is Line.CONTRACT else f"schema {number or 'none'}"


def record_as(work: Work, connection: Connection, target: str) -> Found:
    """Write where a line is without running a revision. Returns what the database holds then."""
    found = work.read(connection)
    if found.state is State.TOO_NEW:
        raise verdict.too_new(found)
    verdict.refuse_to_undo(found)
    if number_of(target) and found.state is State.EMPTY:
        raise verdict.outdated(found)
    narrows = line_of(target) is Line.CONTRACT
    version = found.version if narrows else ordinal_of(target)
    contract = number_of(target) if narrows else found.contract
    requires = max((step.requires for step in catalog.contracts() if step.number <= contract), default=0)
    if number_of(target) and requires > (version or 0):
        raise UnknownRevisionError(
            f"contract revision {revision_at(Line.CONTRACT, contract)} together with schema {version or 'none'} "
            f"in database {found.database}",
            f"schema {requires}, which it requires",
            f"todo-schema {'upgrade' if narrows else 'stamp c000'} --url URL{found.option}, and then this stamp",
        )
    # `base` may always be recorded: `upgrade` recognises the tables. `c000` lowers the floor, and that is believed.
    if version is not None:
        existing = work.catalog(connection)
        names = catalog.names_only(catalog.entities(catalog.expected(version, contract)))
        missing = tuple(f"{name}: missing" for name in sorted(names - existing.keys()))
        if missing:
            raise SchemaDriftError(
                f"schema {work.schema} of database {found.database} lacks {'; '.join(missing[:20])}",
                f"the tables and columns of revision {target}, before it can be recorded",
                f"todo-schema {f'downgrade --to {target}' if narrows else 'upgrade'} --url URL{found.option} "
                "makes them",
                missing,
            )
    try:
        runner.record(work, connection, found, target, "stamp")
    except VersionMovedError:
        work.look_again()
        return record_as(work, connection, target)
    return work.read(connection)


@contextmanager
def guarded(
    wire: Wire,
    found: Found,
    database: Database,
    *,
    timeout: float,
    is_done: Callable[[], bool],
    progress: Listener,
) -> Iterator[tuple[Work | None, float]]:
    """Hold the migration lock for the block. Gives the work, None where `is_done` came true, and seconds waited."""
    started = time.monotonic()
    waited_for: list[str] = []

    def waiting(holder: str) -> None:
        waited_for.append(holder)
        _log.info("waiting for %s", holder)
        tell(progress, Progress("waiting", "", f"waiting for {holder}"))

    acquired = locks.acquire(
        wire,
        found.schema,
        timeout=timeout,
        sleep=database.sleep,
        is_done=is_done,
        waiting=waiting,
    )
    waited = time.monotonic() - started if waited_for else 0.0
    if not acquired:
        yield None, waited
        return
    try:
        deadline = started + timeout
        yield Work(database, found.schema, timeout, deadline, progress), waited
    finally:
        locks.release(wire)


def report(
    before: Found, after: Found, applied: list[AppliedStep], waited: float, *, adopted: bool = False
) -> ChangeReport:
    """Put together what a change did."""
    return ChangeReport(
        schema=after.schema,
        before=before.state,
        after=after.state,
        version_before=before.version,
        version_after=after.version,
        floor_before=before.floor,
        floor_after=after.floor,
        applied=tuple(applied),
        adopted=adopted,
        waited_seconds=waited,
    )
