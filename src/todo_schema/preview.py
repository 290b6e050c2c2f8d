"""`plan`, `history` and `sql`: what would be done and what was, blocking and as coroutines."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, cast

from todo_schema import inspection
from todo_schema.compatibility import BASE, HEAD, HISTORY_TABLE, Line, State, line_of, revision_at
from todo_schema.connections import blocking, in_greenlet, in_loop
from todo_schema.plans import Plan
from todo_schema.quoting import identifier
from todo_schema.reports import Revision, ignore
from todo_schema.wire import transaction

if TYPE_CHECKING:
    from todo_schema.connections import Address, AsyncAddress, Database
    from todo_schema.inspection import Found
    from todo_schema.preflights import Looked
    from todo_schema.wire import Wire


def plan(
    url: Address, *, preflight: bool = False, schema: str | None = None, pooler: bool | None = None
) -> Plan:
    """Say what `upgrade` would do to a database now, and `contract` then: parts, locks, tables, SQL.

    Changes nothing.

    Args:
        url: As for `upgrade`.
        preflight: Look for rows that a revision would fail on, too. It reads the tables concerned.
        schema: As for `upgrade`.
        pooler: As for `upgrade`.

    Returns:
        The state, the revisions of each line that would be applied, in order, and those left for later.

    Raises:
        TodoSchemaError: What `upgrade` would raise before it changes anything.

    """
    database = blocking(url, schema=schema, pooler=pooler)
    del url
    return _plan(database, preflight=preflight)


async def plan_async(
    url: AsyncAddress, *, preflight: bool = False, schema: str | None = None, pooler: bool | None = None
) -> Plan:
    """Do what `plan` does in a running event loop."""
    database = in_loop(url, schema=schema, pooler=pooler)
    del url
    return await in_greenlet(lambda: _plan(database, preflight=preflight))


def history(
    url: Address | None = None, *, schema: str | None = None, pooler: bool | None = None
) -> tuple[Revision, ...]:
    """List the revisions of this package, oldest first, and when a database applied each.

    Contract revisions stand after the revision that they require.

    Args:
        url: As for `upgrade`; None (the default) lists the revisions alone.
        schema: As for `upgrade`.
        pooler: As for `upgrade`.

    Returns:
        The revisions, each with its docstring, its checksum, and when and by what it was applied.

    Raises:
        TodoSchemaError: Whatever `status` raises.

    """
    if url is None:
        return _revisions()
    database = blocking(url, schema=schema, pooler=pooler)
    del url
    return _history(database)


async def history_async(
    url: AsyncAddress | None = None, *, schema: str | None = None, pooler: bool | None = None
) -> tuple[Revision, ...]:
    """Do what `history` does in a running event loop."""
    if url is None:
        return _revisions()
    database = in_loop(url, schema=schema, pooler=pooler)
    del url
    return await in_greenlet(lambda: _history(database))


def sql(
    url: Address | None = None,
    *,
    start: str | int = BASE,
    to: str | int = HEAD,
    allow_unseen: bool = False,
    schema: str | None = None,
    pooler: bool | None = None,
) -> str:
    r"""Return the script for psql that leads from one revision to another, up or down.

    It does all that `upgrade` does, bookkeeping included: afterwards `upgrade` finds the database current. It
    stops at the first error (`\set ON_ERROR_STOP on`). A revision is one transaction, or, where not all of it fits into
    one, several statements between two: such a one is run again from its beginning. Deferred revisions are not put off.

    Args:
        url: A database whose own revision is the `start`; as for `upgrade`. None (the default) asks nobody.
        start: The revision to start from, where no database is asked; of the line that `to` is of, or `base`.
        to: The revision to end at: the head of the expand line, or, to apply contract revisions, `"c001"`.
        allow_unseen: Let the script of a contract step, or of a downgrade, go on where it sees clients of a pooler,
            which hold no lease.
        schema: The PostgreSQL schema; None is `public`, or the one that the database given uses.
        pooler: As for `upgrade`.

    Returns:
        The text of the script.

    Raises:
        UnknownRevisionError: This package has no such revision.
        TodoSchemaError: Whatever `status` raises, where a database is asked.

    """
    if url is None:
        return _script("public" if schema is None else schema, start, to, allow_unseen=allow_unseen)
    database = blocking(url, schema=schema, pooler=pooler)
    del url
    return _sql(database, to, allow_unseen=allow_unseen)


async def sql_async(
    url: AsyncAddress | None = None,
    *,
    start: str | int = BASE,
    to: str | int = HEAD,
    allow_unseen: bool = False,
    schema: str | None = None,
    pooler: bool | None = None,
) -> str:
    """Do what `sql` does in a running event loop."""
    if url is None:
        return _script("public" if schema is None else schema, start, to, allow_unseen=allow_unseen)
    database = in_loop(url, schema=schema, pooler=pooler)
    del url
    return await in_greenlet(lambda: _sql(database, to, allow_unseen=allow_unseen))


def _plan(database: Database, *, preflight: bool) -> Plan:
    from todo_schema import catalog, finishing, planning, revisions, verdict  # noqa: PLC0415  # imports Alembic

    with database.wire() as wire:
        found = inspection.read_alone(wire, database.schema)
        verdict.refuse(found)
        version, contract = found.version, found.contract_whole
        if found.state is State.UNVERSIONED:
            version, contract = verdict.recognise(found, catalog.read_alone(wire, found.schema))
        narrowing = revisions.between(Line.CONTRACT, contract, len(revisions.of(Line.CONTRACT)))
        due, left = revisions.due(version), finishing.deferred(found)
        planned = iter(planning.planned(wire, found.schema, (*due, *narrowing, *left)))
    steps, narrowed, put_off = (tuple(islice(planned, len(line))) for line in (due, narrowing, left))
    made = Plan(found.state, steps, narrowed, put_off)
    if not preflight:
        return made
    looked = _looked(database, found, (*left, *due, *narrowing))
    return replace(made, violations=looked.violations, unasked=looked.unasked)


def _looked(database: Database, found: Found, steps: tuple[Revision, ...]) -> Looked:
    from todo_schema import preflights  # noqa: PLC0415  # imports Alembic
    from todo_schema.work import Work  # noqa: PLC0415  # ditto

    work = Work(database, found.schema, 0.0, 0.0, ignore)
    with work.connection() as connection:
        return preflights.look(work, connection, found, steps)


def _revisions() -> tuple[Revision, ...]:
    from todo_schema import revisions  # noqa: PLC0415  # imports Alembic

    return revisions.in_order()


def _history(database: Database) -> tuple[Revision, ...]:
    with database.wire() as wire, transaction(wire):
        found = inspection.read(wire, database.schema)
        rows = _applied(wire, found) if HISTORY_TABLE in found.tables else {}
        for number in found.deferred:
            rows.pop(revision_at(Line.EXPAND, number), None)
    return tuple(_with_row(revision, rows.get(revision.revision)) for revision in _revisions())


def _applied(wire: Wire, found: Found) -> dict[str, tuple[object, ...]]:
    rows = wire.fetch(
        f"""SELECT DISTINCT ON (line, ordinal) revision, applied_at, duration, package_version, role
        FROM {identifier(found.schema)}.{HISTORY_TABLE}
        WHERE action IN ('upgrade', 'stamp', 'adopt', 'finish')
              AND (line = 'expand' AND ordinal BETWEEN 1 AND {found.version or 0}
                   OR line = 'contract' AND ordinal BETWEEN 1 AND {found.contract})
        ORDER BY line, ordinal, id DESC"""
    )
    return {str(row[0]): row[1:] for row in rows}


def _with_row(revision: Revision, facts: tuple[object, ...] | None) -> Revision:
    if facts is None:
        return revision
    applied_at, duration, package_version, role = facts
    return replace(
        revision,
        # psycopg gives it in the session's time zone, asyncpg in UTC.
        applied_at=cast("datetime", applied_at).astimezone(UTC),
        duration=cast("timedelta", duration),
        package_version=str(package_version),
        role=str(role),
    )


def _sql(database: Database, to: str | int, *, allow_unseen: bool) -> str:
    from todo_schema import catalog, finishing, verdict  # noqa: PLC0415  # the boot check needs none of this

    with database.wire() as wire:
        found = inspection.read_alone(wire, database.schema)
        if found.state is State.UNVERSIONED:
            raise verdict.unrecorded(found, catalog.read_alone(wire, found.schema))
    verdict.refuse(found)
    verdict.refuse_to_undo(found)
    start = {
        Line.EXPAND: revision_at(Line.EXPAND, found.version or 0),
        Line.CONTRACT: revision_at(Line.CONTRACT, found.contract),
    }[line_of(str(to))]
    left = finishing.deferred(found)
    return _script(found.schema, start, to, found.contract, left, allow_unseen=allow_unseen)


def _script(
    schema: str,
    start: str | int,
    to: str | int,
    contract: int = 0,
    deferred: tuple[Revision, ...] = (),
    *,
    allow_unseen: bool,
) -> str:
    from todo_schema import offline, revisions  # noqa: PLC0415  # imports Alembic

    steps = revisions.find(start), revisions.find(to)
    return offline.script(schema, *steps, contract=contract, deferred=deferred, allow_unseen=allow_unseen)
