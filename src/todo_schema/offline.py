"""The SQL script that does with psql what `upgrade` does: for databases that only an administrator touches."""

from todo_schema import bookkeeping, leases, locks, revisions, runner
from todo_schema.compatibility import BASE, PACKAGE_VERSION, VERSION_TABLE, Line, line_of, number_of
from todo_schema.quoting import identifier, literal
from todo_schema.reports import Revision

_HOST = "offline script"


def script(schema: str, start: str, to: str, *, contract: int = 0, allow_unseen: bool = False) -> str:
    """Return the script from one revision to another, up or down, one transaction for each revision.

    Each transaction takes the migration lock without waiting and compares the version before it does anything,
    so that a script which meets a running `upgrade`, or is run twice, stops with a clear error.

    Where there is nothing between the two, the script is a comment that says so.

    Args:
        schema: The PostgreSQL schema.
        start: The revision to start from; of the line that `to` is of, or `base`.
        to: The revision to end at.
        contract: Where the contract line is, for what has to be undone of it before an expand revision is.
        allow_unseen: Let the script go on where it sees clients of a pooler, which hold no lease.

    """
    line = line_of(to)
    if line_of(start) is not line:
        start = BASE if line is Line.EXPAND else revisions.below("c001")
    if start == to:
        return f"-- todo-schema {PACKAGE_VERSION}: schema {start} already in {schema!r}, nothing to apply\n"
    at, end = number_of(start), number_of(to)
    if end < at:
        steps = revisions.undue(
            None if line is Line.CONTRACT else at, at if line is Line.CONTRACT else contract, to
        )
    else:
        steps = revisions.between(line, at, end)
    parts = [
        f"-- todo-schema {PACKAGE_VERSION}: schema {start} -> {to} in {schema!r}",
        "\\set ON_ERROR_STOP on",
        *(_step(schema, revision, downward=end < at, allow_unseen=allow_unseen) for revision in steps),
    ]
    return "\n\n".join(parts) + "\n"


def _step(schema: str, revision: Revision, *, downward: bool, allow_unseen: bool) -> str:
    below = revisions.below(revision.revision)
    step = runner.step_of(revision, None, downward=downward)
    concerned = runner.versions_concerned(revision, downward=downward)
    statements = [
        "BEGIN ISOLATION LEVEL READ COMMITTED",
        _lock_or_stop(schema),
        *([] if downward or revision.requires else [bookkeeping.create_missing_statement(schema)]),
        bookkeeping.do_statement(
            bookkeeping.settings_statement(schema).replace("SELECT", "PERFORM", 1) + ";"
        ),
        bookkeeping.lock_statement(schema),
        _compare_or_stop(schema, revision.line, revision.revision if downward else below),
        *([_require_or_stop(schema, revision.requires)] if revision.requires and not downward else []),
        *([_unrequired_or_stop(schema, revision)] if downward and revision.line is Line.EXPAND else []),
        bookkeeping.record_statement(schema, step, _HOST),
        *([_claim_or_stop(schema, *concerned, allow_unseen=allow_unseen)] if concerned else []),
        f"-- {revision}\n{revisions.render(revision.revision, downward=downward).rstrip(';')}",
        *bookkeeping.finish_statements(schema, step),
        "COMMIT",
    ]
    return "\n\n".join(f"{statement};" for statement in statements)


def _lock_or_stop(schema: str) -> str:
    key = f"{locks.LOCK_CLASS}, {locks.lock_key(schema)}"
    return bookkeeping.do_statement(f"""IF NOT pg_try_advisory_xact_lock({key}) THEN
        RAISE EXCEPTION 'another process is migrating todo_schema in this database';
    END IF;""")


def _compare_or_stop(schema: str, line: Line, before: str) -> str:
    none = revisions.below("c001") if line is Line.CONTRACT else BASE
    is_of_line = "~" if line is Line.CONTRACT else "!~"
    rows = f"(SELECT coalesce(string_agg(version_num, ', '), '{none}')"
    rows += f" FROM {identifier(schema)}.{VERSION_TABLE} WHERE version_num {is_of_line} '^c[0-9]+$')"
    return bookkeeping.do_statement(f"""IF {rows} <> {literal(before)} THEN
        RAISE EXCEPTION 'this script starts from revision {before}, and the database is at %', {rows}
            USING HINT = 'todo-schema sql --url URL starts from where the database is';
    END IF;""")


def _require_or_stop(schema: str, version: int) -> str:
    rows = f"SELECT FROM {identifier(schema)}.{VERSION_TABLE} WHERE version_num !~ '^c[0-9]+$'"
    return bookkeeping.do_statement(f"""IF NOT EXISTS ({rows} AND version_num::int >= {version}) THEN
        RAISE EXCEPTION 'this contract revision requires schema {version}'
            USING HINT = 'todo-schema upgrade --url URL';
    END IF;""")


def _unrequired_or_stop(schema: str, revision: Revision) -> str:
    """Return the statement that stops where a contract revision is still applied that requires an expand revision."""
    version = number_of(revision.revision)
    allowed = [r for r in revisions.of(Line.CONTRACT) if r.requires is not None and r.requires < version]
    applied = f"SELECT version_num FROM {identifier(schema)}.{VERSION_TABLE}"
    applied += f" WHERE version_num ~ '^c[0-9]+$' AND substr(version_num, 2)::int > {len(allowed)}"
    return bookkeeping.do_statement(f"""IF EXISTS ({applied}) THEN
        RAISE EXCEPTION 'contract revision % requires revision {revision.revision}', ({applied})
            USING HINT = 'todo-schema sql --url URL starts from where the database is, and undoes it first';
    END IF;""")


def _claim_or_stop(schema: str, first: int, last: int, *, allow_unseen: bool) -> str:
    seen = "leased" if allow_unseen else "true"
    clients = f"""SELECT string_agg(format('%s at schema %s, pid %s', service, version, pids), '; ')
            FROM ({leases.clients_query(schema)}) AS client WHERE {seen} AND version BETWEEN {first} AND {last}"""
    held = f"EXISTS ({leases.try_exclusive_query(schema, first, last)})"
    return bookkeeping.do_statement(f"""IF {held} OR ({clients}) IS NOT NULL THEN
        RAISE EXCEPTION 'services are connected that this step would break: %', ({clients})
            USING HINT = 'todo-schema clients --url URL lists them; stop or replace them, and run the script again';
    END IF;""")
