"""What comes after the head: a revision that adds a column, and one that adds a table, go up, down and on."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import packages
from tests.support.catalog_dump import dump
from tests.support.contracting import Asked, asked
from tests.support.revisions import NEXT, NEXT_VERSION, REVISIONS, downgraded, upgraded
from tests.support.servers import Server, execute
from tests.support.states import NO_ROW, rows, version
from tests.support.ways import Call, both_drivers
from todo_schema import SCHEMA_VERSION, State
from todo_schema.compatibility import HEAD

# A table that no revision of ours will ever add.
TABLE = "throwaway_labels"
ADDS_A_TABLE = {
    f"{NEXT}_{TABLE}.py": f'''\
"""Labels of tasks.

Gain: a task can carry labels.
Locks: nothing that exists; one new, empty table.
Older packages: do not see it.
Going back: loses every label.
"""

import sqlalchemy as sa
from alembic.operations import Operations

revision = "{NEXT}"
down_revision = "{HEAD}"


def upgrade(op: Operations) -> None:
    """Create the table."""
    op.create_table(
        "{TABLE}",
        sa.Column("task_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("task_id", "name", name="pk_{TABLE}"),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name="fk_{TABLE}_task_id_tasks", ondelete="CASCADE"),
    )


def downgrade(op: Operations) -> None:
    """Drop the table."""
    op.drop_table("{TABLE}")
'''
}
DECLARES_IT = ("compatibility.py", "\nENTITY_TABLES: Final = ", f'\nENTITY_TABLES: Final = {{"{TABLE}"}} | ')


@pytest.fixture(scope="module")
def labels_package(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The PYTHONPATH of a package whose next revision adds a table."""
    folder = packages.throwaway_package(tmp_path_factory.mktemp("labels"), ADDS_A_TABLE, edits=[DECLARES_IT])
    packages.write_catalogues(folder, server)
    return folder


@pytest.fixture(scope="module")
def labels_asked(labels_package: Path) -> Iterator[Asked]:
    with asked(labels_package) as package:
        yield package


@pytest.fixture(params=["next_asked", "labels_asked"], ids=["a column", "a table"])
def newer(request: pytest.FixtureRequest) -> Asked:
    """A package that is one revision ahead of this one."""
    return request.getfixturevalue(request.param)


DEEP_CHECK = ("check", {"deep": True})


def assert_at_the_next(package: Asked, call: Call, url: str) -> None:
    """Assert that the newer package finds its own schema, and this one what it needs."""
    shallow, deep, status, plan, again = package(call, url, "check", DEEP_CHECK, "status", "plan", "upgrade")
    assert (shallow, deep) == ("current", "current")
    assert (status["database_version"], status["differences"], status["extras"]) == (NEXT_VERSION, [], [])
    assert (plan["steps"], again["applied"]) == ([], [])
    assert version(url) == [NEXT]
    assert call("check", url, deep=True) is State.AHEAD
    assert call("status", url).differences == ()
    assert call("upgrade", url).applied == ()


def revisions_of(steps: list[dict[str, Any]]) -> list[str]:
    return [step["revision"] for step in steps]


@both_drivers
def test_a_database_at_the_head_is_taken_to_the_next_revision_and_back(
    upgraded_database: str, newer: Asked, call: Call
):
    before = dump(upgraded_database)
    questions = ("status", "plan", "check", DEEP_CHECK, "upgrade")
    status, plan, shallow, deep, done = newer(call, upgraded_database, *questions)
    assert (status["state"], status["pending"]) == ("behind", [NEXT])
    assert (status["differences"], status["extras"]) == ([], [])
    assert revisions_of(plan["steps"]) == [NEXT]
    assert (shallow["error"], deep["error"]) == ("SchemaOutdatedError", "SchemaOutdatedError")
    assert (done["before"], done["after"], revisions_of(done["applied"])) == ("behind", "current", [NEXT])
    assert_at_the_next(newer, call, upgraded_database)
    (undone,) = newer(call, upgraded_database, ("downgrade", {"to": SCHEMA_VERSION}))
    assert (undone["after"], undone["version_after"]) == ("behind", SCHEMA_VERSION)
    assert revisions_of(undone["applied"]) == [NEXT]
    assert dump(upgraded_database) == before
    assert call("check", upgraded_database, deep=True) is State.CURRENT
    newer(call, upgraded_database, "upgrade")
    assert_at_the_next(newer, call, upgraded_database)


@both_drivers
def test_an_empty_database_is_taken_through_every_revision_and_back(database: str, newer: Asked, call: Call):
    every = [*REVISIONS, NEXT]
    status, plan, check, done = newer(call, database, "status", "plan", "check", "upgrade")
    assert (status["state"], status["pending"]) == ("empty", every)
    assert revisions_of(plan["steps"]) == every
    assert check["error"] == "SchemaOutdatedError"
    assert (done["after"], revisions_of(done["applied"])) == ("current", every)
    assert_at_the_next(newer, call, database)
    undone, emptied = newer(call, database, ("downgrade", {"to": "base"}), "status")
    assert revisions_of(undone["applied"]) == every[::-1]
    assert (undone["after"], emptied["state"]) == ("empty", "empty")
    assert rows(database, "revision, action") == [
        *upgraded(every),
        *downgraded(every[::-1]),
    ]


@both_drivers
@pytest.mark.parametrize("lost", [HEAD, NEXT])
def test_tables_without_a_version_are_adopted_for_what_they_are_and_taken_on_from_there(
    upgraded_database: str, newer: Asked, call: Call, lost: str
):
    if lost == NEXT:
        newer(call, upgraded_database, "upgrade")
    execute(upgraded_database, NO_ROW)
    plan, done = newer(call, upgraded_database, "plan", "upgrade")
    due = [] if lost == NEXT else [NEXT]
    assert (plan["state"], revisions_of(plan["steps"])) == ("unversioned", due)
    assert (done["adopted"], done["after"], revisions_of(done["applied"])) == (True, "current", due)
    assert_at_the_next(newer, call, upgraded_database)


@both_drivers
def test_a_table_that_the_recorded_version_has_is_missed_and_one_that_it_has_not_yet_is_not(
    upgraded_database: str, labels_asked: Asked, call: Call
):
    labels_asked(call, upgraded_database, "upgrade")
    execute(upgraded_database, f"DROP TABLE {TABLE}")
    questions = (DEEP_CHECK, "plan", ("downgrade", {"to": SCHEMA_VERSION}), "status")
    *refused, status = labels_asked(call, upgraded_database, *questions)
    assert [answer["error"] for answer in refused] == ["SchemaDriftError"] * 3
    assert [line for line in status["differences"] if line.startswith(f"table {TABLE}: missing")]
    assert version(upgraded_database) == [NEXT]
    assert call("check", upgraded_database, deep=True) is State.AHEAD
