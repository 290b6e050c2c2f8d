"""`contract` and `downgrade`: the calls that remove, and first ask who needs it, blocking and as coroutines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from todo_schema import inspection
from todo_schema.changes import DEFAULT_TIMEOUT, never, require_writable
from todo_schema.compatibility import Line, State, number_of
from todo_schema.connections import blocking, in_greenlet, in_loop
from todo_schema.errors import UnknownRevisionError
from todo_schema.reports import ignore

if TYPE_CHECKING:
    from todo_schema.connections import Address, AsyncAddress, Database
    from todo_schema.reports import ChangeReport, Listener


def contract(
    url: Address,
    *,
    to: str | None = None,
    allow_unseen: bool = False,
    schema: str | None = None,
    timeout: float = DEFAULT_TIMEOUT,
    pooler: bool | None = None,
    progress: Listener | None = None,
) -> ChangeReport:
    """Apply the contract revisions of this package: they remove what only older packages used. No boot does this.

    Each raises the floor, the oldest schema version whose package may use the database, in the transaction that
    removes. It is applied only while no connection of an older package is open; whoever opens one meanwhile
    waits for the step, reads the new floor and is refused. Calling it again goes on from where it stopped.

    Args:
        url: As for `upgrade`.
        to: The contract revision to stop at, `"c001"`; None (the default) applies all that there are.
        allow_unseen: Go on although services may be connected that hold no lease, because a pooler is in between.
        schema: As for `upgrade`.
        timeout: How long to wait for other processes and for locks, in seconds. For services it never waits.
        pooler: Whether a pooler in transaction mode stands in between; None finds out.
        progress: As for `upgrade`.

    Returns:
        What was found, and what was applied: the versions stay, the floor rises.

    Raises:
        ContractBlockedError: Services older than a step's floor are connected; `clients` lists them. That step
            changed nothing; those before it stay applied.
        UnseenClientsError: Such services may be connected behind a pooler. Nothing was changed.
        SchemaOutdatedError: The database is older than this package: upgrade it first. Nothing was changed.
        UnknownRevisionError: This package has no contract revision `to`.
        PreflightError: Rows are there that a step would fail on. That step changed nothing.
        TodoSchemaError: Whatever `upgrade` raises.

    """
    database = blocking(url, schema=schema, pooler=pooler)
    del url
    return _contract(database, to, timeout, progress, allow_unseen=allow_unseen)


async def contract_async(
    url: AsyncAddress,
    *,
    to: str | None = None,
    allow_unseen: bool = False,
    schema: str | None = None,
    timeout: float = DEFAULT_TIMEOUT,  # noqa: ASYNC109  # bounds a wait for locks; asyncio.timeout works as well
    pooler: bool | None = None,
    progress: Listener | None = None,
) -> ChangeReport:
    """Do what `contract` does in a running event loop."""
    database = in_loop(url, schema=schema, pooler=pooler)
    del url
    return await in_greenlet(lambda: _contract(database, to, timeout, progress, allow_unseen=allow_unseen))


def downgrade(
    url: Address,
    *,
    to: str | int,
    allow_unseen: bool = False,
    schema: str | None = None,
    timeout: float = DEFAULT_TIMEOUT,
    pooler: bool | None = None,
    progress: Listener | None = None,
) -> ChangeReport:
    """Undo revisions, newest first, until the database is at `to`.

    The docstring of each revision (`history()`) says what undoing it loses. A contract revision is undone before
    the revision that it requires; then the floor falls again.

    Args:
        url: As for `upgrade`.
        to: The revision to stop at, `1` or `"001"`; `"base"` undoes everything; `"c001"` and `"c000"`, for none,
            undo contract revisions alone. There is no default.
        allow_unseen: Go on although services may be connected that hold no lease, because a pooler is in between.
        schema: As for `upgrade`.
        timeout: As for `upgrade`.
        pooler: As for `upgrade`.
        progress: As for `upgrade`.

    Returns:
        What was found, and what was undone.

    Raises:
        UnknownRevisionError: This package has no revision `to`, or it is above the database's.
        SchemaTooNewError: The database is newer than this package, which cannot undo what it does not know.
        TablesReferencedError: The tables are to be dropped, and foreign keys or views of a service's refer to them.
        ClientsConnectedError: Services are connected that need what would be undone; `clients` lists them. That
            revision stays; those above it were undone.
        UnseenClientsError: Such services may be connected behind a pooler. Nothing was changed.
        TodoSchemaError: Whatever `upgrade` raises.

    """
    database = blocking(url, schema=schema, pooler=pooler)
    del url
    return _downgrade(database, to, timeout, progress, allow_unseen=allow_unseen)


async def downgrade_async(
    url: AsyncAddress,
    *,
    to: str | int,
    allow_unseen: bool = False,
    schema: str | None = None,
    timeout: float = DEFAULT_TIMEOUT,  # noqa: ASYNC109  # bounds a wait for locks
    pooler: bool | None = None,
    progress: Listener | None = None,
) -> ChangeReport:
    """Do what `downgrade` does in a running event loop."""
    database = in_loop(url, schema=schema, pooler=pooler)
    del url
    return await in_greenlet(lambda: _downgrade(database, to, timeout, progress, allow_unseen=allow_unseen))


def _contract(
    database: Database, to: str | None, timeout: float, progress: Listener | None, *, allow_unseen: bool
) -> ChangeReport:
    from todo_schema import leaseholders, migration, revisions, verdict  # noqa: PLC0415  # imports Alembic

    line = revisions.of(Line.CONTRACT)
    last = len(line) if to is None else _place(to)
    with database.wire() as wire:
        found = inspection.read_alone(wire, database.schema)
        verdict.require_usable(found)
        due = revisions.between(Line.CONTRACT, found.contract_whole, last)
        if not due and found.state is not State.UNVERSIONED:
            return migration.report(found, found, [], 0.0)
        require_writable(found)
        below = max((step.floor or 1 for step in due), default=1) - 1
        if below and not allow_unseen:
            pooled = database.is_pooled(wire)
            leaseholders.refuse_unseen(wire, found, "a contract step", 1, below, pooled=pooled)
        with migration.guarded(
            wire, found, database, timeout=timeout, is_done=never, progress=progress or ignore
        ) as (work, waited):
            assert work is not None  # noqa: S101  # it is never done before it has begun
            with work.connection() as connection:
                applied, after = migration.contract_to(work, connection, wire, last)
    return migration.report(found, after, applied, waited)


def _downgrade(
    database: Database,
    to: str | int,
    timeout: float,
    progress: Listener | None,
    *,
    allow_unseen: bool,
) -> ChangeReport:
    from todo_schema import leaseholders, locks, migration, revisions, verdict  # noqa: PLC0415  # imports Alembic

    target = revisions.find(to)
    with database.wire() as wire:
        found = inspection.read_alone(wire, database.schema)
        verdict.refuse(found)
        verdict.refuse_to_undo(found)
        require_writable(found)
        needs = [
            step
            for step in revisions.undue(found.version, found.contract_begun, target)
            if step.line is Line.EXPAND
        ]
        if needs and not allow_unseen:
            first, pooled = number_of(needs[-1].revision), database.is_pooled(wire)
            leaseholders.refuse_unseen(wire, found, "a downgrade", first, leaseholders.NEWEST, pooled=pooled)
        with migration.guarded(
            wire, found, database, timeout=timeout, is_done=never, progress=progress or ignore
        ) as (work, waited):
            assert work is not None  # noqa: S101  # it is never done before it has begun
            # Nobody builds an index of what is being undone, even where it was put off only just now.
            locks.take_too(
                wire,
                found.schema,
                lock_class=locks.DEFERRED_CLASS,
                deadline=work.deadline,
                sleep=database.sleep,
            )
            with work.connection() as connection:
                undone, after = migration.down_to(work, connection, target)
    return migration.report(found, after, undone, waited)


def _place(to: str) -> int:
    from todo_schema import revisions  # noqa: PLC0415  # imports Alembic

    revision = revisions.find(to)
    number = number_of(revision)
    known = [step.revision for step in revisions.of(Line.CONTRACT)]
    if revision not in known:
        raise UnknownRevisionError(
            f"revision {revision!r}, which is no contract revision",
            f"one of {', '.join(known)}"
            if known
            else "a package that has contract revisions; this one has none",
            "leave `to` out to apply all that there are; todo-schema upgrade applies the expand line",
        )
    return number
