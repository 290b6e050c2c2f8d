"""`status` and `check`: how a database stands to this package, blocking and as coroutines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from todo_schema import boot_check, inspection
from todo_schema.changes import log_ahead
from todo_schema.compatibility import PACKAGE_VERSION, SCHEMA_VERSION, State
from todo_schema.connections import blocking, in_greenlet, in_loop
from todo_schema.reports import Status

if TYPE_CHECKING:
    from todo_schema.connections import Address, AsyncAddress, Database


def status(url: Address, *, schema: str | None = None, pooler: bool | None = None) -> Status:
    """Say how a database stands to this package. Needs SELECT on the bookkeeping tables alone.

    Args:
        url: As for `upgrade`.
        schema: As for `upgrade`.
        pooler: As for `upgrade`.

    Returns:
        The state, the versions, what is pending, and how the tables differ from what they should be.

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
    return _check(database, connect_retry, deep=deep)


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
    return await in_greenlet(lambda: _check(database, connect_retry, deep=deep))


def _status(database: Database) -> Status:
    from todo_schema import catalog, verdict  # noqa: PLC0415  # the boot check needs none of this
    from todo_schema.errors import UnversionedSchemaError  # noqa: PLC0415  # ditto

    with database.wire() as wire:
        found = inspection.read_alone(wire, database.schema)
        existing = catalog.read_alone(wire, found.schema)
    comparison = verdict.compare_with_version(found, existing)
    version = found.version
    if found.state is State.UNVERSIONED:
        try:
            version = verdict.recognise(found, existing)
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
        differences=comparison.differences,
        extras=comparison.extras,
        server=found.server,
    )


def _check(database: Database, connect_retry: float, *, deep: bool) -> State:
    with database.wire(connect_retry=connect_retry) as wire:
        if not deep and boot_check.is_current(wire, database.schema):
            return State.CURRENT
        from todo_schema import catalog, verdict  # noqa: PLC0415  # the boot check needs none of this

        found = inspection.read_alone(wire, database.schema)
        verdict.require_usable(found)
        if found.state is State.UNVERSIONED:
            raise verdict.unrecorded(found, catalog.read_alone(wire, found.schema))
        if deep:
            comparison = verdict.compare_with_version(found, catalog.read_alone(wire, found.schema))
            if comparison.differences:
                raise verdict.drifted(found, comparison)
    if found.state is State.AHEAD:
        log_ahead(found)
    return found.state
