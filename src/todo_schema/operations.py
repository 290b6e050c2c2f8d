"""What a revision file may call: changes of a table that others read and write meanwhile.

Each function takes the `op` that the revision was given, and may be run again after a run that died. What it locks,
and how it is carried out, is in `docs/writing-revisions.md`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from alembic.operations import Operations

from todo_schema import new_columns
from todo_schema.collecting import collector_of, transact
from todo_schema.definitions import (
    comment_statement,
    create_statistics,
    drop_function,
    drop_statistics,
    drop_trigger,
    replace_function,
    replace_trigger,
    set_comment,
)
from todo_schema.names import LONGEST_NAME, identifiers, several, short
from todo_schema.parts import Backfill, IndexBuild, IndexDrop, Validation, do_statement
from todo_schema.quoting import identifier, literal
from todo_schema.violations import Violation, violation

__all__ = [
    "Violation",
    "add_check",
    "add_column",
    "add_foreign_key",
    "add_unique",
    "backfill",
    "create_index",
    "create_statistics",
    "drop_column",
    "drop_constraint",
    "drop_function",
    "drop_index",
    "drop_not_null",
    "drop_statistics",
    "drop_trigger",
    "replace_function",
    "replace_trigger",
    "set_comment",
    "set_default",
    "set_not_null",
    "violation",
]


def create_index(
    op: Operations,
    name: str,
    table: str,
    columns: Sequence[str],
    *,
    unique: bool = False,
    where: str | None = None,
    using: str = "btree",
    include: Sequence[str] = (),
) -> None:
    """Create an index while others write: CREATE INDEX CONCURRENTLY.

    What a run that died has left invalid is dropped first, unless another session is building it at this moment;
    an index that is there already, valid and as described here, is kept. Locks the table in SHARE UPDATE EXCLUSIVE.

    Args:
        op: What the revision was given.
        name: The index.
        table: Its table.
        columns: Columns or SQL expressions: `"user_id"`, `"created_at DESC"`, `"lower(email)"`.
        unique: Whether it keeps values unique; rows that are there already must be.
        where: The condition of a partial index, as SQL.
        using: The index method.
        include: Columns that it carries beside its key.

    """
    definition = f"USING {using} ({', '.join(several(columns))})"
    definition += f" INCLUDE ({identifiers(include)})" if include else ""
    definition += f" WHERE {where}" if where else ""
    collector_of(op).add(IndexBuild(short(name), table, definition, unique))


def drop_index(op: Operations, name: str, table: str) -> None:
    """Drop an index, if it is there, while others read and write. Locks the table in SHARE UPDATE EXCLUSIVE."""
    collector_of(op).add(IndexDrop(name, table))


def add_check(op: Operations, name: str, table: str, condition: str) -> None:
    """Add a CHECK: for new rows at once, then the rows that are there are compared while others write.

    Locks the table in ACCESS EXCLUSIVE for a moment, without reading it; then in SHARE UPDATE EXCLUSIVE.

    Args:
        op: What the revision was given.
        name: The constraint, `ck_tasks_title_short`.
        table: Its table.
        condition: The condition, as SQL.

    """
    _add_not_valid(op, name, table, f"CHECK ({condition})", "c")
    collector_of(op).add(Validation(table, name))


def add_foreign_key(
    op: Operations,
    name: str,
    table: str,
    columns: Sequence[str],
    target: str,
    target_columns: Sequence[str],
    *,
    ondelete: str | None = None,
) -> None:
    """Add a foreign key: for new rows at once, then the rows that are there are compared while others write.

    Locks both tables in SHARE ROW EXCLUSIVE for a moment; then its own in SHARE UPDATE EXCLUSIVE.

    Args:
        op: What the revision was given.
        name: The constraint, `fk_tasks_user_id_users`.
        table: The table that refers.
        columns: Its columns.
        target: The table that is referred to.
        target_columns: The columns of its key.
        ondelete: What becomes of the row where the other is deleted, `CASCADE`.

    """
    rule = f"FOREIGN KEY ({identifiers(columns)}) REFERENCES {identifier(target)} ({identifiers(target_columns)})"
    rule += f" ON DELETE {ondelete}" if ondelete else ""
    _add_not_valid(op, name, table, rule, "f", _other_first(target, "SHARE ROW EXCLUSIVE"))
    collector_of(op).add(Validation(table, name, target))


def set_not_null(op: Operations, table: str, column: str) -> None:
    """Forbid NULL in a column: by a CHECK that is validated while others write, which then need not be proved again.

    Locks the table in ACCESS EXCLUSIVE for two moments, without reading it; in between in SHARE UPDATE EXCLUSIVE.
    """
    # A name of its own, short enough for any table and column; it is gone at the end.
    name = f"todo_schema_not_null_{table}_{column}".encode()[:LONGEST_NAME].decode(errors="ignore")
    _add_not_valid(op, name, table, f"CHECK ({identifier(column)} IS NOT NULL)", "c")
    collector_of(op).add(Validation(table, name))
    set_ = f"ALTER TABLE {identifier(table)} ALTER COLUMN {identifier(column)} SET NOT NULL"
    transact(
        op,
        f"set {table}.{column} not null",
        set_,
        f"ALTER TABLE {identifier(table)} DROP CONSTRAINT IF EXISTS {identifier(name)}",
        locks=table,
    )


def add_unique(op: Operations, name: str, table: str, columns: Sequence[str]) -> None:
    """Add a UNIQUE constraint: by an index that is built while others write.

    Locks the table in SHARE UPDATE EXCLUSIVE; at the end in ACCESS EXCLUSIVE for a moment.

    Args:
        op: What the revision was given.
        name: The constraint, and its index, `uq_conversations_user_id_id`.
        table: Its table.
        columns: Its columns; rows that are there already must be unique in them.

    """
    create_index(op, name, table, [identifier(column) for column in several(columns)], unique=True)
    add = f"ALTER TABLE {identifier(table)} ADD CONSTRAINT {identifier(name)} UNIQUE USING INDEX {identifier(name)}"
    there = _constraint_query(name, table, "u")
    transact(
        op,
        f"add {name} to {table}",
        do_statement(f"IF NOT EXISTS ({there}) THEN\n        {add};\n    END IF;"),
        locks=table,
    )


def add_column(op: Operations, table: str, column: sa.Column[Any]) -> None:
    """Add a column without rewriting the table. Locks it in ACCESS EXCLUSIVE for a moment.

    Where the column is there already it has to be of the same type, and NOT NULL where this one is.

    Args:
        op: What the revision was given.
        table: The table.
        column: The column; its default, if any, has one value for all the rows that are there, and is the server's.

    Raises:
        ValueError: The column would rewrite the table, or read all of it, while nobody can use it; or part of what it
            says would be lost.

    """
    about = f"add column {table}.{column.name}"
    transact(op, about, new_columns.add_statement(table, column), locks=table)
    if column.comment:
        transact(op, about, comment_statement(table, column.name, column.comment), locks=table)


def drop_column(op: Operations, table: str, column: str) -> None:
    """Drop a column; does nothing where there is none. Locks the table in ACCESS EXCLUSIVE for a moment."""
    drop = f"ALTER TABLE {identifier(table)} DROP COLUMN IF EXISTS {identifier(column)}"
    transact(op, f"drop column {table}.{column}", drop, locks=table)


def drop_constraint(op: Operations, name: str, table: str, *, target: str | None = None) -> None:
    """Drop a constraint; does nothing where there is none.

    Locks the table in ACCESS EXCLUSIVE for a moment, and of a foreign key the other table too.

    Args:
        op: What the revision was given.
        name: The constraint.
        table: Its table.
        target: The table that a foreign key refers to; needed for one, so that its two locks make no circle.

    """
    drop = f"ALTER TABLE {identifier(table)} DROP CONSTRAINT IF EXISTS {identifier(name)}"
    statements = (drop,) if target is None else (_other_first(target, "ACCESS EXCLUSIVE"), drop)
    # Each foreign key by itself: no transaction of ours locks three tables.
    transact(
        op, f"drop {name} of {table}", *statements, locks=table if target is None else f"{table}, {target}"
    )


def set_default(op: Operations, table: str, column: str, default: str | None) -> None:
    """Set the default of a column for rows to come, an SQL expression of any kind; None for none.

    Locks the table in ACCESS EXCLUSIVE for a moment.
    """
    change = f"SET DEFAULT {default}" if default is not None else "DROP DEFAULT"
    alter = f"ALTER TABLE {identifier(table)} ALTER COLUMN {identifier(column)} {change}"
    transact(op, f"set the default of {table}.{column}", alter, locks=table)


def drop_not_null(op: Operations, table: str, column: str) -> None:
    """Allow NULL in a column. Locks the table in ACCESS EXCLUSIVE for a moment."""
    drop = f"ALTER TABLE {identifier(table)} ALTER COLUMN {identifier(column)} DROP NOT NULL"
    transact(op, f"allow null in {table}.{column}", drop, locks=table)


def backfill(
    op: Operations,
    table: str,
    set_: Mapping[str, str],
    *,
    where: str,
    key: str = "id",
    batch: int = 1000,
) -> None:
    """Give values to the rows that are there already: batches by key, each a transaction of about 100 ms.

    It ends at the highest key that there was as it began, and goes on from the last batch where a run died. Rows that
    others write meanwhile are theirs: give the column a default, or add a trigger, before. Locks rows, never the table.

    Args:
        op: What the revision was given.
        table: The table.
        set_: The SQL expression that each column is set to, `{"done_at": "updated_at"}`.
        where: Which rows, as SQL; those that have been done should not match any more.
        key: The column that leads through the table; unique, never null, and with an index: its primary key.
        batch: How many keys the first batch takes; those after it are sized by time.

    """
    collector_of(op).add(Backfill(table, dict(set_), where, key, batch))


def _constraint_query(name: str, table: str, kind: str) -> str:
    return f"""SELECT FROM pg_constraint WHERE conname = {literal(name)} AND contype = '{kind}'
           AND conrelid = {literal(identifier(table))}::regclass"""


def _other_first(target: str, mode: str) -> str:
    """Return the statement that locks the table that a foreign key refers to before its own, every other time.

    Some services write to the one first, others to the other, and hold its lock until they have that of the second.
    Whichever order is theirs: of a few tries one goes the same way.
    """
    lock = f"LOCK TABLE {identifier(target)} IN {mode} MODE"
    return do_statement(f"IF random() < 0.5 THEN\n        {lock};\n    END IF;")


def _add_not_valid(op: Operations, name: str, table: str, rule: str, kind: str, *before: str) -> None:
    # One of that name may be there from a run whose rule was another: it goes, which costs no more than adding does.
    short(name)
    alter = f"ALTER TABLE {identifier(table)}"
    dropped = f"""IF EXISTS ({_constraint_query(name, table, kind)}) THEN
        {alter} DROP CONSTRAINT {identifier(name)};
    END IF;"""
    transact(
        op,
        f"add {name} to {table}, not validated",
        *before,
        do_statement(dropped),
        f"{alter} ADD CONSTRAINT {identifier(name)} {rule} NOT VALID",
        locks=table,
    )
