"""What it costs that a change of a big table was interrupted: beside the same change, left alone."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.support.servers import execute
from tests.support.waiting import wait_for

from benchmarks import tables
from benchmarks.filled import MESSAGES, Template, Upgrade, messages_asked, package, template

_PATIENCE = 600  # seconds

_BACKFILL = 'operations.backfill(op, "tasks", {"note": "title"}, where="note IS NULL")'
_INDEX = (
    'operations.create_index(op, "ix_newest", "messages", ["conversation_id", "created_at DESC", "id DESC"])'
)

_HALF_FILLED = """
SELECT FROM todo_schema_history, pg_class
WHERE substring(action FROM ' at .*, ([0-9]+) rows$')::bigint * 2 >= reltuples AND pg_class.oid = 'tasks'::regclass
"""
_BUILDING = """
SELECT FROM pg_stat_progress_create_index WHERE datname = current_database() AND phase LIKE 'building index%'
"""
_END_BUILDING = """
SELECT pg_terminate_backend(pid) FROM pg_stat_progress_create_index WHERE datname = current_database()
"""
_OTHERS = """
SELECT FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""


class Cost(NamedTuple):
    """Seconds until the interruption, seconds of the call that came to the end, and what was written in all."""

    before: float
    last: float
    rows: int
    wal: int

    @property
    def seconds(self) -> float:
        return self.before + self.last


def measure(messages: int = MESSAGES) -> str:
    """Return the tables, as Markdown."""
    with template(messages) as made, tempfile.TemporaryDirectory() as folder:
        note = "ALTER TABLE tasks ADD note text"
        backfill = package(Path(folder, "backfill"), _BACKFILL)
        filled = [_cost(made, backfill, end, note) for end in (None, _kill_backfill)]
        index = package(Path(folder, "index"), _INDEX)
        built = [_cost(made, index, end) for end in (None, _kill_build, _end_build)]
    header = ("an interruption", "until then, s", "the next call, s", "in all, s", "in all (left alone = 1)")
    backfills = [
        (
            name,
            *_columns(cost, filled[0]),
            f"{messages / cost.seconds:,.0f}",
            cost.rows - messages,
            _wal(cost, filled[0]),
        )
        for name, cost in zip(("`backfill`, left alone", "process killed half-way"), filled, strict=True)
    ]
    names = (
        "`create_index`, left alone",
        "process killed while it builds",
        "session terminated while it builds",
    )
    builds = [
        (name, *_columns(cost, built[0]), _wal(cost, built[0]))
        for name, cost in zip(names, built, strict=True)
    ]
    wal = "WAL (left alone = 1)"
    text = (
        f"{messages:,} messages and as many tasks, on a server whose settings are PostgreSQL's own, with nothing else "
        "to do. Rows too many are row versions that were written beside one for each row. The server does not notice "
        "that the process is gone, and builds the index to its end: the next call finds it, and keeps it. Where the "
        "session has ended an invalid index is left: the next call drops it, and builds another."
    )
    return "\n\n".join(
        [
            "## The cost of resume",
            tables.table((*header, "rows a second", "rows too many", wal), backfills),
            tables.table((*header, wal), builds),
            text,
        ]
    )


def _cost(
    made: Template, path: Path, interrupt: Callable[[str, Upgrade], float] | None, prepare: str = ""
) -> Cost:
    with made.copy(prepare) as url:
        start = execute(url, "SELECT pg_current_wal_lsn()")[0][0]
        before = 0.0 if interrupt is None else interrupt(url, Upgrade(url, path))
        last = Upgrade(url, path).end()
        # A session's numbers are there when it has gone.
        wait_for(lambda: not execute(url, _OTHERS), _PATIENCE)
        written = (
            "SELECT n_tup_upd, pg_current_wal_lsn() - %s FROM pg_stat_user_tables WHERE relname = 'tasks'"
        )
        rows, wal = execute(url, written, (start,))[0]
        return Cost(before, last, rows, int(wal))


def _kill_backfill(url: str, upgrade: Upgrade) -> float:
    wait_for(lambda: execute(url, _HALF_FILLED), _PATIENCE)
    return upgrade.kill()


def _kill_build(url: str, upgrade: Upgrade) -> float:
    wait_for(lambda: execute(url, _BUILDING), _PATIENCE)
    return upgrade.kill()


def _end_build(url: str, upgrade: Upgrade) -> float:
    wait_for(lambda: execute(url, _BUILDING), _PATIENCE)
    execute(url, _END_BUILDING)
    before = upgrade.fail()
    assert execute(url, "SELECT FROM pg_index WHERE NOT indisvalid"), "it was built already"
    return before


def _columns(cost: Cost, alone: Cost) -> tuple[str, ...]:
    seconds = (f"{cost.before:.1f}" if cost.before else "", f"{cost.last:.1f}", f"{cost.seconds:.1f}")
    return *seconds, tables.ratio(cost.seconds / alone.seconds)


def _wal(cost: Cost, alone: Cost) -> str:
    return tables.ratio(cost.wal / alone.wal)


if __name__ == "__main__":
    print(measure(messages_asked()))
