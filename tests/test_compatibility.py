"""The pure rules: how a database stands to a package, and how revisions are written."""

import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from tests.support import packages
from tests.support.processes import SOURCE, run_python
from tests.support.servers import execute
from tests.support.states import AHEAD, STATES
from tests.support.ways import Call, asyncpg, psycopg
from todo_schema import State
from todo_schema.compatibility import (
    BASE,
    ENTITY_TABLES,
    HEAD,
    PACKAGE_VERSION,
    SCHEMA_VERSION,
    Line,
    contract_ordinal_of,
    decide,
    line_of,
    number_of,
    ordinal_of,
    revision_at,
)

SOME = {"users"}
# Of a package of schema 3: what is below, the same and above.
PACKAGE = 3
NONE, OLDER, SAME, NEWER = None, 2, 3, 4
LOWER, EQUAL, HIGHER = 2, 3, 4

# Every case there is: (database, floor) -> the state without tables, and the state with some.
DECISIONS = {
    (NONE, LOWER): (State.EMPTY, State.UNVERSIONED),
    (NONE, EQUAL): (State.EMPTY, State.UNVERSIONED),
    (OLDER, LOWER): (State.BEHIND, State.BEHIND),
    (OLDER, EQUAL): (State.BEHIND, State.BEHIND),
    # A recorded version counts, also where tables are missing: that is drift, not an empty database.
    (SAME, LOWER): (State.CURRENT, State.CURRENT),
    (SAME, EQUAL): (State.CURRENT, State.CURRENT),
    (NEWER, LOWER): (State.AHEAD, State.AHEAD),
    (NEWER, EQUAL): (State.AHEAD, State.AHEAD),
    # The floor is what counts, also where the version row is gone or was set back by hand.
    (NONE, HIGHER): (State.TOO_NEW, State.TOO_NEW),
    (OLDER, HIGHER): (State.TOO_NEW, State.TOO_NEW),
    (SAME, HIGHER): (State.TOO_NEW, State.TOO_NEW),
    (NEWER, HIGHER): (State.TOO_NEW, State.TOO_NEW),
}


def test_the_table_of_decisions_has_every_case():
    assert set(DECISIONS) == set(product((NONE, OLDER, SAME, NEWER), (LOWER, EQUAL, HIGHER)))


@pytest.mark.parametrize(("database", "floor"), DECISIONS)
def test_versions_and_floor_decide_the_state(database: int | None, floor: int):
    without, with_tables = DECISIONS[database, floor]
    for tables in (set(), ()):
        assert decide(package=PACKAGE, database=database, floor=floor, tables=tables) is without
    for tables in (SOME, ENTITY_TABLES):
        assert decide(package=PACKAGE, database=database, floor=floor, tables=tables) is with_tables


@pytest.mark.parametrize("stretch", [lambda n: n + 97, lambda n: n * 1000, lambda n: n**9])
def test_only_the_order_of_the_numbers_counts(stretch):
    for (database, floor), (without, with_tables) in DECISIONS.items():
        other = None if database is None else stretch(database)
        numbers = {"package": stretch(PACKAGE), "database": other, "floor": stretch(floor)}
        assert (decide(**numbers, tables=()), decide(**numbers, tables=SOME)) == (without, with_tables)


def test_every_state_is_reached_for_some_package_and_database():
    reached = {
        decide(package=2, database=database, floor=floor, tables=tables)
        for database in (None, 1, 2, 3)
        for floor in (1, 2, 3)
        for tables in ((), SOME)
    }
    assert reached == set(State)


@pytest.mark.parametrize(
    ("revision", "ordinal"),
    [
        ("001", 1),
        ("002", 2),
        ("010", 10),
        ("099", 99),
        ("100", 100),
        ("999", 999),
        ("1000", 1000),
        ("12345", 12345),
    ],
)
def test_an_ordinal_is_written_with_three_digits_or_more(revision: str, ordinal: int):
    assert ordinal_of(revision) == ordinal


@pytest.mark.parametrize(
    "text",
    [
        "", "0", "1", "01", "000", "0000", "0001", "01000", " 1", " 001", "001 ", "001\n", "+1", "+001", "-001",
        "٣", "٠٠٣", "００１", "²", "00²",  # noqa: RUF001  # digits of other scripts are the point
        "0x1", "1_0", "1_000", "1.0", "001.0", "1e3", "c001", "base", "head", "None", "9" * 5000,
    ],
)  # fmt: skip
def test_any_other_spelling_is_no_ordinal(text: str):
    assert ordinal_of(text) is None


@pytest.mark.parametrize(("revision", "ordinal"), [("c001", 1), ("c042", 42), ("c1000", 1000)])
def test_a_contract_revision_is_a_c_and_an_ordinal(revision: str, ordinal: int):
    assert contract_ordinal_of(revision) == ordinal
    assert ordinal_of(revision) is None


@pytest.mark.parametrize("text", ["c1", "c000", "c", "C001", "cc001", "c 001", "001", "", "c00²", "contract"])
def test_any_other_text_is_no_contract_revision(text: str):
    assert contract_ordinal_of(text) is None


@pytest.mark.parametrize(
    ("revision", "line", "number"),
    [
        (BASE, Line.EXPAND, 0),
        ("001", Line.EXPAND, 1),
        ("1000", Line.EXPAND, 1000),
        ("c000", Line.CONTRACT, 0),
        ("c001", Line.CONTRACT, 1),
        ("c1000", Line.CONTRACT, 1000),
    ],
)
def test_a_revision_is_a_place_in_a_line_and_back(revision: str, line: Line, number: int):
    assert (line_of(revision), number_of(revision)) == (line, number)
    assert revision_at(line, number) == revision


def test_the_head_is_the_schema_version_as_a_revision():
    assert ordinal_of(HEAD) == SCHEMA_VERSION


def test_a_line_is_its_own_text():
    assert [str(line) for line in Line] == ["expand", "contract"]


def test_a_state_is_its_own_text():
    assert [str(state) for state in State] == [
        "empty",
        "behind",
        "current",
        "ahead",
        "too_new",
        "unversioned",
    ]


def test_the_version_is_written_in_one_place():
    lines = [
        path.name
        for path in (SOURCE / "todo_schema").glob("*.py")
        if f'"{PACKAGE_VERSION}"' in path.read_text(encoding="utf-8")
    ]
    assert lines == ["compatibility.py"]


ASK = """
import asyncio, json, sys, todo_schema
from todo_schema import State, TodoSchemaError, session_factory

driver, url = sys.argv[1:]

async def connect():
    async with session_factory(url) as sessions, sessions() as session:
        await session.connection()

def call(name, **options):
    if driver == "psycopg":
        return getattr(todo_schema, name)(url, **options)
    return asyncio.run(getattr(todo_schema, name + "_async")(url, **options))

ways = {
    "upgrade": lambda: call("upgrade").after,
    "check": lambda: call("check"),
    "wait": lambda: call("wait", timeout=0),
    "status": lambda: call("status").state,
    "sessions": lambda: asyncio.run(connect()),
}
said = {}
for name, way in ways.items():
    try:
        said[name] = str(way() or "admitted")
    except TodoSchemaError as error:
        said[name] = type(error).__name__
print(json.dumps(said))
"""
REFUSED = dict.fromkeys(("upgrade", "check", "wait", "sessions"), "SchemaTooNewError") | {
    "status": State.TOO_NEW
}
ADMITTED = dict.fromkeys(("upgrade", "check", "wait", "status"), State.AHEAD) | {"sessions": "admitted"}


def said(call: Call, url: str, package: Path | None = None) -> dict[str, Any]:
    """How each of the five finds a database to stand to a package."""
    driver = call.__name__  # type: ignore[attr-defined]
    done = run_python(ASK, driver, url, pythonpath=package)
    assert done.returncode == 0, done.stderr
    verdicts: dict[str, Any] = json.loads(done.stdout)
    return verdicts


@pytest.mark.parametrize(
    ("call", "rule", "ours", "theirs"),
    [
        (psycopg, "floor > package + 1000", REFUSED, ADMITTED),
        # A connection decides where its first message finds the floor above the package, and only there.
        (asyncpg, "floor >= package", ADMITTED, REFUSED | {"sessions": "admitted"}),
    ],
    ids=["a milder rule", "a stricter rule"],
)
def test_upgrade_check_wait_status_and_the_sessions_decide_by_the_one_rule(
    upgraded_database: str,
    tmp_path: Path,
    call: Call,
    rule: str,
    ours: dict[str, str],
    theirs: dict[str, str],
):
    """A package with another rule differs in them all, so that none of them has a rule of its own."""
    execute(upgraded_database, STATES[State.TOO_NEW] if ours is REFUSED else AHEAD)
    execute(
        upgraded_database, f"UPDATE todo_schema_history SET floor = {SCHEMA_VERSION} WHERE line = 'expand'"
    )
    edit = ("compatibility.py", "if floor > package:", f"if {rule}:")
    other = packages.throwaway_package(tmp_path, edits=[edit])
    assert said(call, upgraded_database) == ours
    assert said(call, upgraded_database, other) == theirs
