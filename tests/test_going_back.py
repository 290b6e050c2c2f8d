"""downgrade and stamp: what they change, record and refuse."""

from pathlib import Path

import pytest

from tests.support.catalog_dump import dump
from tests.support.revisions import CONTRACT, NEXT, NEXT_VERSION, downgraded, upgraded
from tests.support.servers import execute
from tests.support.states import ALTERED, NO_ROW, STATES, rows, version, with_package
from todo_schema import (
    SCHEMA_VERSION,
    SchemaDriftError,
    SchemaOutdatedError,
    SchemaTooNewError,
    State,
    UnknownRevisionError,
    UnversionedSchemaError,
    check,
    downgrade,
    history,
    sql,
    stamp,
    status,
    upgrade,
)
from todo_schema.compatibility import HEAD

APPLIED = [(revision, action, 1, False) for revision, action in upgraded()]
EVERY = [revision.revision for revision in history()]
# What a person may call the head.
NAMES = [SCHEMA_VERSION, str(SCHEMA_VERSION), HEAD]

# downgrade


def test_downgrade_has_no_default_target(upgraded_database: str):
    with pytest.raises(TypeError, match="to"):
        downgrade(upgraded_database)
    assert version(upgraded_database) == [HEAD]


def test_downgrade_to_base_undoes_everything_and_records_it(upgraded_database: str):
    done = downgrade(upgraded_database, to="base")
    assert (done.before, done.after) == (State.CURRENT, State.EMPTY)
    assert (done.version_before, done.version_after) == (SCHEMA_VERSION, None)
    assert version(upgraded_database) == []
    undone = [(revision, action, 1, revision == "base") for revision, action in downgraded()]
    assert rows(upgraded_database) == [*APPLIED, *undone]


def test_downgrade_stops_at_the_revision_named(upgraded_database: str, next_package: Path):
    with_package(next_package, "t.upgrade(url)", upgraded_database)
    printed = with_package(next_package, f"print(t.downgrade(url, to={SCHEMA_VERSION}))", upgraded_database)
    assert printed.startswith(f"schema {NEXT_VERSION} -> {SCHEMA_VERSION}\n  {NEXT} A note on a task")
    assert version(upgraded_database) == [HEAD]
    assert check(upgraded_database, deep=True) is State.CURRENT


@pytest.mark.parametrize("to", [*NAMES, f"0{HEAD}"])
def test_downgrade_to_where_the_database_is_does_nothing(upgraded_database: str, to: str | int):
    assert downgrade(upgraded_database, to=to).applied == ()
    assert rows(upgraded_database) == APPLIED


@pytest.mark.parametrize(
    "to", [NEXT, NEXT_VERSION, "head", "", "-1", " 1", "+1", "٣", "000", 0, -1, "9" * 5000, CONTRACT, "main"]
)
def test_a_revision_that_this_package_does_not_have_is_refused(upgraded_database: str, to: str | int):
    for call in (
        lambda: downgrade(upgraded_database, to=to),
        lambda: stamp(upgraded_database, to),
        lambda: sql(to=to),
    ):
        with pytest.raises(UnknownRevisionError, match=f"needed: one of base, {', '.join(EVERY)}\n"):
            call()
    assert version(upgraded_database) == [HEAD]


def test_downgrade_does_not_go_up(database: str):
    before = dump(database)
    with pytest.raises(UnknownRevisionError, match="above schema none"):
        downgrade(database, to=1)
    assert dump(database) == before


def test_downgrade_of_an_empty_database_to_base_leaves_it_empty(database: str):
    before = dump(database)
    assert downgrade(database, to="base").after is State.EMPTY
    assert dump(database) == before


@pytest.mark.parametrize(
    ("state", "error"),
    [
        (State.AHEAD, SchemaTooNewError),
        (State.TOO_NEW, SchemaTooNewError),
        (State.UNVERSIONED, UnversionedSchemaError),
    ],
)
@pytest.mark.parametrize("to", ["base", HEAD])
def test_downgrade_refuses_what_it_does_not_know_and_changes_nothing(
    upgraded_database: str, state: State, error: type[Exception], to: str
):
    execute(upgraded_database, STATES[state])
    before = (dump(upgraded_database), version(upgraded_database), rows(upgraded_database))
    with pytest.raises(error):
        downgrade(upgraded_database, to=to)
    assert (dump(upgraded_database), version(upgraded_database), rows(upgraded_database)) == before


# stamp


@pytest.mark.parametrize("revision", NAMES)
def test_stamp_records_a_revision_that_the_tables_have(upgraded_database: str, revision: str | int):
    execute(upgraded_database, NO_ROW)
    done = stamp(upgraded_database, revision)
    assert (done.before, done.after) == (State.UNVERSIONED, State.CURRENT)
    assert done.applied == ()
    assert version(upgraded_database) == [HEAD]
    assert rows(upgraded_database)[-1] == (HEAD, "stamp", 1, False)


def test_stamp_accepts_tables_that_differ_in_what_does_not_stop_the_package(upgraded_database: str):
    execute(upgraded_database, f"{NO_ROW}; {ALTERED}")
    with pytest.raises(UnversionedSchemaError):
        upgrade(upgraded_database)
    assert stamp(upgraded_database, SCHEMA_VERSION).after is State.CURRENT
    assert upgrade(upgraded_database).applied == ()


def test_stamp_makes_the_bookkeeping_tables_where_they_are_missing(upgraded_database: str):
    clean = dump(upgraded_database)
    execute(upgraded_database, "DROP TABLE todo_schema_version, todo_schema_history")
    stamp(upgraded_database, SCHEMA_VERSION)
    assert dump(upgraded_database) == clean


def test_stamp_to_base_forgets_the_version_and_keeps_the_tables(upgraded_database: str):
    assert stamp(upgraded_database, "base").after is State.UNVERSIONED
    assert rows(upgraded_database)[-1] == ("base", "stamp", 1, True)
    assert upgrade(upgraded_database).adopted


def test_stamp_records_nothing_where_there_are_no_tables(database: str):
    with pytest.raises(SchemaOutdatedError):
        stamp(database, SCHEMA_VERSION)
    assert status(database).state is State.EMPTY


@pytest.mark.parametrize("change", ["DROP TABLE tasks", "ALTER TABLE tasks DROP description"])
def test_stamp_refuses_a_revision_whose_tables_or_columns_are_missing(upgraded_database: str, change: str):
    execute(upgraded_database, change)
    before = dump(upgraded_database)
    with pytest.raises(SchemaDriftError) as caught:
        stamp(upgraded_database, SCHEMA_VERSION)
    assert any("tasks" in line for line in caught.value.differences)
    assert dump(upgraded_database) == before
