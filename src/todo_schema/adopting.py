"""`adopt`: tables that somebody else made become ours, blocking and as a coroutine."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from todo_schema import inspection
from todo_schema.adoptions import Adoption
from todo_schema.changes import DEFAULT_TIMEOUT, never, require_writable
from todo_schema.compatibility import State
from todo_schema.connections import blocking, in_greenlet, in_loop
from todo_schema.diagnosis import missing_right
from todo_schema.reports import ignore

if TYPE_CHECKING:
    from todo_schema.connections import Address, AsyncAddress, Database
    from todo_schema.reports import Listener


def adopt(
    url: Address,
    *,
    apply: bool = False,
    widen_keys: bool = False,
    schema: str | None = None,
    timeout: float = DEFAULT_TIMEOUT,
    pooler: bool | None = None,
    progress: Listener | None = None,
) -> Adoption:
    """Recognise tables that were made without this package, and make them ours where that can be done.

    Tables that are exactly those of a schema version are recorded as such. Where changes that stall nobody would make
    them so, the changes are told, and made when `apply` is true: one after the other, each whole or not at all, so that
    a call that died is gone on with by the next. Rows stay as they are. Afterwards `upgrade` does the rest.

    What a change cannot do without is said in `Adoption.notes`: times without a zone are taken for UTC; and what has a
    statement prepared that reads a column whose type becomes another gets one error, and then prepares it anew.

    Args:
        url: As for `upgrade`.
        apply: Make the changes. False (the default) says which they are.
        widen_keys: Make integer keys bigint too, which rewrites their table while nobody can use it.
        schema: As for `upgrade`.
        timeout: How long to wait for other processes and for locks, in seconds.
        pooler: As for `upgrade`.
        progress: As for `upgrade`.

    Returns:
        What was found, and what would be changed, or was.

    Raises:
        SchemaOutdatedError: There are no tables to adopt.
        UnversionedSchemaError: The tables cannot be made ours. `differences` lists all that is in the way; nothing was
            changed.
        PreflightError: Rows are there that a change would fail on. Nothing was changed.
        SchemaTooNewError: The database is one of ours, and has dropped what this package needs.
        TodoSchemaError: Whatever else `upgrade` raises.

    """
    database = blocking(url, schema=schema, pooler=pooler)
    del url
    return _adopt(database, timeout, progress or ignore, apply=apply, widen_keys=widen_keys)


async def adopt_async(
    url: AsyncAddress,
    *,
    apply: bool = False,
    widen_keys: bool = False,
    schema: str | None = None,
    timeout: float = DEFAULT_TIMEOUT,  # noqa: ASYNC109  # bounds a wait for locks
    pooler: bool | None = None,
    progress: Listener | None = None,
) -> Adoption:
    """Do what `adopt` does in a running event loop."""
    database = in_loop(url, schema=schema, pooler=pooler)
    del url
    return await in_greenlet(
        lambda: _adopt(database, timeout, progress or ignore, apply=apply, widen_keys=widen_keys)
    )


def _adopt(
    database: Database, timeout: float, progress: Listener, *, apply: bool, widen_keys: bool
) -> Adoption:
    from todo_schema import adoption, migration, verdict  # noqa: PLC0415  # imports Alembic
    from todo_schema.work import Work  # noqa: PLC0415  # ditto

    with database.wire() as wire:
        found = inspection.read_alone(wire, database.schema)
        verdict.refuse(found)
        if found.state is State.EMPTY:
            raise verdict.outdated(found)
        if found.version is not None:
            return Adoption("recorded", found.schema, found.version)
        work = Work(database, found.schema, timeout, time.monotonic() + timeout, progress)
        with work.connection() as connection:
            with work.reading(connection, read_only=True) as reading:
                case = adoption.look(reading, found, widen_keys=widen_keys)
            if case.changes and not apply:
                return case.planned(
                    found,
                    adoption.violations(work, connection, found, case),
                    adoption.later_violations(work, connection, found, case),
                )
        require_writable(found)
        if case.changes and found.ownership:
            raise missing_right(found, "some of the tables are somebody else's")
        with migration.guarded(wire, found, database, timeout=timeout, is_done=never, progress=progress) as (
            guarded,
            waited,
        ):
            assert guarded is not None  # noqa: S101  # it is never done before it has begun
            with guarded.connection() as connection:
                done, after = adoption.carry_out(guarded, connection, widen_keys=widen_keys)
    if after.version is None:
        raise verdict.outdated(after)
    made = Adoption("recorded", after.schema, after.version, waited_seconds=waited)
    if done is None:
        return made
    return replace(
        made,
        answer="adopted" if done.changes else "recorded",
        changes=done.described,
        kept=done.kept,
        notes=done.notes,
        tables=done.tables,
    )
