"""`status`, `clients` and `check`: how a database stands to this package, blocking and as coroutines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from todo_schema import boot_check, inspection
from todo_schema.changes import log_ahead
from todo_schema.compatibility import PACKAGE_VERSION, SCHEMA_VERSION, Line, State, revision_at
from todo_schema.connections import blocking, in_greenlet, in_loop
from todo_schema.standing import Clients, Status
from todo_schema.wire import transaction

if TYPE_CHECKING:
    from todo_schema.connections import Address, AsyncAddress, Database
    from todo_schema.drivers import ClosableWire
    from todo_schema.inspection import Found
    from todo_schema.reports import DeferredRevision


def status(url: Address, *, schema: str | None = None, pooler: bool | None = None) -> Status:
    """Say how a database stands to this package: whether it may use it, and what its contract steps wait for.

    Needs SELECT on the bookkeeping tables alone.

    Args:
        url: As for `upgrade`.
        schema: As for `upgrade`.
        pooler: As for `upgrade`.

    Returns:
        The state, the versions, what is pending, who is connected, and how the tables differ from what they should be.

    Raises:
        ForeignVersionError: The version table holds something of somebody else's.
        InsufficientPrivilegeError: The role may not read the version.
        TodoSchemaError: The database could not be reached; see `upgrade`.

    """
    database = blocking(url, schema=schema, pooler=pooler)
    del url
    return _status(database)


async def status_async(url: AsyncAddress, *, schema: str | None = None, pooler: bool | None = None) -> Status:
    """Do what `status` does in a running event loop."""
    database = in_loop(url, schema=schema, pooler=pooler)
    del url
    return await in_greenlet(lambda: _status(database))


def clients(url: Address, *, schema: str | None = None, pooler: bool | None = None) -> Clients:
    """Say who is connected to an installation, at which schema version, and what the next contract steps wait for.

    Every connection of a `session_factory` is seen by the lease that it holds. Clients of a pooler hold none; they
    are seen by the names of the pooler's connections, as far as it keeps these.

    Args:
        url: As for `upgrade`.
        schema: As for `upgrade`.
        pooler: Whether a pooler in transaction mode stands in between; None finds out.

    Returns:
        The services, and the contract revisions that this package knows and the database has not had.

    Raises:
        TodoSchemaError: Whatever `status` raises.

    """
    database = blocking(url, schema=schema, pooler=pooler)
    del url
    return _clients(database)


async def clients_async(
    url: AsyncAddress, *, schema: str | None = None, pooler: bool | None = None
) -> Clients:
    """Do what `clients` does in a running event loop."""
    database = in_loop(url, schema=schema, pooler=pooler)
    del url
    return await in_greenlet(lambda: _clients(database))


def check(
    url: Address,
    *,
    schema: str | None = None,
    deep: bool = False,
    connect_retry: float = 0.0,
    pooler: bool | None = None,
) -> State:
    """Raise unless this package can work with the database as it is now. Changes nothing.

    Args:
        url: As for `upgrade`.
        schema: As for `upgrade`.
        deep: Compare the tables themselves too. Without it a current database costs one statement.
        connect_retry: As for `upgrade`.
        pooler: As for `upgrade`.

    Returns:
        `current`, or `ahead`: newer and compatible.

    Raises:
        SchemaOutdatedError: It is empty or older than this package.
        SchemaTooNewError: It has dropped what this package needs.
        UnversionedSchemaError: It has tables with our names and no version of ours.
        SchemaDriftError: Its tables are not what its version says.
        TodoSchemaError: Whatever `status` raises.

    """
    database = blocking(url, schema=schema, pooler=pooler)
    del url
    return check_database(database, connect_retry, deep=deep)


async def check_async(
    url: AsyncAddress,
    *,
    schema: str | None = None,
    deep: bool = False,
    connect_retry: float = 0.0,
    pooler: bool | None = None,
) -> State:
    """Do what `check` does in a running event loop."""
    database = in_loop(url, schema=schema, pooler=pooler)
    del url
    return await in_greenlet(lambda: check_database(database, connect_retry, deep=deep))


def _status(database: Database) -> Status:
    from todo_schema import catalog, locks, verdict  # noqa: PLC0415  # the boot check needs none of this
    from todo_schema.errors import UnversionedSchemaError  # noqa: PLC0415  # ditto

    with database.wire() as wire:
        found = inspection.read_alone(wire, database.schema)
        existing = catalog.read_alone(wire, found.schema)
        who = _who(database, wire, found)
        at_work = locks.holders(wire, found.schema, locks.DEFERRED_CLASS) if found.deferred else []
    comparison = verdict.compare_with_version(found, existing, _needed)
    version = found.version
    if found.state is State.UNVERSIONED:
        try:
            version, _ = verdict.recognise(found, existing)
        except UnversionedSchemaError as error:
            comparison = catalog.Comparison(error.differences, ())
    return Status(
        state=found.state,
        schema=found.schema,
        database_version=found.version,
        package_schema_version=SCHEMA_VERSION,
        package_version=PACKAGE_VERSION,
        floor=found.floor,
        pending=tuple(f"{ordinal:03d}" for ordinal in range((version or 0) + 1, SCHEMA_VERSION + 1)),
        usable=verdict.is_usable(found),
        contract=revision_at(Line.CONTRACT, found.contract) if found.contract else None,
        contract_pending=who.contract,
        clients=who.clients,
        leases=who.leases,
        differences=comparison.differences,
        extras=comparison.extras,
        server=found.server,
        deferred=_deferred(found, locks.named(at_work) if at_work else None),
    )


def _deferred(found: Found, by: str | None) -> tuple[DeferredRevision, ...]:
    if not found.deferred:
        return ()
    from todo_schema import finishing  # noqa: PLC0415  # imports Alembic

    return finishing.described(found, by)


def _clients(database: Database) -> Clients:
    with database.wire() as wire:
        return _who(database, wire, inspection.read_alone(wire, database.schema))


def _who(database: Database, wire: ClosableWire, found: Found) -> Clients:
    from todo_schema import catalog, leaseholders  # noqa: PLC0415  # the boot check needs none of this

    with transaction(wire):
        connected = leaseholders.read(wire, found.schema)
    due = [step for step in catalog.contracts() if step.number > found.contract_whole]
    pooled = database.is_pooled(wire)
    return Clients(
        schema=found.schema,
        floor=found.floor,
        clients=connected,
        contract=leaseholders.pending(found, due, connected, pooled=pooled),
        leases=not pooled,
    )


def _needed() -> frozenset[str]:
    from todo_schema import models  # noqa: PLC0415  # imports SQLModel

    tables = (models.User, models.Conversation, models.Message, models.Task)
    bookkeeping = (models.SchemaVersion, models.SchemaHistory)
    names = set()
    for entity in (*tables, *bookkeeping):
        table = entity.__table__  # type: ignore[union-attr]  # SQLModel hides it from the type checker
        names |= {f"table {table.name}", *(f"column {table.name}.{column.name}" for column in table.columns)}
    return frozenset(names)


def check_database(database: Database, connect_retry: float = 0.0, *, deep: bool = False) -> State:
    """Do what `check` does; the parameters are its."""
    with database.wire(connect_retry=connect_retry) as wire:
        if not deep and boot_check.is_current(wire, database.schema):
            return State.CURRENT
        from todo_schema import catalog, verdict  # noqa: PLC0415  # the boot check needs none of this

        found = inspection.read_alone(wire, database.schema)
        verdict.require_usable(found)
        if found.state is State.UNVERSIONED:
            raise verdict.unrecorded(found, catalog.read_alone(wire, found.schema))
        if deep:
            comparison = verdict.compare_with_version(found, catalog.read_alone(wire, found.schema), _needed)
            if comparison.differences:
                raise verdict.drifted(found, comparison)
    if found.state is State.AHEAD:
        log_ahead(found)
    return found.state
