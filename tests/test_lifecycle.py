"""status, check, plan and history: what each says of a database, and that asking changes nothing."""

import json
import logging
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import todo_schema
from tests.support.catalog_dump import dump
from tests.support.processes import run_python
from tests.support.psql import apply
from tests.support.revisions import NEXT, NEXT_VERSION, REVISIONS
from tests.support.servers import execute
from tests.support.states import AHEAD, ALTERED, NO_ROW, STATES, with_package
from todo_schema import (
    SCHEMA_VERSION,
    SchemaDriftError,
    SchemaOutdatedError,
    SchemaTooNewError,
    State,
    UnversionedSchemaError,
    check,
    check_async,
    contract,
    downgrade,
    history,
    plan,
    status,
    upgrade,
)
from todo_schema.compatibility import ENTITY_TABLES

# status


@pytest.mark.parametrize("state", STATES)
def test_status_tells_each_state(upgraded_database: str, state: State):
    execute(upgraded_database, STATES[state])
    said = status(upgraded_database)
    assert said.state is state
    assert said.schema == "public"
    assert said.package_schema_version == SCHEMA_VERSION
    assert said.package_version == todo_schema.__version__
    assert said.floor == (NEXT_VERSION if state is State.TOO_NEW else 1)
    assert said.pending == (REVISIONS if state is State.EMPTY else ())
    newer = {State.CURRENT: SCHEMA_VERSION, State.AHEAD: NEXT_VERSION, State.TOO_NEW: NEXT_VERSION}
    assert said.database_version == newer.get(state)
    assert execute(upgraded_database, "SHOW server_version")[0][0].startswith(said.server)


def test_status_tells_that_a_database_is_behind_and_what_is_pending(
    upgraded_database: str, next_package: Path
):
    said = json.loads(
        with_package(
            next_package, "import json; print(json.dumps(t.status(url).as_dict()))", upgraded_database
        )
    )
    assert (said["state"], said["database_version"], said["pending"]) == ("behind", SCHEMA_VERSION, [NEXT])


def test_status_lists_how_unversioned_tables_differ(upgraded_database: str):
    execute(upgraded_database, f"{NO_ROW}; {ALTERED}")
    said = status(upgraded_database)
    assert said.state is State.UNVERSIONED
    assert said.differences == ("column messages.content: found text, needed text not null",)
    assert said.contract_pending[0].waits_for == "todo-schema adopt --url URL"


def test_status_of_tables_that_upgrade_would_adopt_lists_no_difference(upgraded_database: str):
    execute(upgraded_database, NO_ROW)
    assert status(upgraded_database).differences == ()


def test_status_of_a_newer_database_asks_only_for_what_this_package_needs(
    upgraded_database: str, next_package: Path
):
    with_package(next_package, "t.upgrade(url)", upgraded_database)
    said = status(upgraded_database)
    assert (said.state, said.differences, said.extras) == (State.AHEAD, (), ())
    execute(upgraded_database, "ALTER TABLE tasks DROP description")
    assert status(upgraded_database).differences == ("column tasks.description: missing",)


@pytest.mark.parametrize("state", STATES)
def test_asking_changes_nothing(upgraded_database: str, state: State):
    execute(upgraded_database, STATES[state])
    before = dump(upgraded_database)
    for ask in (status, plan, history, check):
        with suppress(todo_schema.TodoSchemaError):
            ask(upgraded_database)
    assert dump(upgraded_database) == before


# check


@pytest.mark.parametrize(
    ("state", "error"),
    [
        (State.EMPTY, SchemaOutdatedError),
        (State.TOO_NEW, SchemaTooNewError),
        (State.UNVERSIONED, UnversionedSchemaError),
    ],
)
async def test_check_refuses_what_this_package_cannot_work_with(
    upgraded_database: str, state: State, error: type[todo_schema.TodoSchemaError]
):
    execute(upgraded_database, STATES[state])
    for deep in (False, True):
        with pytest.raises(error) as caught:
            check(upgraded_database, deep=deep)
        with pytest.raises(error) as twin:
            await check_async(upgraded_database, deep=deep)
        assert str(twin.value) == str(caught.value)


def test_check_refuses_a_database_that_is_behind_and_says_the_command(
    upgraded_database: str, next_package: Path
):
    code = "import contextlib\ntry: t.check(url)\nexcept t.SchemaOutdatedError as error: print(error)"
    said = run_python(
        f"import sys, todo_schema as t; url = sys.argv[1]\n{code}", upgraded_database, pythonpath=next_package
    )
    assert f"found: schema {SCHEMA_VERSION}" in said.stdout
    assert f"needed: schema {NEXT_VERSION}" in said.stdout
    assert "cure: todo-schema upgrade" in said.stdout


@pytest.mark.parametrize("state", [State.CURRENT, State.AHEAD])
@pytest.mark.parametrize("deep", [False, True])
def test_check_returns_the_state_where_this_package_can_work(
    upgraded_database: str, state: State, deep: bool
):
    execute(upgraded_database, STATES[state])
    assert check(upgraded_database, deep=deep) is state


def test_a_newer_database_is_logged_once_at_info(upgraded_database: str, caplog: pytest.LogCaptureFixture):
    execute(upgraded_database, AHEAD)
    with caplog.at_level(logging.INFO, "todo_schema"):
        upgrade(upgraded_database)
    (record,) = [record for record in caplog.records if record.name == "todo_schema"]
    assert record.levelno == logging.INFO
    assert f"is at schema {NEXT_VERSION}, newer than schema {SCHEMA_VERSION}" in record.getMessage()


def test_only_a_deep_check_compares_the_columns(upgraded_database: str):
    execute(upgraded_database, ALTERED)
    assert check(upgraded_database) is State.CURRENT
    with pytest.raises(SchemaDriftError) as caught:
        check(upgraded_database, deep=True)
    assert caught.value.differences == status(upgraded_database).differences
    assert "column messages.content" in str(caught.value)


# plan and history


def test_a_plan_is_what_upgrade_then_does(database: str):
    planned = plan(database)
    assert planned.state is State.EMPTY
    assert [step.revision for step in planned.steps] == [*REVISIONS]
    assert all(step.details.startswith("Gain: ") for step in planned.steps)
    done = upgrade(database)
    assert [step.revision for step in done.applied] == [step.revision for step in planned.steps]
    assert plan(database).steps == ()


def test_the_sql_of_a_plan_is_what_the_revision_runs(database: str, upgraded_database: str):
    for step in plan(database).steps:
        apply(database, step.sql)
    assert dump(database, tables=sorted(ENTITY_TABLES)) == dump(
        upgraded_database, tables=sorted(ENTITY_TABLES)
    )


def test_a_plan_for_tables_that_would_be_adopted_has_no_step(upgraded_database: str):
    execute(upgraded_database, NO_ROW)
    assert plan(upgraded_database).state is State.UNVERSIONED
    assert plan(upgraded_database).steps == ()


def test_a_plan_raises_what_upgrade_would_raise(upgraded_database: str):
    execute(upgraded_database, STATES[State.TOO_NEW])
    with pytest.raises(SchemaTooNewError):
        plan(upgraded_database)


def test_history_without_a_url_lists_the_revisions_of_the_package():
    listed = history()
    assert [revision.revision for revision in listed if revision.line == "expand"] == [*REVISIONS]
    assert [*REVISIONS] == [f"{n:03d}" for n in range(1, SCHEMA_VERSION + 1)]
    for revision in listed:
        assert revision.summary
        assert "Going back: " in revision.details
        assert len(revision.checksum) == 64
        assert revision.applied_at is revision.duration is revision.package_version is revision.role is None


def test_history_of_a_database_says_when_by_whom_and_how_long(database: str):
    assert history(database) == history()
    before = datetime.now(UTC) - timedelta(seconds=1)
    upgrade(database)
    contract(database)
    for revision in history(database):
        assert before < revision.applied_at < datetime.now(UTC) + timedelta(seconds=1)
        assert revision.applied_at.tzinfo is UTC
        assert timedelta(0) < revision.duration < timedelta(minutes=1)
        assert revision.package_version == todo_schema.__version__
        assert revision.role == execute(database, "SELECT current_user")[0][0]


def test_history_tells_the_newest_time_that_a_revision_was_applied_and_none_after_it_was_undone(
    database: str,
):
    upgrade(database)
    first, *_ = history(database)
    downgrade(database, to="base")
    assert history(database) == history()
    upgrade(database)
    assert history(database)[0].applied_at > first.applied_at
