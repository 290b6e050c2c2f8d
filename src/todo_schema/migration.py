"""How a database is changed: under the migration lock, one revision in each transaction."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Connection

from todo_schema import bookkeeping, catalog, inspection, leaseholders, locks, revisions, runner, verdict
from todo_schema.bookkeeping import Step
from todo_schema.compatibility import (
    Line,
    State,
    line_of,
    number_of,
    ordinal_of,
    revision_at,
)
from todo_schema.connections import Database
from todo_schema.drivers import TransactionWire
from todo_schema.errors import MigrationLockedError, SchemaDriftError, UnknownRevisionError
from todo_schema.inspection import Found
from todo_schema.reports import AppliedStep, ChangeReport, Progress, Revision, tell
from todo_schema.wire import Wire

_log = logging.getLogger("todo_schema")

Listener = Callable[[Progress], None]


@dataclass
class Work:
    """One run under the migration lock: where, until when, and who listens.

    Attributes:
        database: The database.
        schema: The schema of the installation.
        deadline: When to give up for want of a lock, on `time.monotonic`'s clock.
        progress: Told what happens.

    """

    database: Database
    schema: str
    deadline: float
    progress: Listener

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Open the connection that does the work; the guard's own only guards."""
        with self.database.connection() as connection:
            yield connection

    def read(self, connection: Connection) -> Found:
        """Read what the database holds now."""
        with self._reading(connection) as wire:
            return inspection.read(wire, self.schema)

    def catalog(self, connection: Connection) -> catalog.Catalog:
        """Read the tables as they are now."""
        with self._reading(connection) as wire:
            return catalog.read(wire, self.schema)

    @contextmanager
    def _reading(self, connection: Connection) -> Iterator[TransactionWire]:
        wire = TransactionWire(connection)
        with connection.begin():
            wire.run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")  # version and tables of one moment
            wire.run(bookkeeping.settings_statement(self.schema))
            yield wire

    def apply(
        self, connection: Connection, found: Found, revision: Revision, *, downward: bool = False
    ) -> AppliedStep:
        """Apply or undo one revision, and say so."""
        verb = "undoing" if downward else "applying"
        tell(self.progress, Progress("applying", revision.revision, f"{verb} {revision}"))
        step = runner.apply(
            connection,
            found,
            revision,
            downward=downward,
            deadline=self.deadline,
            sleep=self.database.sleep,
        )
        _log.info("%s %s took %.0f ms in schema %s", verb, step.revision, step.seconds * 1000, self.schema)
        tell(self.progress, Progress("applied", revision.revision, str(step)))
        return step

    def look_again(self) -> None:
        """Go on after the guard was lost and somebody else changed the version: nothing of ours was committed.

        Raises:
            MigrationLockedError: That went on until the deadline.

        """
        if time.monotonic() >= self.deadline:
            raise MigrationLockedError(
                f"the version in schema {self.schema} was changed by others again and again",
                "the version to stay as it is for the time of a step",
                "see who writes to todo_schema_version, and call again",
            )

    def record(self, connection: Connection, found: Found, target: str, action: str) -> None:
        """Write where a line is without running a revision."""
        line, number = line_of(target), number_of(target)
        step = Step(
            line=line,
            number=number,
            action=action,
            checksum=revisions.checksum(target) if number else None,
            floor=catalog.floor_after(number) if line is Line.CONTRACT else found.floor,
        )

        def work(wire: TransactionWire) -> None:
            runner.expect_recorded(wire, found)
            wire.run(bookkeeping.record_statement(self.schema, step, bookkeeping.this_host()))
            # Tables that are adopted have been contracted already: whoever needs what is gone has lost it.
            if action == "stamp" and (step.floor or 1) > found.floor:
                leaseholders.claim(wire, found, target, line, 1, (step.floor or 1) - 1)
            for statement in bookkeeping.finish_statements(self.schema, step):
                wire.run(statement)

        runner.in_transaction(
            connection, found, target, work, deadline=self.deadline, sleep=self.database.sleep
        )


def to_head(work: Work, connection: Connection) -> tuple[list[AppliedStep], bool, Found]:
    """Apply what is due. Returns the steps, whether tables were adopted, and what the database holds then."""
    applied: list[AppliedStep] = []
    adopted = False
    while True:
        found = work.read(connection)
        verdict.refuse(found)
        try:
            if found.state is State.UNVERSIONED and adopted:
                raise verdict.not_kept(found)
            if found.state is State.UNVERSIONED:
                version, contract = verdict.recognise(found, work.catalog(connection))
                # The contract line first: as long as the other row is missing, a run that died here is repeated.
                # What a newer package wrote of it is not ours to correct.
                if found.contract != contract and found.contract <= len(catalog.contracts()):
                    work.record(connection, found, revision_at(Line.CONTRACT, contract), "adopt")
                    continue
                work.record(connection, found, revision_at(Line.EXPAND, version), "adopt")
                _log.info("adopted the tables of schema %s as schema version %d", work.schema, version)
                adopted = True
                continue
            due = revisions.due(found.version)
            if not due:
                return applied, adopted, found
            applied.append(work.apply(connection, found, due[0]))
        except runner.VersionMovedError:
            work.look_again()


def contract_to(work: Work, connection: Connection, last: int) -> tuple[list[AppliedStep], Found]:
    """Apply what is due of the contract line, up to a place. Returns the steps, and what the database holds then."""
    applied: list[AppliedStep] = []
    while True:
        found = work.read(connection)
        verdict.require_usable(found)
        if found.state is State.UNVERSIONED:
            raise verdict.unrecorded(found, work.catalog(connection))
        due = revisions.between(Line.CONTRACT, found.contract, last)
        if not due:
            return applied, found
        try:
            applied.append(work.apply(connection, found, due[0]))
        except runner.VersionMovedError:
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
        above = revisions.undue(found.version, found.contract, target)
        if not above:
            return undone, found
        try:
            undone.append(work.apply(connection, found, above[0], downward=True))
        except runner.VersionMovedError:
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
            f"todo-schema {'upgrade' if narrows else 'stamp c000'} --url URL, and then this stamp",
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
                f"todo-schema {f'downgrade --to {target}' if narrows else 'upgrade'} --url URL makes them",
                missing,
            )
    try:
        work.record(connection, found, target, "stamp")
    except runner.VersionMovedError:
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
        yield Work(database, found.schema, started + timeout, progress), waited
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
