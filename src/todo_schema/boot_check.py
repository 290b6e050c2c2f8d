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
from todo_schema.unfinished import deferred_query

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


def current_query(schema: str | None, *, finished: bool = False) -> str:
    """Return the boot check: its command tag says one row where the database is exactly at our head.

    Args:
        schema: The schema of the installation; None leaves it to the search_path.
        finished: Whether no revision may be deferred either; asks for the right to read the history too.

    """
    home = f"{identifier(schema)}." if schema is not None else ""
    # Every row counts but the contract line's: a second one is somebody else's. The cast costs nothing, and keeps
    # a number 1 from passing for our 001.
    head = f"array_agg(version_num::text) FILTER (WHERE version_num::text !~ '^c[0-9]+$') = array['{HEAD}']"
    # A version row without the tables is not ours, or not any more. Looking for them needs no right to read them.
    tables = ", ".join(f"to_regclass({literal(home + table)})" for table in sorted(ENTITY_TABLES))
    nothing_left = f" AND NOT EXISTS ({deferred_query(schema)})" if finished else ""
    return f"SELECT FROM {home}{VERSION_TABLE} HAVING {head} AND num_nulls({tables}) = 0{nothing_left}"


def is_current(wire: Wire, schema: str | None, *, finished: bool = False) -> bool:
    """Tell whether the database is exactly at our head: one statement, which needs SELECT alone.

    With `finished` it tells also whether no revision is deferred; who may not read that is asked to see to nothing.

    Whatever keeps it from being answered, from a missing table to a missing right, means "not known to be",
    and is explained by whoever looks closer.
    """
    try:
        # Where somebody holds the table for themselves, or the server hangs, a boot must not hang with them. The
        # limit is the client's: a lock_timeout would be a second statement, or a startup parameter.
        return wire.run(current_query(schema, finished=finished), limit=_BOOT_CHECK_LIMIT) == 1
    except TimeoutError:
        return False
    except Exception as error:
        if finished and sqlstate(error) == INSUFFICIENT_PRIVILEGE:
            return is_current(wire, schema)
        if sqlstate(error) in _UNANSWERED:
            return False
        raise
