"""Columns that are added without a rewrite of their table: which may be, and the statement that adds one."""

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from todo_schema.lock_classes import effect_of
from todo_schema.parts import do_statement
from todo_schema.quoting import identifier, literal

_LIKE = "todo_schema_like"
_THE_SAME = "TDS02"


def add_statement(table: str, column: sa.Column[Any]) -> str:
    """Return the statement that adds a column, or compares it where one of that name is there already.

    Raises:
        ValueError: The column would rewrite the table, or read all of it; or part of what it says would be lost.

    """
    described = f"{identifier(column.name)} {column.type.compile(dialect=_dialect())}"
    default = _default_of(column)
    whole = described + (f" DEFAULT {default}" if default is not None else "")
    whole += "" if column.nullable else " NOT NULL"
    add = f"ALTER TABLE {identifier(table)} ADD COLUMN {whole}"
    for problem in _problems(table, column, default, add):
        raise ValueError(f"add_column {table}.{column.name}: {problem}")
    of_table = f"attrelid = {literal(identifier(table))}::regclass"
    there = f"{of_table} AND attname = {literal(column.name)} AND NOT attisdropped"
    like = f"attrelid = {literal(_LIKE)}::regclass AND attnum = 1"
    other = (
        f"found: another column {column.name} in table {table}; needed: {whole}; "
        f"cure: see whose it is, rename or drop it, and call again"
    )
    fact = "ROW(atttypid, atttypmod, attcollation)"
    found, wanted = (f"(SELECT {fact} FROM pg_attribute WHERE {which})" for which in (there, like))
    nullable = f"EXISTS (SELECT FROM pg_attribute WHERE {there} AND NOT attnotnull)"
    # PostgreSQL itself has to say which type is meant: that of a column in a table that is taken back at once.
    return do_statement(f"""IF EXISTS (SELECT FROM pg_attribute WHERE {there}) THEN
        BEGIN
            CREATE TABLE {_LIKE} ({described});
            IF {found} <> {wanted}{"" if column.nullable else f" OR {nullable}"} THEN
                RAISE EXCEPTION '%', {literal(other)};
            END IF;
            RAISE SQLSTATE '{_THE_SAME}';
        EXCEPTION WHEN SQLSTATE '{_THE_SAME}' THEN
            NULL;
        END;
    ELSE
        {add};
    END IF;""")


def _problems(table: str, column: sa.Column[Any], default: str | None, add: str) -> Iterator[str]:
    """Say what would rewrite or read the whole table, or be lost, and what to write instead."""
    if column.identity is not None or column.primary_key:
        yield (
            "a new identity or key writes every row anew. Add a nullable column, backfill it, and let a contract "
            "revision make it the key"
        )
    if column.computed is not None:
        yield "a stored generated column writes every row anew. Add a plain column, a trigger and a backfill"
    # A type may bring a CHECK along: SQLAlchemy's own that is asked to, or a domain.
    checked = getattr(column.type, "create_constraint", False) or isinstance(column.type, postgresql.DOMAIN)
    if column.foreign_keys or column.unique or column.constraints or checked:
        yield (
            "a constraint beside the column reads the whole table. Add the column alone, then "
            "operations.add_foreign_key, add_unique or add_check"
        )
    if column.index:
        yield "an index is not part of it. Add the column alone, then operations.create_index"
    if column.default is not None or column.onupdate is not None:
        yield "a default of Python's never reaches the database. Write instead: server_default=, or a backfill"
    if default is not None and effect_of(add).rewrites:
        yield (
            f"the default {default} may have another value for each row, and writes every row anew. Write instead: "
            f"add_column without a default; set_default(op, {table!r}, {column.name!r}, {default!r}); "
            f"backfill(op, {table!r}, {{{column.name!r}: {default!r}}}, "
            f"where={f'{identifier(column.name)} IS NULL'!r})"
        )
    if not column.nullable and (default is None or default.upper() == "NULL"):
        yield (
            "NOT NULL without a default fails on the rows that are there. Write instead: a nullable column, "
            f"backfill, and set_not_null(op, {table!r}, {column.name!r})"
        )


def _default_of(column: sa.Column[Any]) -> str | None:
    argument = getattr(column.server_default, "arg", None)
    if argument is None or isinstance(argument, str):
        return argument and literal(argument)
    if isinstance(argument, sa.TextClause):
        # No colon in it begins a parameter: what SQLAlchemy takes for one it writes as NULL.
        return argument.text.replace(r"\:", ":")
    return str(argument.compile(dialect=_dialect(), compile_kwargs={"literal_binds": True}))


def _dialect() -> sa.Dialect:
    # With the driver's own parameter style a per cent sign would come out doubled.
    return postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call]  # SQLAlchemy's
