"""The boot of an up-to-date replica: one statement, which needs the right to SELECT alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from todo_schema.compatibility import ENTITY_TABLES, HEAD, VERSION_TABLE
from todo_schema.driver_errors import (
    INSUFFICIENT_PRIVILEGE,
    INVALID_SCHEMA_NAME,
    LOCK_NOT_AVAILABLE,
    QUERY_CANCELED,
    UNDEFINED_COLUMN,
    UNDEFINED_TABLE,
    WRONG_OBJECT_TYPE,
    sqlstate,
)
from todo_schema.quoting import identifier, literal

if TYPE_CHECKING:
    from todo_schema.wire import Wire

_BOOT_CHECK_LIMIT = 5.0  # seconds

_UNANSWERED = {
    INSUFFICIENT_PRIVILEGE,
    INVALID_SCHEMA_NAME,
    LOCK_NOT_AVAILABLE,
    QUERY_CANCELED,
    UNDEFINED_COLUMN,
    UNDEFINED_TABLE,
    WRONG_OBJECT_TYPE,
}


def current_query(schema: str | None) -> str:
    """Return the boot check: its command tag says one row where the database is exactly at our head."""
    home = f"{identifier(schema)}." if schema is not None else ""
    # Every row counts but the contract line's: a second one is somebody else's. The cast costs nothing, and keeps
    # a number 1 from passing for our 001.
    head = f"array_agg(version_num::text) FILTER (WHERE version_num::text !~ '^c[0-9]+$') = array['{HEAD}']"
    # A version row without the tables is not ours, or not any more. Looking for them needs no right to read them.
    tables = ", ".join(f"to_regclass({literal(home + table)})" for table in sorted(ENTITY_TABLES))
    return f"SELECT FROM {home}{VERSION_TABLE} HAVING {head} AND num_nulls({tables}) = 0"


def is_current(wire: Wire, schema: str | None) -> bool:
    """Tell whether the database is exactly at our head: one statement, which needs SELECT alone.

    Whatever keeps it from being answered, from a missing table to a missing right, means "not known to be",
    and is explained by whoever looks closer.
    """
    try:
        # Where somebody holds the table for themselves, or the server hangs, a boot must not hang with them. The
        # limit is the client's: a lock_timeout would be a second statement, or a startup parameter.
        return wire.run(current_query(schema), limit=_BOOT_CHECK_LIMIT) == 1
    except TimeoutError:
        return False
    except Exception as error:
        if sqlstate(error) in _UNANSWERED:
            return False
        raise
