"""The SQL script that does with psql what `upgrade` does: for databases that only an administrator touches."""

from todo_schema import bookkeeping, locks, revisions
from todo_schema.compatibility import BASE, PACKAGE_VERSION, VERSION_TABLE, ordinal_of
from todo_schema.quoting import identifier, literal
from todo_schema.reports import Revision

_HOST = "offline script"


def script(schema: str, start: str, to: str) -> str:
    """Return the script from one revision to another, up or down, one transaction for each revision.

    Each transaction takes the migration lock without waiting and compares the version before it does anything,
    so that a script which meets a running `upgrade`, or is run twice, stops with a clear error.

    Where there is nothing between the two, the script is a comment that says so.
    """
    if start == to:
        return f"-- todo-schema {PACKAGE_VERSION}: schema {start} already in {schema!r}, nothing to apply\n"
    downward = (ordinal_of(to) or 0) < (ordinal_of(start) or 0)
    steps = revisions.undue(ordinal_of(start), to) if downward else _between(start, to)
    parts = [
        f"-- todo-schema {PACKAGE_VERSION}: schema {start} -> {to} in {schema!r}",
        "\\set ON_ERROR_STOP on",
        *(_step(schema, revision, downward=downward) for revision in steps),
    ]
    return "\n\n".join(parts) + "\n"


def _between(start: str, to: str) -> list[Revision]:
    last = ordinal_of(to) or 0
    return [r for r in revisions.due(ordinal_of(start)) if (ordinal_of(r.revision) or 0) <= last]


def _step(schema: str, revision: Revision, *, downward: bool) -> str:
    below = revisions.below(revision.revision)
    before, after = (revision.revision, below) if downward else (below, revision.revision)
    action = "downgrade" if downward else "upgrade"
    checksum = None if after == BASE else revisions.checksum(after)
    statements = [
        "BEGIN ISOLATION LEVEL READ COMMITTED",
        _lock_or_stop(schema),
        *([] if downward else [bookkeeping.create_missing_statement(schema)]),
        bookkeeping.do_statement(
            bookkeeping.settings_statement(schema).replace("SELECT", "PERFORM", 1) + ";"
        ),
        bookkeeping.lock_statement(schema),
        _compare_or_stop(schema, before),
        f"-- {revision}\n{revisions.render(revision.revision, downward=downward).rstrip(';')}",
        *bookkeeping.write_version_statements(schema, after),
        bookkeeping.record_statement(schema, after, action, checksum, _HOST),
        "COMMIT",
    ]
    return "\n\n".join(f"{statement};" for statement in statements)


def _lock_or_stop(schema: str) -> str:
    key = f"{locks.LOCK_CLASS}, {locks.lock_key(schema)}"
    return bookkeeping.do_statement(f"""IF NOT pg_try_advisory_xact_lock({key}) THEN
        RAISE EXCEPTION 'another process is migrating todo_schema in this database';
    END IF;""")


def _compare_or_stop(schema: str, before: str) -> str:
    rows = f"(SELECT coalesce(string_agg(version_num, ', '), '{BASE}')"
    rows += f" FROM {identifier(schema)}.{VERSION_TABLE} WHERE version_num !~ '^c[0-9]+$')"
    return bookkeeping.do_statement(f"""IF {rows} <> {literal(before)} THEN
        RAISE EXCEPTION 'this script starts from revision {before}, and the database is at %', {rows}
            USING HINT = 'todo-schema sql --url URL starts from where the database is';
    END IF;""")
