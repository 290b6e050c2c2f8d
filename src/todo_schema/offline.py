"""The SQL script that does with psql what `upgrade` does: for databases that only an administrator touches."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from todo_schema import bookkeeping, leases, locks, revisions, runner
from todo_schema.bookkeeping import Step
from todo_schema.compatibility import BASE, PACKAGE_VERSION, VERSION_TABLE, Line, line_of, number_of
from todo_schema.parts import Part, Transaction, do_statement, fit_one_transaction, messages_of
from todo_schema.quoting import identifier, literal, option
from todo_schema.reports import Revision
from todo_schema.unfinished import deferred_query

_HOST = "offline script"


def script(
    schema: str,
    start: str,
    to: str,
    *,
    contract: int = 0,
    deferred: Sequence[Revision] = (),
    allow_unseen: bool = False,
) -> str:
    """Return the script from one revision to another, up or down.

    A revision is one transaction; what does not fit into one stands between two. Each takes the migration lock without
    waiting and compares the version before it does anything, so that a script which meets a running `upgrade`, or is
    run twice, stops with a clear error.

    Where there is nothing between the two, the script is a comment that says so.

    Args:
        schema: The PostgreSQL schema.
        start: The revision to start from; of the line that `to` is of, or `base`.
        to: The revision to end at.
        contract: Where the contract line is, for what has to be undone of it before an expand revision is.
        deferred: The revisions that the database has left for later; a script that goes up finishes them first.
        allow_unseen: Let the script go on where it sees clients of a pooler, which hold no lease.

    """
    start = _begun(start, to)
    left = deferred if number_of(start) <= number_of(to) else ()
    if start == to and not left:
        return f"-- todo-schema {PACKAGE_VERSION}: schema {start} already in {schema!r}, nothing to apply\n"
    return (
        "\n\n".join(
            [
                f"-- todo-schema {PACKAGE_VERSION}: schema {start} -> {to} in {schema!r}",
                "\\set ON_ERROR_STOP on",
                *(message for revision in left for message in _finishing(schema, revision)),
                *messages(schema, start, to, contract=contract, allow_unseen=allow_unseen),
            ]
        )
        + "\n"
    )


def messages(
    schema: str, start: str, to: str, *, contract: int = 0, allow_unseen: bool = False
) -> tuple[str, ...]:
    """Return the same as texts that are to be sent one by one; the parameters are `script`'s."""
    line, start = line_of(to), _begun(start, to)
    at, end = number_of(start), number_of(to)
    if end < at:
        steps = revisions.undue(
            None if line is Line.CONTRACT else at, at if line is Line.CONTRACT else contract, to
        )
    else:
        steps = revisions.between(line, at, end)
    return tuple(
        message
        for revision in steps
        for message in _messages(schema, revision, downward=end < at, allow_unseen=allow_unseen)
    )


def _begun(start: str, to: str) -> str:
    """Return where the line of the end is, where the start is of the other one."""
    line = line_of(to)
    if line_of(start) is line:
        return start
    return BASE if line is Line.EXPAND else revisions.below("c001")


def _messages(schema: str, revision: Revision, *, downward: bool, allow_unseen: bool) -> tuple[str, ...]:
    """Return what leads past one revision, or below it.

    What fits into no transaction stands between two, of which one moves the version: the first where an expand
    revision is undone, else the last. A script keeps no account of parts, and does deferred revisions where they stand.
    """
    parts = revisions.parts(revision.revision, downward=downward)

    def transaction(*changes: str, moves: bool = True) -> str:
        return _transaction(
            schema, revision, changes, downward=downward, allow_unseen=allow_unseen, moves=moves
        )

    if fit_one_transaction(parts):
        return (transaction(*(statement for part in parts for statement in messages_of(part))),)
    moves_first = downward and revision.line is Line.EXPAND
    last = () if moves_first else (transaction(),)
    return (transaction(moves=moves_first), *_alone(schema, parts), *last)


def _alone(schema: str, parts: tuple[Part, ...]) -> list[str]:
    """Return the parts of a revision, each by itself."""
    alone = [f"{bookkeeping.settings_statement(schema, 0, local=False)};"]
    for part in parts:
        if isinstance(part, Transaction):
            settings = bookkeeping.settings_statement(schema)
            alone.append(_joined(("BEGIN", settings, *part.statements, "COMMIT")))
        else:
            alone += [f"{message};" for message in messages_of(part, f"{identifier(schema)}.")]
    return [*alone, _joined(bookkeeping.reset_statements())]


def _finishing(schema: str, revision: Revision) -> tuple[str, ...]:
    """Return what carries out a deferred revision that the version has moved past."""
    number, checksum = number_of(revision.revision), revisions.checksum(revision.revision)
    still = do_statement(f"""IF {number} NOT IN ({deferred_query(schema)}) THEN
        RAISE EXCEPTION 'revision {revision.revision} is deferred no longer'
            USING HINT = {_hint(schema, "sql", "starts from where the database is")};
    END IF;""")
    begin = ("BEGIN ISOLATION LEVEL READ COMMITTED", _lock_or_stop(schema, locks.DEFERRED_CLASS))
    settings = bookkeeping.settings_statement(schema)
    row = bookkeeping.record_statement(schema, Step(revision.line, number, "finish", checksum), _HOST)
    end = (
        *(bookkeeping.lock_statement(schema), still, row, bookkeeping.hand_over_statement(schema)),
        *(bookkeeping.news_statement(schema), "COMMIT"),
    )
    return (
        f"-- {revision.revision} {revision.summary}, which was left for later",
        _joined((*begin, settings, still, "COMMIT")),
        *_alone(schema, revisions.parts(revision.revision)),
        _joined((*begin, settings, *end)),
    )


def _joined(statements: Iterable[str]) -> str:
    return "\n\n".join(f"{statement};" for statement in statements)


def _transaction(
    schema: str,
    revision: Revision,
    changes: tuple[str, ...],
    *,
    downward: bool,
    allow_unseen: bool,
    moves: bool = True,
) -> str:
    """Return one transaction: it stops where the version is not what it should be, and then changes and moves it.

    Args:
        schema: The schema.
        revision: The revision.
        changes: What is changed in it.
        downward: Whether the revision is undone.
        allow_unseen: Go on where clients of a pooler are seen.
        moves: Whether the version moves; if not it is compared alone.

    """
    below = revisions.below(revision.revision)
    step = runner.step_of(revision, None, downward=downward)
    concerned = runner.versions_concerned(revision, downward=downward)
    before = revision.revision if downward else below
    # The floor rises before the first change, and what older packages need is checked with it.
    narrows = revision.line is Line.CONTRACT and not downward
    recorded = moves or narrows
    if not moves:
        step = replace(step, action="start")
    statements = [
        "BEGIN ISOLATION LEVEL READ COMMITTED",
        _lock_or_stop(schema),
        *([] if downward or revision.requires else [bookkeeping.create_missing_statement(schema)]),
        do_statement(bookkeeping.settings_statement(schema).replace("SELECT", "PERFORM", 1) + ";"),
        bookkeeping.lock_statement(schema),
        _compare_or_stop(schema, revision.line, before),
        *([_require_or_stop(schema, revision.requires)] if revision.requires and not downward else []),
        *([_unrequired_or_stop(schema, revision)] if downward and revision.line is Line.EXPAND else []),
        *([bookkeeping.record_statement(schema, step, _HOST)] if recorded else []),
        *([_claim_or_stop(schema, *concerned, allow_unseen=allow_unseen)] if concerned and recorded else []),
        *([f"-- {revision}\n{_joined(changes).rstrip(';')}"] if changes else []),
        *(
            (bookkeeping.hand_over_statement(schema), *bookkeeping.finish_statements(schema, step))
            if moves
            else ()
        ),
        "COMMIT",
    ]
    return _joined(statements)


def _hint(schema: str, command: str, does: str = "") -> str:
    return literal(f"todo-schema {command} --url URL{option(schema)} {does}".rstrip())


def _lock_or_stop(schema: str, lock_class: int = locks.LOCK_CLASS) -> str:
    key = f"{lock_class}, {locks.lock_key(schema)}"
    return do_statement(f"""IF NOT pg_try_advisory_xact_lock({key}) THEN
        RAISE EXCEPTION 'another process is migrating todo_schema in this database';
    END IF;""")


def _compare_or_stop(schema: str, line: Line, before: str) -> str:
    none = revisions.below("c001") if line is Line.CONTRACT else BASE
    is_of_line = "~" if line is Line.CONTRACT else "!~"
    rows = f"(SELECT coalesce(string_agg(version_num, ', '), '{none}')"
    rows += f" FROM {identifier(schema)}.{VERSION_TABLE} WHERE version_num {is_of_line} '^c[0-9]+$')"
    return do_statement(f"""IF {rows} <> {literal(before)} THEN
        RAISE EXCEPTION 'this script starts from revision {before}, and the database is at %', {rows}
            USING HINT = {_hint(schema, "sql", "starts from where the database is")};
    END IF;""")


def _require_or_stop(schema: str, version: int) -> str:
    rows = f"SELECT FROM {identifier(schema)}.{VERSION_TABLE} WHERE version_num !~ '^c[0-9]+$'"
    return do_statement(f"""IF NOT EXISTS ({rows} AND version_num::int >= {version}) THEN
        RAISE EXCEPTION 'this contract revision requires schema {version}'
            USING HINT = {_hint(schema, "upgrade")};
    END IF;""")


def _unrequired_or_stop(schema: str, revision: Revision) -> str:
    """Return the statement that stops where a contract revision is still applied that requires an expand revision."""
    version = number_of(revision.revision)
    allowed = [r for r in revisions.of(Line.CONTRACT) if r.requires is not None and r.requires < version]
    applied = f"SELECT version_num FROM {identifier(schema)}.{VERSION_TABLE}"
    applied += f" WHERE version_num ~ '^c[0-9]+$' AND substr(version_num, 2)::int > {len(allowed)}"
    return do_statement(f"""IF EXISTS ({applied}) THEN
        RAISE EXCEPTION 'contract revision % requires revision {revision.revision}', ({applied})
            USING HINT = {_hint(schema, "sql", "starts from where the database is, and undoes it first")};
    END IF;""")


def _claim_or_stop(schema: str, first: int, last: int, *, allow_unseen: bool) -> str:
    seen = "leased" if allow_unseen else "true"
    clients = f"""SELECT string_agg(format('%s at schema %s, pid %s', service, version, pids), '; ')
            FROM ({leases.clients_query(schema)}) AS client WHERE {seen} AND version BETWEEN {first} AND {last}"""
    held = f"EXISTS ({leases.try_exclusive_query(schema, first, last)})"
    return do_statement(f"""IF {held} OR ({clients}) IS NOT NULL THEN
        RAISE EXCEPTION 'services are connected that this step would break: %', ({clients})
            USING HINT = {_hint(schema, "clients", "lists them; stop or replace them, and run the script again")};
    END IF;""")
