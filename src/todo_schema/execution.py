"""Carries out the parts of one revision, and writes down each that is done, so that a run which died goes on there."""

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection

from todo_schema import backfills, bookkeeping, indexes, revisions, unfinished, watching
from todo_schema.bookkeeping import Step
from todo_schema.compatibility import number_of
from todo_schema.driver_errors import CHECK_VIOLATION, FOREIGN_KEY_VIOLATION, sqlstate
from todo_schema.drivers import ClosableWire, TransactionWire, autocommit
from todo_schema.errors import MigrationFailedError
from todo_schema.inspection import Found
from todo_schema.parts import Backfill, IndexBuild, IndexDrop, Part, Transaction, Validation
from todo_schema.quoting import identifier
from todo_schema.reports import Progress, Revision
from todo_schema.transactions import VersionMovedError, explaining, in_transaction
from todo_schema.unfinished import PartRow, part_action, part_of
from todo_schema.work import Work

# What the server says of rows that break a rule.
_VIOLATED = {CHECK_VIOLATION, FOREIGN_KEY_VIOLATION}

Expect = Callable[[TransactionWire], None]


@dataclass(frozen=True)
class Site:
    """A revision that is carried out in parts.

    Attributes:
        work: The run.
        connection: A connection in no transaction.
        found: What the database held as it was decided on.
        revision: The revision.
        parts: Its parts, in order.
        downward: Whether it is undone.
        expect: Raises VersionMovedError where another process has changed what this one started from.

    """

    work: Work
    connection: Connection
    found: Found
    revision: Revision
    parts: tuple[Part, ...]
    downward: bool
    expect: Expect

    @property
    def name(self) -> str:
        """The revision, for messages."""
        return self.revision.revision

    @property
    def checksum(self) -> str:
        """What the rows of its parts are known by."""
        return revisions.checksum(self.name)

    def step(self, action: str) -> Step:
        """Return a row of the history about this revision."""
        return Step(self.revision.line, number_of(self.name), action, self.checksum)


def carry_out(site: Site, parts: tuple[Part, ...]) -> None:
    """Carry out some parts of a revision, but for those that are done already.

    Args:
        site: The revision.
        parts: The first of its parts, or all.

    Raises:
        VersionMovedError: Another process was faster.
        SchemaDriftError: Something else has the name of what is to be made.
        MigrationLockedError: A lock was not to be had in time.
        MigrationFailedError: A part failed; those before it stay done.

    """
    done = {row.number: row for row in _recorded(site)}
    for number, part in enumerate(parts, start=1):
        row = done.get(number)
        if row is not None and row.done:
            continue
        _say(site, part)
        if isinstance(part, Transaction):
            _record(site, number, part.statements)
        elif isinstance(part, Backfill):
            _backfill(site, part, number, row)
        else:
            _run_recorded(site, part, number)
            site.work.go_on()
            _record(site, number)
        site.work.go_on()


def _parts_query(site: Site) -> str:
    return unfinished.parts_query(
        site.work.schema, site.revision.line, number_of(site.name), site.checksum, downward=site.downward
    )


def _recorded(site: Site) -> list[PartRow]:
    with explaining(site.found, site.name), site.work.reading(site.connection) as wire:
        return [part_of(row) for row in wire.fetch(_parts_query(site))]


def _record(site: Site, number: int, statements: tuple[str, ...] = ()) -> None:
    """Write down that a part is done, together with the statements that do it, where it is a transaction."""

    def do(wire: TransactionWire) -> None:
        _expect_undone(site, wire, number)
        for statement in statements:
            wire.run(statement)
        _insert(site, wire, part_action(number, len(site.parts), downward=site.downward))

    in_transaction(site.work, site.connection, site.found, site.name, do)


def _expect_undone(site: Site, wire: TransactionWire, number: int) -> None:
    """Raise VersionMovedError where another process has done the part meanwhile."""
    site.expect(wire)
    query = _parts_query(site)
    if any(part_of(row).number == number for row in wire.fetch(query)):
        raise VersionMovedError(site.name)


def _insert(site: Site, wire: TransactionWire, action: str) -> None:
    wire.run(bookkeeping.record_statement(site.work.schema, site.step(action), bookkeeping.this_host()))


def _run_recorded(site: Site, part: IndexBuild | IndexDrop | Validation, number: int) -> None:
    try:
        run_alone(site, part)
    except MigrationFailedError as error:
        if isinstance(part, Validation) and is_violated(error):
            _withdraw(site, part, number)
        raise


def is_violated(error: MigrationFailedError) -> bool:
    """Tell whether rows are there that break the rule which was validated."""
    return sqlstate(error.__cause__ or error) in _VIOLATED


def _withdraw(site: Site, part: Validation, number: int) -> None:
    """Take back a rule that rows break: it would keep refusing what services write, older ones too."""
    query = _parts_query(site)

    def do(wire: TransactionWire) -> None:
        site.expect(wire)
        table, name = identifier(part.table), identifier(part.constraint)
        wire.run(f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {name}")
        # The transaction before this part has added it; the next run does that again.
        for row in wire.fetch(query):
            if part_of(row).number == number - 1:
                wire.run(unfinished.withdraw_statement(site.work.schema, part_of(row).id))

    in_transaction(site.work, site.connection, site.found, site.name, do)


def run_alone(site: Site, part: IndexBuild | IndexDrop | Validation) -> None:
    """Carry out a part that fits into no transaction, without a word of it in the history.

    Raises what `carry_out` does.
    """
    work = site.work
    with explaining(site.found, site.name, part.about), autocommit(site.connection) as wire:
        _free_of_timeouts(work, wire)
        with watching.long_statement(work, site.name, part, wire.server_pid):
            match part:
                case IndexBuild():
                    indexes.build(work, wire, part)
                case IndexDrop():
                    indexes.drop(work, wire, part)
                case Validation():
                    # In one message, and so in one transaction: its settings reach it behind a pooler too.
                    settings = bookkeeping.settings_statement(work.schema, 0)
                    wire.run(f"{settings}; {part.statement(f'{identifier(work.schema)}.')}")


def _free_of_timeouts(work: Work, wire: ClosableWire, lock_timeout_ms: int = 0) -> None:
    """Let no timeout of the host's end what runs outside of a transaction, and no lock timeout leave half an index.

    Behind a pooler the settings would stay with a connection that others share: the names in our statements carry
    their schema, and a timeout that the role has is met there.
    """
    if not work.database.is_pooled(wire):
        wire.run(bookkeeping.settings_statement(work.schema, lock_timeout_ms, local=False))


def _backfill(site: Site, part: Backfill, number: int, row: PartRow | None) -> None:
    place = backfills.Place(site.name, number, len(site.parts), site.downward)
    if row is None:
        begun = part_action(number, place.count, downward=place.downward, rows=0, key="")

        def begin(wire: TransactionWire) -> None:
            _expect_undone(site, wire, number)
            _insert(site, wire, begun)

        in_transaction(site.work, site.connection, site.found, site.name, begin)
        row = {told.number: told for told in _recorded(site)}.get(number)
        if row is None:
            raise VersionMovedError(site.name)
    with explaining(site.found, site.name, part.about), autocommit(site.connection) as wire:
        _free_of_timeouts(site.work, wire, lock_timeout_ms=backfills.LOCK_TIMEOUT_MS)
        try:
            rows = backfills.fill(site.work, wire, part, place, row)
        except backfills.TakenOverError as error:
            raise VersionMovedError(site.name) from error
    site.work.go_on()
    finished = part_action(number, place.count, downward=place.downward, rows=rows)

    def finish(wire: TransactionWire) -> None:
        site.expect(wire)
        wire.run(unfinished.finish_backfill_statement(site.work.schema, row.id, finished))

    in_transaction(site.work, site.connection, site.found, site.name, finish)


def _say(site: Site, part: Part) -> None:
    event = {Validation: "validating", IndexBuild: "building", Backfill: "backfilling"}.get(
        type(part), "applying"
    )
    site.work.tell(Progress(event, site.name, f"{site.name} {part.about}"))
