"""For a service that has an Alembic history of its own."""

import sys
from typing import Any

from todo_schema.compatibility import BOOKKEEPING_TABLES, ENTITY_TABLES


def include_object(
    item: Any,
    name: str | None,
    type_: str,
    reflected: bool,
    compare_to: Any,
    *,
    schema: str | None = None,
) -> bool:
    """Keep `alembic revision --autogenerate` from touching tables of ours that it finds in the database.

    Pass it to `context.configure(include_object=todo_schema.include_object)` in the service's env.py. It leaves
    out each table that has one of our names, with its indexes and constraints, on both sides of the comparison.
    A service that imports `todo_schema.models` needs it only while a database still has what a deferred revision or a
    contract step will drop: the models declare neither `ix_users_email`, which c001 drops, nor what 003 replaces.

    Args:
        item: The schema item, as Alembic passes it; also `name`, `type_`, `reflected` and `compare_to`.
        schema: The PostgreSQL schema of our installation where it is not the default one; give it by
            `functools.partial(todo_schema.include_object, schema="todo")`. The models' own tables, which name no
            schema, are left out too; a table of the service's with one of our names is its own.

    Returns:
        False for what is ours.

    """
    table = item if type_ == "table" else getattr(item, "table", None)
    ours = getattr(table, "name", name) in ENTITY_TABLES | BOOKKEEPING_TABLES
    return not (ours and (getattr(table, "schema", None) == schema or _is_of_models(table)))


def _is_of_models(table: Any) -> bool:
    """Tell whether a table is the one that one of our models declares."""
    # Whoever has not imported them has no such table.
    base = sys.modules.get("todo_schema.model_base")
    return base is not None and any(
        mapper.local_table is table
        for mapper in base.TodoBase._sa_registry.mappers  # noqa: SLF001  # SQLModel's name
    )
