"""Builds and drops indexes while others write, and mends what a run that died has left.

`CREATE INDEX CONCURRENTLY IF NOT EXISTS` over an invalid index prints a notice and succeeds: the index stays invalid
for ever. So this looks at `pg_index.indisvalid`, drops what is invalid and not being built by another session, builds,
and looks again.
"""

import time
from contextlib import suppress
from dataclasses import replace

from todo_schema import bookkeeping, locks
from todo_schema.backoff import pauses
from todo_schema.driver_errors import DEADLOCK_DETECTED, DUPLICATE_TABLE, sqlstate
from todo_schema.errors import MigrationLockedError, SchemaDriftError
from todo_schema.parts import IndexBuild, IndexDrop
from todo_schema.quoting import identifier, literal
from todo_schema.wire import Wire
from todo_schema.work import Work

_LONGEST_PAUSE = 1.0  # seconds
_LIKE = "todo_schema_like"
# What is tried again: somebody else has made it, or begun to, since we looked.
_AGAIN = {DEADLOCK_DETECTED, DUPLICATE_TABLE}
# The rows themselves are the reason, or the room for them: values that cannot be computed, that are there twice, that
# are too long, too many.
_ROWS = ("22", "23", "53", "54")


def build(work: Work, wire: Wire, part: IndexBuild) -> None:
    """Build an index concurrently, unless it is there already, valid and as described.

    Args:
        work: The run; its deadline bounds the wait for another session that is building the index.
        wire: A connection in autocommit, without timeouts.
        part: The index.

    Raises:
        SchemaDriftError: There is something else of that name.
        MigrationLockedError: Another session was building it until the deadline.
        Exception: Whatever the server says; an invalid index is not left behind then, if it can be helped.

    """
    home = identifier(work.schema)
    while (state := _settled(work, wire, part)) != "valid":
        try:
            if state == "invalid":
                wire.run(IndexDrop(part.name, part.table).statement(f"{home}."))
            wire.run(part.statement(f"{home}.{identifier(part.table)}"))
        except Exception as error:
            said = sqlstate(error)
            if said is not None and said.startswith(_ROWS):
                # It will not become valid by itself, and costs every writer until it is gone.
                with suppress(Exception):
                    if _settled(work, wire, part) == "invalid":
                        wire.run(IndexDrop(part.name, part.table).statement(f"{home}."))
            if said not in _AGAIN or time.monotonic() >= work.deadline:
                raise
    _require_same(work, wire, part)


def drop(work: Work, wire: Wire, part: IndexDrop) -> None:
    """Drop an index concurrently; a drop that died in the middle has left it invalid, and is repeated.

    Raises:
        SchemaDriftError: The index is of another table.
        Exception: Whatever the server says.

    """
    home = identifier(work.schema)
    tables = wire.fetch(f"""
        SELECT t.relname::text FROM pg_index x JOIN pg_class t ON t.oid = x.indrelid
        WHERE x.indexrelid = to_regclass({literal(f"{home}.{identifier(part.name)}")})""")
    if tables and tables != [(part.table,)]:
        raise SchemaDriftError(
            f"index {part.name} of table {tables[0][0]}",
            f"an index of table {part.table} to drop, or none of that name",
            "see whose it is, and correct the revision",
        )
    while True:
        try:
            wire.run(part.statement(f"{home}."))
        except Exception as error:
            if sqlstate(error) != DEADLOCK_DETECTED or time.monotonic() >= work.deadline:
                raise
        else:
            return


def _settled(work: Work, wire: Wire, part: IndexBuild) -> str:
    """Return `absent`, `valid` or `invalid`, once no other session is at work on it."""
    home = identifier(work.schema)
    query = f"""
        SELECT x.indrelid = to_regclass({literal(f"{home}.{identifier(part.table)}")}), x.indisvalid AND x.indisready
        FROM pg_class c LEFT JOIN pg_index x ON x.indexrelid = c.oid
        WHERE c.oid = to_regclass({literal(f"{home}.{identifier(part.name)}")})"""
    waits = pauses(0.025, _LONGEST_PAUSE)
    while True:
        # Asked before and after: who came to its end in between may have made the index valid.
        builders = locks.builders(wire, work.schema, part.table)
        found = wire.fetch(query)
        if not found:
            return "absent"
        ((of_table, valid),) = found
        if not of_table:
            raise _other(part, "a relation of that name that is no index of the table")
        if valid:
            return "valid"
        later = locks.builders(wire, work.schema, part.table)
        builders += [session for session in later if session not in builders]
        if not builders:
            return "invalid"
        if time.monotonic() >= work.deadline:
            raise MigrationLockedError(
                f"index {part.name} was being built by {locks.named(builders)}",
                "that to come to its end",
                f"wait for that session and call again, give a longer timeout, or: {locks.ended(builders)}",
            )
        work.database.sleep(next(waits))


def _require_same(work: Work, wire: Wire, part: IndexBuild) -> None:
    """Compare a valid index with its description, in PostgreSQL's own words: by the same index of an empty table."""
    home = identifier(work.schema)
    like = f"{home}.{_LIKE}"
    names = f"{home}.{identifier(part.name)}", f"{like}_index"
    indexes = ", ".join(f"(to_regclass({literal(name)}))" for name in names)
    try:
        # Nobody else sees it; and not a temporary table, which a role may be forbidden to make.
        wire.run(
            f"BEGIN; {bookkeeping.settings_statement(work.schema, 0)}; "
            f"CREATE TABLE {like} (LIKE {home}.{identifier(part.table)}); "
            + replace(part, name=f"{_LIKE}_index").statement(like, concurrently=False)
        )
        found, wanted = wire.fetch(f"""
            SELECT indisunique,
                   regexp_replace(definition, '^CREATE (UNIQUE )?INDEX ("([^"]|"")*"|[^ ]+) ON (ONLY )?[^ ]+ ', '')
            FROM (VALUES {indexes}) AS named (index) JOIN pg_index ON indexrelid = named.index,
                 pg_get_indexdef(named.index, 0, true) AS definition
            ORDER BY indrelid = to_regclass({literal(like)})""")
    finally:
        wire.run("ROLLBACK")
    if found != wanted:
        raise _other(part, f"{'a unique' if found[0] else 'an'} index of that name, {found[1]}")


def _other(part: IndexBuild, found: str) -> SchemaDriftError:
    return SchemaDriftError(
        f"{found}, where index {part.name} of {part.table} is to be made",
        f"{'UNIQUE ' if part.unique else ''}{part.definition}",
        f"see whose it is; rename or drop it, and call again: ALTER INDEX {identifier(part.name)} RENAME TO ...;",
    )
