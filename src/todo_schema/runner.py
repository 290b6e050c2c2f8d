"""Applies, defers, finishes and undoes revisions, with their rows of the version table and of the history.

`alembic.op` and `alembic.context` are proxies of the module: two threads, or two coroutines, that migrate at once send
their DDL to each other's database. So revision files take `op` as an argument, which collects what they ask for; the
statements are run here, on the connection of this run.

A revision whose parts all fit into one transaction is applied in one, with its bookkeeping. Others are carried out part
by part. The version moves where that keeps every package right at each moment:

- an expand revision: up after its last part; down before its first, since it is needed no longer;
- a contract revision: up the floor rises before its first part; down it falls after the last.
"""

import time
from dataclasses import replace

from sqlalchemy import Connection

from todo_schema import bookkeeping, catalog, leaseholders, revisions, unfinished
from todo_schema.bookkeeping import Step
from todo_schema.compatibility import Line, line_of, number_of
from todo_schema.drivers import TransactionWire
from todo_schema.execution import Expect, Site, carry_out
from todo_schema.inspection import Found
from todo_schema.parts import Part, Transaction, fit_one_transaction
from todo_schema.reports import AppliedStep, Revision
from todo_schema.transactions import VersionMovedError, expect_recorded, explaining, in_transaction
from todo_schema.work import Work


def apply(
    work: Work, connection: Connection, found: Found, revision: Revision, *, downward: bool = False
) -> AppliedStep:
    """Apply or undo one revision.

    Args:
        work: The run.
        connection: A connection in no transaction.
        found: What the database held as the step was decided on; its version is compared again under lock.
        revision: What to apply.
        downward: Undo it instead.

    Raises:
        VersionMovedError: Another process applied it meanwhile.
        ContractBlockedError: A service is connected that a contract revision would break.
        ClientsConnectedError: A service is connected that needs what would be undone.
        MigrationLockedError: Another session held a lock on our tables until the deadline.
        InsufficientPrivilegeError: The role lacks a right.
        ReadOnlyDatabaseError: Nothing can be written.
        MigrationFailedError: The revision itself failed, or the connection was lost.

    """
    started = time.perf_counter()
    site = _site(
        work,
        connection,
        found,
        revision,
        downward=downward,
        expect=lambda wire: expect_recorded(wire, found),
    )
    if fit_one_transaction(site.parts):
        _move(site, site.parts)
    elif downward and revision.line is Line.EXPAND:
        _move(site, (), mark=site.step("undo"))
        finish_undo(work, connection, work.read(connection), revision)
    else:
        _apply_in_parts(site)
    return AppliedStep(revision.revision, revision.summary, time.perf_counter() - started)


def _site(
    work: Work, connection: Connection, found: Found, revision: Revision, *, downward: bool, expect: Expect
) -> Site:
    with explaining(found, revision.revision):
        parts = revisions.parts(revision.revision, downward=downward)
    return Site(work, connection, found, revision, parts, downward, expect)


def _apply_in_parts(site: Site) -> None:
    started = time.perf_counter()
    if site.revision.line is Line.CONTRACT and not site.downward:
        _raise_floor(site)
    last = site.parts[-1:] if isinstance(site.parts[-1], Transaction) else ()
    carry_out(site, site.parts[: len(site.parts) - len(last)])
    # Whom a contract revision breaks was asked for as the floor rose: since then none can have come.
    _move(site, last, started=started, claims=site.downward)


def _raise_floor(site: Site) -> None:
    """Raise the floor before anything is removed: who comes from then on is refused, whatever becomes of this run."""
    if site.found.floor >= (site.revision.floor or 1):
        return

    def do(wire: TransactionWire) -> None:
        expect_recorded(wire, site.found)
        step = replace(site.step("start"), floor=catalog.floor_after(number_of(site.name)))
        wire.run(bookkeeping.record_statement(site.work.schema, step, bookkeeping.this_host()))
        _claim(wire, site.found, site.revision, downward=False)
        wire.run(bookkeeping.news_statement(site.work.schema))

    in_transaction(site.work, site.connection, site.found, site.name, do)


def _move(
    site: Site,
    parts: tuple[Part, ...],
    *,
    started: float | None = None,
    mark: Step | None = None,
    claims: bool = True,
) -> None:
    """Move the version past a revision, or below it, with what fits into the same transaction.

    Args:
        site: The revision.
        parts: What fits.
        started: When its first part began, on `time.perf_counter`'s clock.
        mark: A row of the history to be written before.
        claims: Whether those are asked for who would be broken.

    """
    schema, host = site.work.schema, bookkeeping.this_host()

    def do(wire: TransactionWire) -> None:
        expect_recorded(wire, site.found)
        step = step_of(site.revision, site.found.floor, downward=site.downward)
        if mark is not None:
            wire.run(bookkeeping.record_statement(schema, mark, host))
        # The floor first, then those who are connected, then the change: who comes from now on reads the new floor.
        taken = time.perf_counter() - started if started is not None else 0.0
        wire.run(bookkeeping.record_statement(schema, step, host, taken))
        if claims:
            _claim(wire, site.found, site.revision, downward=site.downward)
        for part in parts:
            for statement in part.statements if isinstance(part, Transaction) else ():
                wire.run(statement)
        wire.run(bookkeeping.hand_over_statement(schema))
        for statement in bookkeeping.finish_statements(schema, step):
            wire.run(statement)

    in_transaction(site.work, site.connection, site.found, site.name, do)


def _claim(wire: TransactionWire, found: Found, revision: Revision, *, downward: bool) -> None:
    if concerned := versions_concerned(revision, downward=downward):
        leaseholders.claim(wire, found, revision.revision, revision.line, *concerned)


def finish(work: Work, connection: Connection, found: Found, revision: Revision) -> AppliedStep:
    """Carry out a deferred revision that the version has moved past. Needs the lock of deferred revisions.

    Raises:
        VersionMovedError: It is deferred no longer.
        TodoSchemaError: What `apply` raises.

    """
    query = unfinished.deferred_query(found.schema)
    started = time.perf_counter()
    _settle(work, connection, found, revision, query, "finish", downward=False)
    return AppliedStep(revision.revision, revision.summary, time.perf_counter() - started)


def finish_undo(work: Work, connection: Connection, found: Found, revision: Revision) -> None:
    """Undo to its end an expand revision that the version has moved below. Needs the migration lock."""
    query = unfinished.undoing_query(found.schema)
    _settle(work, connection, found, revision, query, "undone", downward=True)


def _settle(
    work: Work,
    connection: Connection,
    found: Found,
    revision: Revision,
    query: str,
    action: str,
    *,
    downward: bool,
) -> None:
    """Carry out all parts of a revision beside the version, as long as a query says that it is still open."""

    def expect(wire: TransactionWire) -> None:
        if number_of(revision.revision) not in {row[0] for row in wire.fetch(query)}:
            raise VersionMovedError(revision.revision)

    site = _site(work, connection, found, revision, downward=downward, expect=expect)
    started = time.perf_counter()
    carry_out(site, site.parts)

    def do(wire: TransactionWire) -> None:
        expect(wire)
        taken = time.perf_counter() - started
        wire.run(
            bookkeeping.record_statement(found.schema, site.step(action), bookkeeping.this_host(), taken)
        )
        wire.run(bookkeeping.hand_over_statement(found.schema))
        wire.run(bookkeeping.news_statement(found.schema))

    in_transaction(work, connection, found, revision.revision, do)


def record(work: Work, connection: Connection, found: Found, target: str, action: str) -> None:
    """Write where a line is without running a revision: `stamp`, `adopt`, or `defer`."""
    line, number = line_of(target), number_of(target)
    step = Step(
        line=line,
        number=number,
        action=action,
        checksum=revisions.checksum(target) if number else None,
        floor=catalog.floor_after(number) if line is Line.CONTRACT else found.floor,
    )

    def do(wire: TransactionWire) -> None:
        expect_recorded(wire, found)
        wire.run(bookkeeping.record_statement(found.schema, step, bookkeeping.this_host()))
        # Tables that are adopted have been contracted already: whoever needs what is gone has lost it.
        if action == "stamp" and (step.floor or 1) > found.floor:
            leaseholders.claim(wire, found, target, line, 1, (step.floor or 1) - 1)
        for statement in bookkeeping.finish_statements(found.schema, step):
            wire.run(statement)

    in_transaction(work, connection, found, target, do)


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
