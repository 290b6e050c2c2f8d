"""The states that a database can be in, and what its bookkeeping says."""

from pathlib import Path
from typing import Any

from tests.support.nest import run_code
from tests.support.revisions import CONTRACT, CONTRACTS, NEXT, NEXT_VERSION
from tests.support.servers import execute
from todo_schema import SCHEMA_VERSION, State, catalog
from todo_schema.compatibility import BOOKKEEPING_TABLES, ENTITY_TABLES

ALTERED = "ALTER TABLE messages ALTER content DROP NOT NULL"
NO_ROW = "DELETE FROM todo_schema_version"
AHEAD = f"UPDATE todo_schema_version SET version_num = '{NEXT}'"
FLOOR = (
    "INSERT INTO todo_schema_history (id, revision, line, ordinal, action, floor, package_version, duration, host,"
    " application_name) SELECT max(id) + 1,"
    f" '{CONTRACT}', 'contract', {len(CONTRACTS) + 1}, 'upgrade', {NEXT_VERSION}, '9', '0', 'h', 'a'"
    " FROM todo_schema_history"
)

# Each state but `behind`, as what has to be done to a database at the head.
STATES = {
    State.CURRENT: "SELECT",
    State.AHEAD: AHEAD,
    State.TOO_NEW: f"{AHEAD}; {FLOOR}",
    State.UNVERSIONED: NO_ROW,
    State.EMPTY: f"DROP TABLE {', '.join(sorted(ENTITY_TABLES | BOOKKEEPING_TABLES))}",
}


def index_of(table: str) -> str:
    """The name of an index of a table, as the head has it."""
    prefix = f"index {table}."
    return min(
        name.removeprefix(prefix) for name in catalog.expected(SCHEMA_VERSION) if name.startswith(prefix)
    )


def rows(
    url: str, columns: str = "revision, action, floor, checksum IS NULL", schema: str = "public"
) -> list[tuple[Any, ...]]:
    """What the history says, oldest row first."""
    quoted = schema.replace('"', '""')
    return execute(url, f'SELECT {columns} FROM "{quoted}".todo_schema_history ORDER BY id')


def version(url: str) -> list[str]:
    """The rows of the version table."""
    return [row[0] for row in execute(url, "SELECT version_num FROM todo_schema_version")]


def with_package(package: Path, code: str, url: str) -> str:
    """Run a line of Python with another version of the package, and return what it printed."""
    done = run_code(f"import sys, todo_schema as t; url = sys.argv[1]; {code}", url, pythonpath=package)
    assert done.returncode == 0, done.stderr
    return done.stdout
