"""What a revision of a service asks before it refers to our tables: are they new enough?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from todo_schema.compatibility import (
    HISTORY_TABLE,
    PACKAGE_VERSION,
    SCHEMA_VERSION,
    VERSION_TABLE,
    Line,
    revision_at,
)
from todo_schema.driver_errors import IN_FAILED_TRANSACTION, sqlstate
from todo_schema.drivers import TransactionWire
from todo_schema.errors import InvalidUrlError, SchemaOutdatedError, TodoSchemaError
from todo_schema.inspection import Found, read, schema_in
from todo_schema.parts import do_statement
from todo_schema.quoting import identifier, literal, option
from todo_schema.unfinished import deferred_query

if TYPE_CHECKING:
    from sqlalchemy import Connection


def require_version(connection: Connection, n: int, *, schema: str | None = None) -> None:
    """Raise unless the database has our schema at version n or newer: for a revision of a service's own history.

        def upgrade() -> None:
            require_version(op.get_bind(), 9)
            op.create_table("accounts", sa.Column("user_id", sa.Uuid, sa.ForeignKey("users.id")))

    It asks on that very connection, within the transaction that is open, which it neither ends nor disturbs; where none
    is open it leaves none open. Where n itself is deferred it counts as missing until it is finished; what is deferred
    below it is not asked for, so that a replica need not wait for one that is at it.

    Offline (`alembic upgrade --sql`), where there is no database to ask, it writes the same question into the script,
    which then fails at this place.

    Args:
        connection: `op.get_bind()`; or what `AsyncConnection.run_sync` calls with.
        n: The schema version that is needed, 1 or more: `SCHEMA_VERSION` of the package that the revision was written
            with.
        schema: The PostgreSQL schema of our installation where it is not the one that the search_path finds.

    Raises:
        ValueError: n is no version.
        TypeError: What was given is no Connection, or it is None and Alembic is writing no script.
        SchemaOutdatedError: Our tables are older, or not there: call `upgrade` before the service's migrations.
        InsufficientPrivilegeError: The role may not read our version and history.
        TodoSchemaError: A statement of the transaction has failed before, so that the database answers nothing.

    """
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise ValueError(
            f"found: version {n!r}\n"
            "needed: an int from 1, a schema version of todo_schema\n"
            "cure: todo_schema.SCHEMA_VERSION is that of the package that is installed"
        )
    from sqlalchemy.engine.mock import MockConnection  # noqa: PLC0415  # importing todo_schema costs nothing

    # What Alembic gives to a revision as it writes a script; for a type checker it can be neither.
    offline: tuple[type, ...] = (type(None), MockConnection)
    if isinstance(connection, offline):
        _write(_question(n, schema))
        return
    found = _read(connection, schema)
    if (found.version or 0) < n or n in found.deferred:
        raise SchemaOutdatedError(_described(found, n), _needed(n), _cure(n, found.option))


def _read(connection: Connection, schema: str | None) -> Found:
    from sqlalchemy import Connection  # noqa: PLC0415  # importing todo_schema costs nothing

    if not isinstance(connection, Connection):
        # Types say that this cannot be; callers without a type checker do it.
        raise TypeError(
            f"found: a connection of type {type(connection).__name__}\n"
            "needed: a Connection of SQLAlchemy\n"
            "cure: op.get_bind(); session.connection(); await connection.run_sync(lambda c: require_version(c, 9))"
        )
    dialect = connection.dialect
    if dialect.name != "postgresql":
        raise InvalidUrlError(
            f"a connection to {dialect.name}",
            "PostgreSQL, which has the tables of todo_schema",
            "let the service's migrations run on the database that todo_schema.upgrade(url) was called for",
        )
    if schema is None:
        # As `upgrade(connection)`: the engine of a session_factory(schema=...) says in this way where its tables are.
        schema = schema_in(connection.get_execution_options())
    if connection.in_transaction():
        return _asked(connection, schema)
    with connection.begin():
        return _asked(connection, schema)


def _asked(connection: Connection, schema: str | None) -> Found:
    try:
        return read(TransactionWire(connection), schema)
    except Exception as error:
        if sqlstate(error) != IN_FAILED_TRANSACTION:
            raise
        raise TodoSchemaError(
            "a transaction in which an earlier statement failed, so that the database answers no question",
            "a transaction that is whole",
            "look for the first error, and roll back: statements that may fail belong into connection.begin_nested()",
        ) from error


def _described(found: Found, n: int) -> str:
    at = f"in database {found.database}, schema {found.schema}"
    if found.version is None:
        return f"{'no version' if found.entities else 'none'} of the tables of todo_schema {at}"
    revision = revision_at(Line.EXPAND, n)
    deferred = f", of which {revision} is deferred and not finished" if n in found.deferred else ""
    return f"schema {found.version} of todo_schema {at}{deferred}"


def _needed(n: int) -> str:
    return f"schema {n} or newer of todo_schema, whole, before this migration"


def _cure(n: int, named: str) -> str:
    command = f"todo-schema upgrade --url URL{named}"
    if n > SCHEMA_VERSION:
        installed = f"todo-schema {PACKAGE_VERSION} of schema {SCHEMA_VERSION} is installed"
        return f'{installed}: pip install --upgrade "todo-schema", and then: {command}'
    return f"{command}, or todo_schema.upgrade(url) at each boot, before the service's own migrations"


def _question(n: int, schema: str | None) -> str:
    """Return the statement that fails where `require_version` would raise."""
    home = f"{identifier(schema)}." if schema is not None else ""
    there = " AND ".join(
        f"to_regclass({literal(home + table)}) IS NOT NULL" for table in (VERSION_TABLE, HISTORY_TABLE)
    )
    # As a number: 1000 is above 999. The contract line's row says nothing of the version.
    number = "CASE WHEN version_num ~ '^[0-9]{1,9}$' THEN version_num::int END"
    reached = f"EXISTS (SELECT FROM {home}{VERSION_TABLE} WHERE {number} >= {n})"
    finished = f"NOT EXISTS ({deferred_query(schema)} AND begun.ordinal = {n})"
    named = "" if schema is None else option(schema)
    message = (
        f"found: todo_schema older than schema {n}, or deferred in part, or absent; needed: {_needed(n)}"
    )
    return do_statement(
        f"""IF {there} THEN
        IF {reached} AND {finished} THEN
            RETURN;
        END IF;
    END IF;
    RAISE EXCEPTION USING MESSAGE = {literal(message)}, HINT = {literal(_cure(n, named))};"""
    )


def _write(statement: str) -> None:
    """Add a statement to the script that Alembic is writing."""
    # The revision that called this has imported Alembic.
    from alembic import op  # noqa: PLC0415  # importing todo_schema costs nothing

    try:
        context: Any = op.get_context()
        is_script = context.as_sql
    except (AttributeError, NameError):  # Alembic is not running any more, or never was
        is_script = False
    if not is_script:
        raise TypeError(
            "found: no connection, None\nneeded: a Connection of SQLAlchemy\n"
            "cure: op.get_bind() in a revision that `alembic upgrade` runs"
        )
    # As it is: through op.execute a colon or a per cent sign of a name would be taken for a parameter.
    context.impl.static_output(f"{statement};")
