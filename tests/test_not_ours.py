"""Databases that are not what they seem: refused by name, nothing touched, and never an exit as if all were well."""

import logging
import re

import pytest

from tests.support.catalog_dump import dump
from tests.support.contracting import Asked
from tests.support.revisions import NEXT
from tests.support.servers import execute
from tests.support.states import AHEAD, STATES, index_of
from tests.support.ways import Call, both_drivers, drivers_by_turns, in_process
from todo_schema import (
    SCHEMA_VERSION,
    ForeignVersionError,
    SchemaDriftError,
    SchemaOutdatedError,
    SchemaTooNewError,
    State,
    TodoSchemaError,
    UnversionedSchemaError,
)
from todo_schema.compatibility import HEAD

OPTIONS: dict[str, dict[str, object]] = {"downgrade": {"to": "base"}, "stamp": {"revision": HEAD}}


def contents(url: str) -> str:
    """Everything that a database holds: definitions, and the rows of whatever it has in schema public."""
    tables = execute(
        url,
        "SELECT quote_ident(relname) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        " AND relkind IN ('r', 'v') ORDER BY 1",
    )
    rows = [execute(url, f"SELECT '{name}', t::text FROM {name} t ORDER BY 2") for (name,) in tables]
    return dump(url) + repr(rows)


def refused(call: Call, url: str, kind: type[TodoSchemaError], *names: str) -> list[TodoSchemaError]:
    """The errors of functions that all have to refuse a database, and to leave it as it was."""
    before = contents(url)
    errors = []
    for name in names:
        with pytest.raises(TodoSchemaError) as caught:
            call(name, url, **OPTIONS.get(name, {}))
        assert type(caught.value) is kind, name
        assert caught.value.cure
        errors.append(caught.value)
    assert contents(url) == before
    return errors


@drivers_by_turns(
    "table, definition",
    [
        ("users", "TABLE users (id serial PRIMARY KEY, name text)"),
        ("tasks", "TABLE tasks (celery_id text, state text)"),
        ("messages", "VIEW messages AS SELECT 1 AS id"),
        ("conversations", "TABLE conversations (id uuid) PARTITION BY HASH (id)"),
    ],
)
def test_a_table_of_somebody_else_s_is_refused_with_its_name_and_each_difference(
    database: str, call: Call, table: str, definition: str
):
    execute(database, f"CREATE {definition}")
    for error in refused(call, database, UnversionedSchemaError, "upgrade", "check", "plan", "sql"):
        assert isinstance(error, UnversionedSchemaError)
        assert table in error.found
        lines = "; ".join(error.differences)
        assert f"table {'tasks' if table == 'users' else 'users'}: missing, needed table" in lines
        assert re.search(rf"(column|table) {table}\b", lines)
        assert "--schema" in error.cure
    assert call("status", database).state is State.UNVERSIONED
    assert call("upgrade", database, schema="todo").after is State.CURRENT
    assert call("check", database, schema="todo", deep=True) is State.CURRENT


@drivers_by_turns(
    "table",
    [
        "TABLE todo_schema_version AS SELECT 'abc123'::text AS version_num",
        "TABLE todo_schema_version AS SELECT unnest(array['001', '900']) AS version_num",
        "TABLE todo_schema_version AS SELECT unnest(array['001', 'abc']) AS version_num",
        "TABLE todo_schema_version AS SELECT 'c1x'::text AS version_num",
        "TABLE todo_schema_version AS SELECT ' 001'::text AS version_num",
        "TABLE todo_schema_version AS SELECT 1 AS version_num",
        "TABLE todo_schema_version AS SELECT NULL::text AS version_num",
        "TABLE todo_schema_version AS SELECT 'x'::text AS version",
        "VIEW todo_schema_version AS SELECT 'abc123'::text AS version_num",
        "VIEW todo_schema_version AS SELECT 2 AS other",
        f"TABLE todo_schema_version AS SELECT '{HEAD}'::text AS version_num; CREATE TABLE todo_schema_history (x int)",
    ],
)
def test_a_version_table_of_somebody_else_s_is_refused(database: str, call: Call, table: str):
    execute(database, f"CREATE {table}")
    names = ("upgrade", "check", "status", "downgrade", "plan")
    if f"'{HEAD}'::text AS version_num; " in table:
        # The boot check is that one row and nothing else; whoever looks closer sees the rest.
        names = ("status", "downgrade", "plan")
    for error in refused(call, database, ForeignVersionError, *names):
        assert "todo_schema_version" in error.found
        assert "schema" in error.cure


@both_drivers
@pytest.mark.parametrize("wrote", ["abc123", "1"])
def test_the_cure_for_a_row_that_a_person_wrote_into_our_table_works(
    upgraded_database: str, call: Call, wrote: str
):
    execute(upgraded_database, f"UPDATE todo_schema_version SET version_num = '{wrote}'")
    (error,) = refused(call, upgraded_database, ForeignVersionError, "upgrade")
    assert repr(wrote) in error.found
    (statement,) = re.findall(r"DELETE [^;]*;", error.cure)
    execute(upgraded_database, statement)
    assert call("upgrade", upgraded_database).adopted
    assert call("check", upgraded_database, deep=True) is State.CURRENT


@drivers_by_turns(
    "lost",
    [
        "DELETE FROM todo_schema_version",
        "DROP TABLE todo_schema_version",
        "DROP TABLE todo_schema_version, todo_schema_history",
    ],
)
def test_tables_that_are_exactly_ours_are_adopted_without_a_version_and_the_report_says_so(
    upgraded_database: str, call: Call, lost: str
):
    clean = dump(upgraded_database)
    execute(upgraded_database, lost)
    (error,) = refused(call, upgraded_database, UnversionedSchemaError, "check")
    assert "todo-schema upgrade" in error.cure
    assert call("status", upgraded_database).state is State.UNVERSIONED
    report = call("upgrade", upgraded_database)
    assert (report.before, report.after) == (State.UNVERSIONED, State.CURRENT)
    assert report.adopted
    assert "adopted" in str(report)
    assert report.applied == ()
    assert dump(upgraded_database) == clean
    assert call("check", upgraded_database, deep=True) is State.CURRENT
    assert execute(upgraded_database, "SELECT action FROM todo_schema_history ORDER BY id DESC LIMIT 1") == [
        ("adopt",)
    ]


@drivers_by_turns(
    "change, difference",
    [
        ("DROP TABLE tasks", "table tasks: missing, needed table"),
        ("ALTER TABLE tasks DROP COLUMN description", "column tasks.description: missing, needed text"),
        ("ALTER TABLE tasks ADD COLUMN extra int", "column tasks.extra: found integer, not expected"),
        (
            "ALTER TABLE users ALTER COLUMN email TYPE varchar(9)",
            "column users.email: found character varying(9)",
        ),
        (f"DROP INDEX {index_of('tasks')}", f"index tasks.{index_of('tasks')}: missing"),
        (
            "ALTER TABLE messages DROP CONSTRAINT ck_messages_role_known",
            "constraint messages.ck_messages_role_known",
        ),
        (
            "ALTER TABLE users ALTER created_at DROP DEFAULT; DROP TABLE tasks",
            "column users.created_at: found",
        ),
    ],
)
def test_altered_tables_without_a_version_are_refused_with_the_difference(
    upgraded_database: str, call: Call, change: str, difference: str
):
    execute(upgraded_database, f"DELETE FROM todo_schema_version; {change}")
    for error in refused(call, upgraded_database, UnversionedSchemaError, "upgrade", "check", "downgrade"):
        assert isinstance(error, UnversionedSchemaError)
        assert [line for line in error.differences if line.startswith(difference)]
        assert difference in error.found
    assert [line for line in call("status", upgraded_database).differences if line.startswith(difference)]


@drivers_by_turns(
    "change, difference",
    [
        ("DROP TABLE tasks", "table tasks: missing"),
        ("DROP TABLE todo_schema_history", "table todo_schema_history: missing"),
        ("ALTER TABLE tasks DROP COLUMN title", "column tasks.title: missing"),
        (f"DROP INDEX {index_of('messages')}", f"index messages.{index_of('messages')}: missing"),
        (
            "ALTER TABLE tasks DROP CONSTRAINT fk_tasks_user_id_users",
            "constraint tasks.fk_tasks_user_id_users: missing",
        ),
        (
            f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{index_of('tasks')}'::regclass",
            f"index tasks.{index_of('tasks')}: found",
        ),
    ],
)
def test_what_is_missing_although_the_version_is_current_is_told_by_status_and_a_deep_check(
    upgraded_database: str, call: Call, change: str, difference: str
):
    execute(upgraded_database, change)
    with pytest.raises(SchemaDriftError) as caught:
        call("check", upgraded_database, deep=True)
    assert [line for line in caught.value.differences if line.startswith(difference)]
    assert difference in caught.value.found
    status = call("status", upgraded_database)
    assert status.state is State.CURRENT
    assert [line for line in status.differences if line.startswith(difference)]
    assert f"differs   {difference}" in str(status)


@both_drivers
def test_an_outdated_database_that_lacks_a_table_is_not_migrated(
    upgraded_database: str, next_asked: Asked, call: Call
):
    execute(upgraded_database, "DROP TABLE conversations CASCADE")
    before = contents(upgraded_database)
    for refused in next_asked(call, upgraded_database, "upgrade", "check", "plan"):
        assert refused["error"] == "SchemaDriftError"
        assert "table conversations: missing" in refused["found"]
    assert contents(upgraded_database) == before


@both_drivers
def test_a_newer_database_that_still_has_our_tables_is_normal_and_logged_once(
    upgraded_database: str, next_asked: Asked, call: Call, caplog: pytest.LogCaptureFixture
):
    (done,) = next_asked(call, upgraded_database, "upgrade")
    assert done["after"] == "current"
    before = contents(upgraded_database)
    caplog.set_level(logging.INFO, "todo_schema")
    for name in ("upgrade", "check"):
        caplog.clear()
        result = call(name, upgraded_database)
        assert (result.after if name == "upgrade" else result) is State.AHEAD
        (record,) = caplog.records
        assert record.levelno == logging.INFO
        assert f"newer than schema {SCHEMA_VERSION} of this package" in record.getMessage()
    assert call("check", upgraded_database, deep=True) is State.AHEAD
    assert call("status", upgraded_database).state is State.AHEAD
    refused(call, upgraded_database, SchemaTooNewError, "downgrade", "sql")
    assert contents(upgraded_database) == before


@drivers_by_turns("version", [HEAD, NEXT])
def test_a_boot_that_has_nothing_to_do_does_not_import_alembic(
    upgraded_database: str, call: Call, version: str
):
    execute(upgraded_database, f"UPDATE todo_schema_version SET version_num = '{version}'")
    for function in ("upgrade", "check"):
        answer = in_process(call, function, upgraded_database)
        assert (answer["kind"], answer["alembic"]) == (None, False)


@both_drivers
def test_a_newer_version_without_our_tables_is_refused(database: str, call: Call):
    execute(database, f"CREATE TABLE todo_schema_version AS SELECT '{NEXT}'::text AS version_num")
    for error in refused(call, database, SchemaDriftError, "upgrade", "check", "downgrade", "plan"):
        assert "table users: missing" in error.found


@both_drivers
def test_a_newer_version_without_a_column_of_ours_is_told_by_status_and_a_deep_check(
    upgraded_database: str, call: Call
):
    execute(upgraded_database, f"{AHEAD}; ALTER TABLE tasks DROP title")
    assert call("status", upgraded_database).differences == ("column tasks.title: missing",)
    with pytest.raises(SchemaDriftError, match=r"tasks\.title"):
        call("check", upgraded_database, deep=True)


@both_drivers
def test_a_database_whose_floor_is_above_this_package_is_refused(upgraded_database: str, call: Call):
    execute(upgraded_database, STATES[State.TOO_NEW])
    for error in refused(call, upgraded_database, SchemaTooNewError, "upgrade", "check", "downgrade", "plan"):
        assert f"schema {SCHEMA_VERSION + 1} or newer" in error.needed
        assert "pip install" in error.cure
    status = call("status", upgraded_database)
    assert (status.state, status.floor) == (State.TOO_NEW, SCHEMA_VERSION + 1)


@both_drivers
def test_a_refused_stamp_touches_nothing(database: str, upgraded_database: str, call: Call):
    execute(upgraded_database, "ALTER TABLE tasks DROP COLUMN title; DELETE FROM todo_schema_version")
    (error,) = refused(call, upgraded_database, SchemaDriftError, "stamp")
    assert "column tasks.title: missing" in error.found
    refused(call, database, SchemaOutdatedError, "stamp")
