"""Functions, triggers, statistics and comments. The first two are never replaced by what an earlier revision had.

A deferred revision may be carried out after a later one, and one that died is begun again. So the comment on a function
or trigger says which revision it is of, and an earlier one leaves it alone.
"""

import re
from collections.abc import Sequence
from typing import Literal

from alembic.operations import Operations

from todo_schema.collecting import collector_of, transact
from todo_schema.compatibility import VERSION_TABLE
from todo_schema.names import identifiers, short
from todo_schema.parts import do_statement
from todo_schema.quoting import identifier, literal

_Kept = Literal["dependencies", "mcv", "ndistinct"]

# What may follow the events of a trigger; its table stands in between.
_AFTER_EVENTS = re.compile(r"\b(?:REFERENCING|FOR|WHEN|EXECUTE)\b", re.IGNORECASE)
_ON = re.compile(r"\bON\b", re.IGNORECASE)
# What the comment on a function or trigger says after `todo_schema`: `005`, or of a contract revision `005 c001`.
_MARK = ("([0-9]+)", "[0-9]+ c([0-9]+)$")


def replace_function(op: Operations, signature: str, definition: str) -> None:
    """Create a function, or replace it, unless a later revision has replaced it already. Locks no table.

    A deferred revision may be run after a later one; the comment on the function says which revision it is of.

    Args:
        op: What the revision was given.
        signature: Its name and the types of its arguments without their names, `todo_touch()`, `todo_add(int, text)`.
        definition: What follows: `RETURNS trigger LANGUAGE plpgsql AS $$ … $$`.

    """
    create = f"CREATE OR REPLACE FUNCTION {signature} {definition}"
    said = f"obj_description(to_regprocedure({literal(signature)}), 'pg_proc')"
    # Whoever owns it may replace it later, for everybody who writes to our tables.
    owner = f"SELECT relowner FROM pg_class WHERE oid = to_regclass({literal(VERSION_TABLE)})"
    other = (
        f"found: a function {signature} of somebody else; needed: one of the owner of the tables, or none; "
        f"cure: see whose it is, and DROP FUNCTION {signature} or ALTER FUNCTION {signature} OWNER TO that role"
    )
    theirs = do_statement(f"""IF EXISTS (SELECT FROM pg_proc WHERE oid = to_regprocedure({literal(signature)})
            AND proowner NOT IN (current_user::regrole, ({owner}))) THEN
        RAISE EXCEPTION '%', {literal(other)};
    END IF;""")
    transact(op, f"replace function {signature}", theirs)
    _replace(op, said, create, f"FUNCTION {signature}")


def drop_function(op: Operations, signature: str) -> None:
    """Drop a function; does nothing where there is none."""
    transact(op, f"drop function {signature}", f"DROP FUNCTION IF EXISTS {signature}")


def replace_trigger(op: Operations, name: str, table: str, definition: str) -> None:
    """Create a trigger, or replace it, unless a later revision has replaced it already.

    Locks the table in SHARE ROW EXCLUSIVE for a moment.

    Args:
        op: What the revision was given.
        name: The trigger.
        table: Its table.
        definition: When it does what, with `ON` left to us:
            `BEFORE UPDATE FOR EACH ROW WHEN (…) EXECUTE FUNCTION todo_touch()`.

    Raises:
        ValueError: The definition names a table itself, or does nothing.

    """
    rest = _AFTER_EVENTS.search(definition)
    events = definition[: rest.start()].strip() if rest else definition
    if rest is None or _ON.search(events):
        raise ValueError(
            f"replace_trigger {name}: found {definition!r}; needed: what it does when, without ON and its table; "
            "write: BEFORE UPDATE FOR EACH ROW EXECUTE FUNCTION todo_touch()"
        )
    on = f"{events} ON {identifier(table)} {definition[rest.start() :]}"
    create = f"CREATE OR REPLACE TRIGGER {identifier(name)} {on}"
    said = f"""(SELECT obj_description(oid, 'pg_trigger') FROM pg_trigger
        WHERE tgname = {literal(name)} AND tgrelid = {literal(identifier(table))}::regclass)"""
    _replace(op, said, create, f"TRIGGER {identifier(name)} ON {identifier(table)}", locks=table)


def drop_trigger(op: Operations, name: str, table: str) -> None:
    """Drop a trigger; does nothing where there is none. Locks its table in ACCESS EXCLUSIVE for a moment."""
    transact(
        op,
        f"drop trigger {name} of {table}",
        f"DROP TRIGGER IF EXISTS {identifier(name)} ON {identifier(table)}",
        locks=table,
    )


def create_statistics(op: Operations, name: str, table: str, columns: Sequence[str], kind: _Kept) -> None:
    """Keep statistics of several columns together, and collect them: CREATE STATISTICS, then ANALYZE of these columns.

    Locks the table in SHARE UPDATE EXCLUSIVE while some of its rows are read.

    Args:
        op: What the revision was given.
        name: The statistics object, `st_messages_conversation_user`.
        table: Its table.
        columns: Its columns.
        kind: What is kept.

    """
    of = identifiers(columns)
    transact(
        op,
        f"create statistics {name} of {table}",
        f"CREATE STATISTICS IF NOT EXISTS {identifier(short(name))} ({kind}) ON {of} FROM {identifier(table)}",
        f"ANALYZE {identifier(table)} ({of})",
        locks=table,
    )


def drop_statistics(op: Operations, name: str, table: str) -> None:
    """Drop statistics of several columns, if there are any. Locks the table in SHARE UPDATE EXCLUSIVE for a moment."""
    transact(
        op, f"drop statistics {name} of {table}", f"DROP STATISTICS IF EXISTS {identifier(name)}", locks=table
    )


def set_comment(op: Operations, table: str, column: str, comment: str) -> None:
    """Say what a column is. Locks the table in SHARE UPDATE EXCLUSIVE for a moment."""
    transact(op, f"comment on {table}.{column}", comment_statement(table, column, comment), locks=table)


def comment_statement(table: str, column: str, comment: str) -> str:
    """Return the statement that says what a column is."""
    return f"COMMENT ON COLUMN {identifier(table)}.{identifier(column)} IS {literal(comment)}"


def _replace(op: Operations, said: str, create: str, named: str, *, locks: str | None = None) -> None:
    collector = collector_of(op)
    ranks = (rf"coalesce(substring({said} FROM '^todo_schema {part}')::int, 0)" for part in _MARK)
    newer = "false" if collector.rank is None else f"({', '.join(ranks)}) > {collector.rank}"
    transact(
        op,
        f"replace {named.partition(' ')[0].lower()} {named.partition(' ')[2]}",
        do_statement(f"""IF NOT {newer} THEN
        EXECUTE {literal(create)};
        EXECUTE {literal(f"COMMENT ON {named} IS {literal(collector.mark)}")};
    END IF;"""),
        locks=locks,
    )
