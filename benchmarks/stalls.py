"""For how long a change of a big table keeps its service waiting: as plain SQL, and by `operations`."""

import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psycopg
from psycopg import sql
from tests.support.load import Result, load
from tests.support.servers import execute

from benchmarks import tables
from benchmarks.filled import MESSAGES, Template, Upgrade, messages_asked, package, template

BEHIND_SECONDS = 4
# Seconds of the load alone, in front of each change and behind it.
_BEFORE = 1.0
_AFTER = 0.5
_QUIET = 5.0


class Case(NamedTuple):
    """A change: in SQL, and as the body of a revision.

    `prepare` is what the database is without, or has besides, so that there is something to change. `behind` is a table
    that somebody reads in a transaction that stays open for a while.
    """

    name: str
    naive: str
    operation: str
    body: str
    prepare: str = ""
    behind: str = ""


class Side(NamedTuple):
    """One way to do it: how long it took, and what the service saw."""

    seconds: float
    seen: Result


CASES = [
    Case(
        "index",
        "CREATE INDEX ix_newest ON messages (conversation_id, created_at DESC, id DESC)",
        "create_index",
        'operations.create_index(op, "ix_newest", "messages", ["conversation_id", "created_at DESC", "id DESC"])',
    ),
    Case(
        "CHECK",
        r"ALTER TABLE messages ADD CONSTRAINT ck_not_blank CHECK (content ~ '\S')",
        "add_check",
        r"""operations.add_check(op, "ck_not_blank", "messages", r"content ~ '\S'")""",
    ),
    Case(
        "foreign key",
        "ALTER TABLE messages ADD CONSTRAINT fk_user FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE",
        "add_foreign_key",
        'operations.add_foreign_key(op, "fk_user", "messages", ["user_id"], "users", ["id"], ondelete="CASCADE")',
    ),
    Case(
        "NOT NULL",
        "ALTER TABLE messages ALTER content SET NOT NULL",
        "set_not_null",
        'operations.set_not_null(op, "messages", "content")',
        prepare="ALTER TABLE messages ALTER content DROP NOT NULL",
    ),
    Case(
        "unique constraint",
        "ALTER TABLE messages ADD CONSTRAINT uq_of UNIQUE (conversation_id, id)",
        "add_unique",
        'operations.add_unique(op, "uq_of", "messages", ["conversation_id", "id"])',
    ),
    Case(
        "column with a volatile default",
        "ALTER TABLE messages ADD token uuid DEFAULT gen_random_uuid()",
        "add_column, set_default, backfill",
        """
operations.add_column(op, "messages", sa.Column("token", sa.Uuid()))
operations.set_default(op, "messages", "token", "gen_random_uuid()")
operations.backfill(op, "messages", {"token": "gen_random_uuid()"}, where="token IS NULL")
""",
    ),
    Case(
        "values for every row",
        "UPDATE tasks SET note = title WHERE note IS NULL",
        "backfill",
        'operations.backfill(op, "tasks", {"note": "title"}, where="note IS NULL")',
        prepare="ALTER TABLE tasks ADD note text",
    ),
    Case(
        f"column, behind a transaction of {BEHIND_SECONDS} s",
        "ALTER TABLE messages ADD note text",
        "add_column",
        'operations.add_column(op, "messages", sa.Column("note", sa.Text()))',
        behind="messages",
    ),
]


def measure(messages: int = MESSAGES) -> str:
    """Return the tables, as Markdown."""
    with template(messages) as made, tempfile.TemporaryDirectory() as folder:
        quiet = _side(made, Case("", "", "", ""), lambda _: time.sleep(_QUIET))
        pairs = [(case, *_both(made, case, Path(folder, str(number)))) for number, case in enumerate(CASES)]
    header = (
        "a change under load",
        "longest read, SQL, ms",
        "longest read, `operations`, ms",
        "longest write, SQL, ms",
        "longest write, `operations`, ms",
        "SQL, s",
        "`operations`, s",
        "failed, SQL",
        "failed, `operations`",
    )
    rows = [("none: the load alone", *_columns(quiet, quiet))]
    rows += [(case.name, *_columns(naive, ours)) for case, naive, ours in pairs]
    note = (
        f"{messages:,} messages and as many tasks. Meanwhile four sessions of asyncpg, each a process of its own, two "
        "that read and two that write, rest for 5 ms after each operation; the longest is what any of them waited for "
        f"one. Alone they do {_rate(quiet.seen.reads)} reads and {_rate(quiet.seen.writes)} writes a second, of "
        f"{quiet.seen.median_read_ms:.1f} and {quiet.seen.median_write_ms:.1f} ms (medians). The seconds are those of "
        "the statement and of the call of `upgrade`, which runs in a process of its own. Each change has a copy of the "
        "database to itself, on a server whose settings are PostgreSQL's own."
    )
    forms = "\n".join(f"- {case.name}: `{case.naive}`, beside `{case.operation}`" for case in CASES)
    parts = [
        "## Stalls",
        tables.table(header, rows),
        note,
        forms,
        _backfill(messages, pairs),
        *_failures(pairs),
    ]
    return "\n\n".join(parts)


def _both(made: Template, case: Case, folder: Path) -> tuple[Side, Side]:
    path = package(folder, case.body)
    return _side(made, case, lambda url: execute(url, case.naive)), _side(
        made, case, lambda url: Upgrade(url, path).end()
    )


def _side(made: Template, case: Case, change: Callable[[str], object]) -> Side:
    with made.copy(case.prepare) as url, load(url) as running:
        time.sleep(_BEFORE)
        with _reader_in_front(url, case.behind):
            started = time.perf_counter()
            took = change(url)
            seconds = took if isinstance(took, float) else time.perf_counter() - started
        time.sleep(_AFTER)
    return Side(seconds, running.result)


@contextmanager
def _reader_in_front(url: str, table: str) -> Iterator[None]:
    """Read a table in a transaction that somebody then forgets to end for a while; without a table do nothing."""
    if not table:
        yield
        return
    with psycopg.connect(url) as connection:
        connection.execute(sql.SQL("SELECT FROM {} LIMIT 1").format(sql.Identifier(table)))
        end = threading.Timer(BEHIND_SECONDS, connection.rollback)
        end.start()
        yield
        end.join()


def _columns(naive: Side, ours: Side) -> tuple[object, ...]:
    sides = (naive, ours)
    return (
        *(f"{side.seen.longest_read_ms:.0f}" for side in sides),
        *(f"{side.seen.longest_write_ms:.0f}" for side in sides),
        *(f"{side.seconds:.1f}" for side in sides),
        *(len(side.seen.errors) for side in sides),
    )


def _rate(operations: int) -> str:
    return f"{operations / (_BEFORE + _QUIET + _AFTER):.0f}"


def _backfill(messages: int, pairs: list[tuple[Case, Side, Side]]) -> str:
    ((_, update, batches),) = [pair for pair in pairs if pair[0].operation == "backfill"]
    speeds = [messages / side.seconds for side in (update, batches)]
    return (
        f"One `UPDATE` of every task does {speeds[0]:,.0f} rows a second, `backfill` {speeds[1]:,.0f}: "
        f"{tables.ratio(speeds[1] / speeds[0])} of it."
    )


def _failures(pairs: list[tuple[Case, Side, Side]]) -> Iterator[str]:
    """Say what the sessions were told, each thing once."""
    for case, *sides in pairs:
        for form, side in zip(("SQL", "`operations`"), sides, strict=True):
            for error, times in Counter(side.seen.errors).most_common(3):
                yield f"Failed, {case.name}, {form}, {times} times: {error}"


if __name__ == "__main__":
    print(measure(messages_asked()))
