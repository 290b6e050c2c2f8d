"""Looks at tables that somebody else made, and carries out what makes them ours, part by part, while others write.

What is still to be done is read off the tables themselves, so that a run which died needs no memory. The one exception
is an index of somebody else's that has to make way for a while: the history keeps how it is made.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from todo_schema import (
    bookkeeping,
    catalog,
    migration,
    planning,
    preflights,
    revisions,
    surroundings,
    unfinished,
    verdict,
)
from todo_schema.adoption_changes import Change, Phase
from todo_schema.adoption_notes import notes
from todo_schema.adoptions import Adoption, PlannedChange
from todo_schema.bookkeeping import Step
from todo_schema.collecting import collect, collector_of
from todo_schema.compatibility import ENTITY_TABLES, HISTORY_TABLE, Line, revision_at
from todo_schema.convergence import converge, in_order
from todo_schema.diagnosis import missing_row_right
from todo_schema.driver_errors import INSUFFICIENT_PRIVILEGE, reason, sqlstate
from todo_schema.drivers import TransactionWire
from todo_schema.errors import MigrationFailedError
from todo_schema.execution import Site, is_violated, run_alone
from todo_schema.inspection import Found
from todo_schema.lock_classes import Related
from todo_schema.parts import Backfill, IndexBuild, IndexDrop, Part, Transaction, Validation
from todo_schema.plans import TableSize
from todo_schema.quoting import identifier
from todo_schema.reports import Progress, Revision
from todo_schema.transactions import VersionMovedError, expect_recorded, in_transaction
from todo_schema.violations import Violation, violation
from todo_schema.wire import Wire
from todo_schema.work import Work

if TYPE_CHECKING:
    from alembic.operations import Operations


@dataclass(frozen=True)
class Case:
    """Tables that are to be adopted.

    Attributes:
        version: The schema version that they are most like.
        contract: The place in the contract line.
        changes: What would make them so.
        described: The same for a person.
        kept: What is somebody else's beside ours, and stays.
        notes: What a person should know before.
        tables: The tables, and how large they are.

    """

    version: int
    contract: int
    changes: tuple[Change, ...]
    described: tuple[PlannedChange, ...]
    kept: tuple[str, ...]
    notes: tuple[str, ...]
    tables: tuple[TableSize, ...]

    def planned(
        self, found: Found, violations: tuple[Violation, ...], later: tuple[Violation, ...]
    ) -> Adoption:
        """Return what would be done."""
        return Adoption(
            "convergeable",
            found.schema,
            self.version,
            self.described,
            self.kept,
            self.notes,
            self.tables,
            violations,
            later,
        )


def look(wire: Wire, found: Found, *, widen_keys: bool) -> Case:
    """Look at tables without a version.

    Args:
        wire: A connection in a transaction whose search_path is the schema alone.
        found: What the database holds.
        widen_keys: Whether integer keys are to become bigint.

    Raises:
        UnversionedSchemaError: They cannot be made those of the version that they are most like.

    """
    existing = catalog.entities(catalog.read(wire, found.schema))
    around = surroundings.read(wire, found.schema)
    version, contract = verdict.nearest_place(found, existing)
    findings = converge(existing, version, contract, around, widen_keys=widen_keys)
    if findings.obstacles:
        raise verdict.not_adoptable(found, version, tuple(findings.obstacles))
    changes = tuple(in_order([*findings.changes, *_given_back(wire, found, existing)]))
    related, sizes = planning.survey(wire, found.schema)
    return Case(
        version,
        contract,
        changes,
        tuple(_described(change, related, sizes) for change in changes),
        tuple(findings.kept),
        tuple(notes(found, findings, around)),
        tuple(sizes[table] for table in sorted(ENTITY_TABLES & sizes.keys())),
    )


def violations(work: Work, connection: Connection, found: Found, case: Case) -> tuple[Violation, ...]:
    """Return the rows that changes would fail on; reads the tables concerned.

    Raises:
        InsufficientPrivilegeError: The role may not see all of them.

    """
    rules = [change for change in case.changes if change.rule]
    try:
        with work.reading(connection, read_only=True):
            return tuple(each for rule in rules for each in violation(connection, rule.rule, rule.query))
    except Exception as error:
        if sqlstate(error) == INSUFFICIENT_PRIVILEGE:
            raise missing_row_right(found, reason(error)) from error
        raise


def later_violations(work: Work, connection: Connection, found: Found, case: Case) -> tuple[Violation, ...]:
    """Return the rows that revisions would fail on which `upgrade` applies afterwards; reads the tables concerned."""
    return preflights.look(work, connection, found, revisions.due(case.version)).violations


def carry_out(work: Work, connection: Connection, *, widen_keys: bool) -> tuple[Case | None, Found]:
    """Make tables ours, and record it. Returns what was done, and what the database holds then.

    Raises:
        UnversionedSchemaError: Something is in the way, or changed the tables meanwhile; what was done stays.
        PreflightError: Rows are there that a change would fail on. Nothing was changed.
        TodoSchemaError: What `execution.carry_out` raises.

    """
    done: Case | None = None
    while True:
        found = work.read(connection)
        verdict.refuse(found)
        if found.version is not None or not found.entities:
            return done, found
        with work.reading(connection) as wire:
            case = look(wire, found, widen_keys=widen_keys)
        try:
            if case.changes:
                if done is not None:
                    raise verdict.moved_on(found, tuple(change.about for change in case.changes))
                if rows := violations(work, connection, found, case):
                    raise preflights.in_the_way(found, "todo_schema does not allow", rows)
                _make(work, connection, found, case)
                done = case
            else:
                _analyse(_site(work, connection, found, case))
                migration.record_adopted(work, connection, found, case.version, case.contract)
                done = done or case
        except VersionMovedError:
            work.look_again()


def _make(work: Work, connection: Connection, found: Found, case: Case) -> None:
    site = _site(work, connection, found, case)
    name = site.name
    # What makes way for a while is written down before it goes.
    for lost, changes in groupby(case.changes, key=lambda change: change.lost):
        if lost:
            _keep(site, lost)
        for part in _parts(tuple(changes)):
            work.tell(Progress("applying", name, part.about))
            if isinstance(part, Transaction):
                in_transaction(work, connection, found, name, partial(_run, site, part))
                _analyse(site)
            elif not isinstance(part, Backfill):
                _run_alone(site, part)
            work.go_on()


def _site(work: Work, connection: Connection, found: Found, case: Case) -> Site:
    revision = Revision(f"{revision_at(Line.EXPAND, case.version)} (adoption)", "", "", "")
    return Site(work, connection, found, revision, (), False, lambda wire: expect_recorded(wire, found))


def _analyse(site: Site) -> None:
    """Collect anew what the planner knows of columns: with another type of a column it is gone, and stays so."""
    with site.work.reading(site.connection) as wire:
        unknown = surroundings.unknown_to_planner(wire, site.work.schema)
    for table, columns in unknown.items():
        analyse = Transaction((f"ANALYZE {identifier(table)} ({', '.join(map(identifier, columns))})",))
        in_transaction(site.work, site.connection, site.found, site.name, partial(_run, site, analyse))


def _parts(changes: Iterable[Change]) -> tuple[Part, ...]:
    def make(op: Operations) -> None:
        for change in changes:
            change.make(op)

    return collect(make, revision_at(Line.EXPAND, 1))


def _run(site: Site, part: Transaction, wire: TransactionWire) -> None:
    site.expect(wire)
    for statement in part.statements:
        wire.run(statement)


def _run_alone(site: Site, part: IndexBuild | IndexDrop | Validation) -> None:
    try:
        run_alone(site, part)
    except MigrationFailedError as error:
        if isinstance(part, Validation) and is_violated(error):
            # It would keep refusing what the application writes that made the tables.
            drop = f"ALTER TABLE {identifier(part.table)} DROP CONSTRAINT IF EXISTS {identifier(part.constraint)}"
            withdraw = partial(_run, site, Transaction((drop,)))
            in_transaction(site.work, site.connection, site.found, site.name, withdraw)
        raise


def _keep(site: Site, index: IndexBuild) -> None:
    """Write down how an index is made that is going to be dropped for a while."""
    step = Step(Line.EXPAND, 0, unfinished.keeping(index), None)

    def do(wire: TransactionWire) -> None:
        site.expect(wire)
        wire.run(bookkeeping.record_statement(site.work.schema, step, bookkeeping.this_host()))

    in_transaction(site.work, site.connection, site.found, site.name, do)


def _given_back(wire: Wire, found: Found, existing: catalog.Catalog) -> list[Change]:
    """Return what makes the indexes again that made way in a run that died."""
    if HISTORY_TABLE not in found.tables:
        return []
    indexes = [unfinished.kept(str(action)) for (action,) in wire.fetch(unfinished.kept_query(found.schema))]
    return [
        Change(
            Phase.INDEXES,
            index.table,
            f"index {index.name} is built again: {index.definition}",
            partial(_build, index),
        )
        for index in indexes
        if f"index {index.table}.{index.name}" not in existing
    ]


def _build(index: IndexBuild, op: Operations) -> None:
    collector_of(op).add(index)


def _described(change: Change, related: Related, sizes: dict[str, TableSize]) -> PlannedChange:
    effects = [planning.effect_of_part(part, related) for part in _parts([change])]
    locks = [f"{lock} on {table}" for effect in effects for table, lock in effect.locks if table in sizes]
    size = sizes.get(change.table)
    return PlannedChange(
        change.about,
        change.table,
        size.rows if size else None,
        tuple(dict.fromkeys(locks)),
        tuple(dict.fromkeys(table for effect in effects for table in effect.scans)),
        tuple(dict.fromkeys(table for effect in effects for table in effect.rewrites)),
    )
