"""`upgrade` and `stamp`: the calls that only add, or only record, blocking and as coroutines."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from todo_schema import boot_check, inspection
from todo_schema.compatibility import BOOKKEEPING_TABLES, SCHEMA_VERSION, State
from todo_schema.connections import blocking, in_greenlet, in_loop
from todo_schema.diagnosis import missing_right, read_only
from todo_schema.reports import ChangeReport, ignore

if TYPE_CHECKING:
    from typing import Literal

    from todo_schema.connections import Address, AsyncAddress, Database
    from todo_schema.drivers import ClosableWire
    from todo_schema.inspection import Found
    from todo_schema.reports import AppliedStep, Listener

    Deferred = Literal["run", "skip", "only"]

_log = logging.getLogger("todo_schema")

DEFAULT_TIMEOUT = 300.0


def upgrade(
    url: Address,
    *,
    deferred: Deferred = "run",
    schema: str | None = None,
    timeout: float = DEFAULT_TIMEOUT,
    connect_retry: float = 0.0,
    pooler: bool | None = None,
    progress: Listener | None = None,
) -> ChangeReport:
    """Bring a database to the schema that this package was written for. Made to be called at every boot.

    Safe to call from any number of processes at once: one migrates, the others wait for it. Where the
    database is current already it costs one connection and one statement. A database that is newer, and
    still has all that this package needs, is left as it is.

    Args:
        url: A PostgreSQL URL, as text or as a SQLAlchemy `URL`; or an `Engine` on psycopg; or a `Connection`, whose
            engine is used. Connections are made as the engine makes them, but none is taken from its pool.
        deferred: What becomes of revisions that the package only gains from, such as an index on a large table. `"run"`
            (the default) finishes them after all others, also those that an earlier call has left, unless another
            process is at it; the version has moved past them by then, so that nobody waits for this. What goes wrong
            with one is told in the log. `"skip"` leaves them for later; `"only"` does nothing else, waits for another
            process that is at it, and raises what goes wrong.
        schema: The PostgreSQL schema of the installation; made where it is missing. None (the default) is the
            one that the connection's search_path finds.
        timeout: How long to wait for other processes and for locks, in seconds.
        connect_retry: For how many seconds to try again where the server cannot be reached yet.
        pooler: Whether a pooler in transaction mode (PgBouncer) stands in between; None recognises the usual
            host names.
        progress: Called with a `Progress` whenever something happens that a person would wait for.

    Returns:
        What was found, what was done, and how long the call waited.

    Raises:
        InvalidUrlError: The URL cannot be used.
        InvalidNameError: PostgreSQL cannot have a schema of that name.
        DatabaseUnreachableError: Nobody answered in time.
        DatabaseRefusedError: The server refused the credentials, the database or TLS.
        SchemaTooNewError: The database has dropped what this package needs. Nothing was touched.
        UnversionedSchemaError: Tables with our names exist that are not ours. Nothing was touched.
        ForeignVersionError: The version table holds something of somebody else's. Nothing was touched.
        SchemaDriftError: A table is missing that the recorded version has. Nothing was touched.
        InsufficientPrivilegeError: The role may not migrate.
        ReadOnlyDatabaseError: The server or the role is read-only.
        MigrationLockedError: Somebody else held a lock for the whole timeout. What was done before stays.
        MigrationFailedError: A revision failed and was rolled back; what was done before it stays.
        PreflightError: Rows are there that a revision would fail on; it has changed nothing.
        SchemaOutdatedError: The database is older than this package, and deferred revisions alone were asked for.
        ValueError: `deferred` is none of the three.

    """
    database = blocking(url, schema=schema, pooler=pooler)
    del url  # no traceback that passes through here shows its password
    return upgrade_database(
        database, deferred=deferred, timeout=timeout, connect_retry=connect_retry, progress=progress
    )


async def upgrade_async(
    url: AsyncAddress,
    *,
    deferred: Deferred = "run",
    schema: str | None = None,
    timeout: float = DEFAULT_TIMEOUT,  # noqa: ASYNC109  # bounds a wait for locks; asyncio.timeout works as well
    connect_retry: float = 0.0,
    pooler: bool | None = None,
    progress: Listener | None = None,
) -> ChangeReport:
    """Do what `upgrade` does in a running event loop, on asyncpg or on the `AsyncEngine` given.

    Cancelling it rolls back what is under way, which the next call does again, and closes its connections.
    """
    database = in_loop(url, schema=schema, pooler=pooler)
    del url
    return await in_greenlet(
        lambda: upgrade_database(
            database, deferred=deferred, timeout=timeout, connect_retry=connect_retry, progress=progress
        )
    )


def stamp(
    url: Address,
    revision: str | int,
    *,
    schema: str | None = None,
    timeout: float = DEFAULT_TIMEOUT,
    pooler: bool | None = None,
) -> ChangeReport:
    """Record that the database is at a revision, without running it: for repairs by hand.

    A contract revision raises the floor, and is refused while a service below it is connected.

    Args:
        url: As for `upgrade`.
        revision: `1` or `"001"`; `"base"` forgets the version. `"c001"` records the contract line, and its floor;
            `"c000"` forgets that.
        schema: As for `upgrade`.
        timeout: As for `upgrade`.
        pooler: As for `upgrade`.

    Returns:
        What was recorded before, and what is now.

    Raises:
        UnknownRevisionError: This package has no such revision.
        SchemaOutdatedError: There are no tables yet. Nothing was recorded.
        ContractBlockedError: Services older than the floor of a contract revision are connected.
        SchemaDriftError: A table or a column of that revision is missing. Nothing was recorded.
        TodoSchemaError: Whatever `upgrade` raises.

    """
    database = blocking(url, schema=schema, pooler=pooler)
    del url
    return _stamp(database, revision, timeout)


async def stamp_async(
    url: AsyncAddress,
    revision: str | int,
    *,
    schema: str | None = None,
    timeout: float = DEFAULT_TIMEOUT,  # noqa: ASYNC109  # bounds a wait for locks
    pooler: bool | None = None,
) -> ChangeReport:
    """Do what `stamp` does in a running event loop."""
    database = in_loop(url, schema=schema, pooler=pooler)
    del url
    return await in_greenlet(lambda: _stamp(database, revision, timeout))


def upgrade_database(
    database: Database,
    *,
    deferred: Deferred,
    timeout: float,
    connect_retry: float,
    progress: Listener | None,
) -> ChangeReport:
    """Do what `upgrade` does to a database that it has taken."""
    if deferred not in ("run", "skip", "only"):
        raise ValueError(f'found: deferred={deferred!r}\nneeded: "run", "skip" or "only"')
    with database.wire(connect_retry=connect_retry) as wire:
        # Whoever asks for deferred revisions alone is told where it may not see them.
        if deferred != "only" and boot_check.is_current(wire, database.schema, finished=deferred == "run"):
            return ChangeReport(database.schema, State.CURRENT, State.CURRENT, SCHEMA_VERSION, SCHEMA_VERSION)
        found = inspection.read_alone(wire, database.schema)
        from todo_schema import verdict  # noqa: PLC0415  # an up-to-date boot needs none of this

        verdict.refuse(found)
        if found.state is State.AHEAD:
            log_ahead(found)
            same = found.state, found.state, found.version, found.version, found.floor, found.floor
            return ChangeReport(found.schema, *same)
        from todo_schema import catalog, migration  # noqa: PLC0415  # imports Alembic

        if deferred == "only":
            verdict.require_usable(found)
            if found.state is State.UNVERSIONED:
                raise verdict.unrecorded(found, catalog.read_alone(wire, found.schema))
        if found.state is State.CURRENT:
            report, after = migration.report(found, found, [], 0.0), found
        else:
            report, after = _migrate(wire, found, database, timeout, progress or ignore)
        if not after.deferred:
            return report
        return _with_deferred(report, wire, after, database, deferred, timeout, progress or ignore)


def _migrate(
    wire: ClosableWire, found: Found, database: Database, timeout: float, progress: Listener
) -> tuple[ChangeReport, Found]:
    from todo_schema import migration  # noqa: PLC0415  # imports Alembic

    require_writable(found)

    def is_done() -> bool:
        return boot_check.is_current(wire, found.schema)

    with migration.guarded(wire, found, database, timeout=timeout, is_done=is_done, progress=progress) as (
        work,
        waited,
    ):
        if work is None:
            after = inspection.read_alone(wire, found.schema)
            return migration.report(found, after, [], waited), after
        with work.connection() as connection:
            applied, adopted, after = migration.to_head(work, connection, wire)
    return migration.report(found, after, applied, waited, adopted=adopted), after


def _with_deferred(
    report: ChangeReport,
    wire: ClosableWire,
    found: Found,
    database: Database,
    deferred: Deferred,
    timeout: float,
    progress: Listener,
) -> ChangeReport:
    """Do what is to be done about deferred revisions, and say which are left."""
    from todo_schema import finishing  # noqa: PLC0415  # imports Alembic

    applied: list[AppliedStep] = []
    if deferred == "only":
        require_writable(found)
    if deferred == "only" or (deferred == "run" and finishing.may_finish(found)):
        applied, found = finishing.finish_all(
            wire, found, database, timeout=timeout, progress=progress, patient=deferred == "only"
        )
    left = finishing.described(found)
    return replace(report, applied=(*report.applied, *applied), deferred=left)


def _stamp(database: Database, revision: str | int, timeout: float) -> ChangeReport:
    from todo_schema import migration, revisions  # noqa: PLC0415  # imports Alembic

    target = revisions.find(revision)
    with database.wire() as wire:
        found = inspection.read_alone(wire, database.schema)
        require_writable(found)
        with migration.guarded(wire, found, database, timeout=timeout, is_done=never, progress=ignore) as (
            work,
            waited,
        ):
            assert work is not None  # noqa: S101  # it is never done before it has begun
            with work.connection() as connection:
                after = migration.record_as(work, connection, target)
    return migration.report(found, after, [], waited)


def log_ahead(found: Found) -> None:
    """Say once for each call that the database is newer, which is normal."""
    _log.info(
        "database %s is at schema %s, newer than schema %d of this package and compatible with it",
        found.database,
        found.version,
        SCHEMA_VERSION,
    )


def require_writable(found: Found) -> None:
    """Raise where this role cannot change the tables: ReadOnlyDatabaseError, InsufficientPrivilegeError."""
    if found.read_only:
        raise read_only(found)
    # Where our tables exist already their owner may migrate them without the right to create others.
    if not found.may_create and not found.tables >= BOOKKEEPING_TABLES:
        raise missing_right(found, "it may not create tables")


def never() -> bool:
    """Stand in for a question whose answer is no."""
    return False
