"""The pure rules: how a database stands to a package, and how revisions are written."""

import pytest

from tests.support.processes import SOURCE
from todo_schema.compatibility import (
    ENTITY_TABLES,
    HEAD,
    PACKAGE_VERSION,
    SCHEMA_VERSION,
    State,
    decide,
    is_contract,
    ordinal_of,
)

SOME = {"users"}


@pytest.mark.parametrize(
    ("package", "database", "floor", "tables", "state"),
    [
        (3, None, 1, set(), State.EMPTY),
        (3, None, 1, SOME, State.UNVERSIONED),
        (3, None, 1, ENTITY_TABLES, State.UNVERSIONED),
        (3, 1, 1, ENTITY_TABLES, State.BEHIND),
        (3, 2, 1, ENTITY_TABLES, State.BEHIND),
        (3, 2, 2, ENTITY_TABLES, State.BEHIND),
        (3, 3, 1, ENTITY_TABLES, State.CURRENT),
        (3, 3, 3, ENTITY_TABLES, State.CURRENT),
        (3, 4, 1, ENTITY_TABLES, State.AHEAD),
        (3, 900, 3, ENTITY_TABLES, State.AHEAD),
        (3, 4, 4, ENTITY_TABLES, State.TOO_NEW),
        (3, 900, 4, ENTITY_TABLES, State.TOO_NEW),
        # The floor is what counts, also where the version row is gone or was set back by hand.
        (3, None, 4, set(), State.TOO_NEW),
        (3, None, 4, SOME, State.TOO_NEW),
        (3, 3, 4, ENTITY_TABLES, State.TOO_NEW),
        (3, 1, 4, ENTITY_TABLES, State.TOO_NEW),
        # A recorded version counts, also where tables are missing: that is drift, not an empty database.
        (3, 3, 1, set(), State.CURRENT),
        (3, 1, 1, set(), State.BEHIND),
    ],
)
def test_versions_and_floor_decide_the_state(
    package: int, database: int | None, floor: int, tables: set[str], state: State
):
    assert decide(package=package, database=database, floor=floor, tables=tables) is state


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


@pytest.mark.parametrize("text", ["c001", "c042", "c1000"])
def test_a_contract_revision_is_a_c_and_an_ordinal(text: str):
    assert is_contract(text)


@pytest.mark.parametrize("text", ["c1", "c000", "c", "C001", "cc001", "c 001", "001", "", "c00²", "contract"])
def test_any_other_text_is_no_contract_revision(text: str):
    assert not is_contract(text)


def test_the_head_is_the_schema_version_as_a_revision():
    assert ordinal_of(HEAD) == SCHEMA_VERSION


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
