"""Tables that somebody else made become ours: recognised, told, changed beside others, or refused with every reason."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import releases
from tests.support.servers import Server, database_name, execute
from tests.support.unversioned import (
    DIFFERENCES,
    FORGET,
    KEPT,
    OBSTACLES,
    ROWS,
    TUTORIAL,
    catalogue,
    unversioned,
)
from tests.support.ways import Call, asyncpg, both_drivers, drivers_by_turns, psycopg, role
from todo_schema import (
    SCHEMA_VERSION,
    InsufficientPrivilegeError,
    PreflightError,
    SchemaOutdatedError,
    State,
    UnversionedSchemaError,
    adopt,
    check,
    history,
    status,
    upgrade,
)


@pytest.fixture(scope="module")
def plain(server: Server) -> str:
    """A database of schema 1 without a version, with rows, to be copied; nobody may connect to it."""
    return unversioned(server)


@pytest.fixture(scope="module")
def clean(server: Server, plain: str) -> tuple[list[str], releases.Rows]:
    """What it has, and its rows."""
    url = server.create_database(template=plain)
    return catalogue(url), releases.contents(url)


@pytest.fixture
def theirs(server: Server, plain: str) -> Iterator[str]:
    """A database of somebody else's that is still ours in all but the version."""
    url = server.create_database(template=plain)
    yield url
    server.drop_database(url)


@pytest.mark.parametrize("version", [1, SCHEMA_VERSION])
@both_drivers
def test_tables_that_are_those_of_a_version_are_recorded_as_it(
    server: Server, database: str, call: Call, version: int
):
    if version == 1:
        database = releases.restore(server, releases.releases()[0])
    else:
        upgrade(database)
    execute(database, FORGET)
    before = catalogue(database)
    adoption = call("adopt", database)
    assert (adoption.answer, adoption.version, adoption.changes) == ("recorded", version, ())
    assert catalogue(database) == before
    assert execute(database, "SELECT action, revision FROM todo_schema_history") == [
        ("adopt", f"{version:03d}")
    ]
    assert call("adopt", database, apply=True).answer == "recorded"
    assert call("upgrade", database).after is State.CURRENT


@drivers_by_turns("difference", DIFFERENCES)
def test_each_difference_is_told_before_anything_is_changed_and_gone_afterwards(
    theirs: str, clean: tuple[list[str], releases.Rows], call: Call, difference: str
):
    execute(theirs, DIFFERENCES[difference])
    before = catalogue(theirs)
    assert before != clean[0]
    told = call("adopt", theirs)
    assert (told.answer, told.version, told.kept) == ("convergeable", 1, ())
    assert told.changes
    assert all(change.locks or change.about.startswith("index") for change in told.changes)
    assert catalogue(theirs) == before, "it was only to be told"
    done = call("adopt", theirs, apply=True)
    assert (done.answer, done.version, done.changes) == ("adopted", 1, told.changes)
    assert catalogue(theirs) == clean[0]
    if difference not in ("null forbidden", "numbers that the application chooses"):
        assert releases.contents(theirs) == clean[1]
    execute(theirs, "INSERT INTO tasks (user_id, title) SELECT id, 'more' FROM users")


@pytest.mark.parametrize("gone", ["users", "conversations"])
def test_what_create_all_made_without_cascades_can_be_deleted_afterwards(database: str, gone: str):
    execute(database, TUTORIAL)
    adoption = adopt(database, apply=True)
    assert not [line for line in adoption.kept if "FOREIGN KEY" in line]
    assert upgrade(database).after is State.CURRENT
    execute(database, f"DELETE FROM {gone}")
    assert execute(database, "SELECT count(*) FROM messages") == [(0,)]


def test_all_differences_at_once_are_gone_after_one_call(theirs: str, clean: tuple[list[str], releases.Rows]):
    for name in ("naive times", "varchar", "varchar of a length", "no defaults", "no comments", "no checks",
                 "keys of PostgreSQL's names", "a second unique index on a key", "an index twice",
                 "a unique constraint beside the index", "a sequence", "null allowed"):  # fmt: skip
        execute(theirs, DIFFERENCES[name])
    told = adopt(theirs)
    assert adopt(theirs, apply=True).changes == told.changes
    assert catalogue(theirs) == clean[0]
    assert releases.contents(theirs) == clean[1]
    upgrade(theirs)
    assert check(theirs, deep=True) is State.CURRENT
    assert status(theirs).extras == ()


@pytest.mark.parametrize("statement", KEPT)
def test_what_is_theirs_and_in_nobody_s_way_stays_and_is_named(theirs: str, statement: str):
    execute(theirs, statement)
    before = catalogue(theirs)
    adoption = adopt(theirs)
    assert adoption.answer == "recorded", adoption
    (kept,) = adoption.kept
    assert kept.startswith(KEPT[statement])
    assert catalogue(theirs) == before


def test_all_that_stays_is_in_the_way_of_neither_an_upgrade_nor_a_look_at_the_tables(theirs: str):
    execute(theirs, "; ".join(KEPT))
    assert len(adopt(theirs).kept) == len(KEPT)
    upgrade(theirs)
    assert check(theirs, deep=True) is State.CURRENT
    assert len(status(theirs).extras) >= len(KEPT) - 1


def test_an_integer_key_becomes_bigint_where_that_is_asked_for(
    theirs: str, clean: tuple[list[str], releases.Rows]
):
    execute(theirs, "ALTER TABLE tasks ALTER id TYPE int; " + DIFFERENCES["a sequence"])
    execute(theirs, "ALTER SEQUENCE tasks_id_seq AS int")
    told = adopt(theirs, widen_keys=True)
    assert [change.rewrites for change in told.changes if change.rewrites] == [("tasks",)]
    assert str(told).endswith("to do it: todo-schema adopt --apply --widen-keys")
    adopt(theirs, widen_keys=True, apply=True)
    assert catalogue(theirs) == clean[0]
    assert releases.contents(theirs) == clean[1]


def test_an_index_of_theirs_on_a_column_whose_type_changes_is_there_afterwards(theirs: str):
    execute(theirs, DIFFERENCES["naive times"])
    execute(
        theirs, "CREATE INDEX idx_talk ON messages (conversation_id, created_at DESC) WHERE role = 'user'"
    )
    (there,) = (line for line in catalogue(theirs) if "idx_talk" in line and line.startswith("index"))
    adopt(theirs, apply=True)
    assert there in catalogue(theirs)


@drivers_by_turns("obstacle", OBSTACLES)
def test_what_is_in_the_way_is_listed_whole_and_nothing_is_changed(theirs: str, call: Call, obstacle: str):
    statement, lines = OBSTACLES[obstacle]
    execute(theirs, statement)
    before = catalogue(theirs)
    for options in ({}, {"apply": True}):
        with pytest.raises(UnversionedSchemaError) as caught:
            call("adopt", theirs, **options)
        differences = caught.value.differences
        assert len(differences) == len(lines)
        for line in lines:
            assert [found for found in differences if found.startswith(line)], differences
            assert line in caught.value.found
    assert catalogue(theirs) == before
    assert execute(theirs, "SELECT to_regclass('todo_schema_version')") == [(None,)]


@drivers_by_turns("rows", ROWS)
def test_rows_that_ours_do_not_allow_are_found_first_and_stop_it(theirs: str, call: Call, rows: str):
    statement, (rule, count), cure = ROWS[rows]
    execute(theirs, statement)
    before = catalogue(theirs)
    (found,) = call("adopt", theirs).violations
    assert (found.rule, found.count) == (rule, count)
    assert len(execute(theirs, found.query)) == count
    with pytest.raises(PreflightError) as caught:
        call("adopt", theirs, apply=True)
    assert caught.value.violations == (found,)
    assert catalogue(theirs) == before
    execute(theirs, cure)
    assert call("adopt", theirs, apply=True).answer == "adopted"


def test_the_history_of_the_application_before_us_is_named_and_left(theirs: str):
    execute(theirs, "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)")
    execute(theirs, "INSERT INTO alembic_version VALUES ('001')")
    execute(theirs, "DROP INDEX ix_task_completed")
    for told in (adopt(theirs), adopt(theirs, apply=True)):
        (note,) = told.notes
        assert note.startswith("public.alembic_version holds 001")
        assert "it is left as it is, and obsolete afterwards" in note
    assert execute(theirs, "SELECT * FROM alembic_version") == [("001",)]


def test_a_time_zone_that_would_misread_naive_times_is_named(server: Server, theirs: str):
    execute(theirs, DIFFERENCES["naive times"])
    name = database_name(theirs)
    server.execute(f"ALTER DATABASE {name} SET TimeZone = 'Europe/Berlin'")
    told = adopt(theirs)
    assert [
        note
        for note in told.notes
        if "time zone Europe/Berlin" in note and f'ALTER DATABASE "{name}"' in note
    ]
    before = execute(theirs, "SELECT id, extract(epoch FROM created_at) FROM tasks ORDER BY id")
    assert adopt(theirs, apply=True).answer == "adopted"
    assert execute(theirs, "SELECT id, extract(epoch FROM created_at) FROM tasks ORDER BY id") == before


def test_there_is_nothing_to_adopt_in_an_empty_database(database: str):
    with pytest.raises(SchemaOutdatedError, match="cure: todo-schema upgrade"):
        adopt(database)


def test_who_may_not_alter_the_tables_is_told_what_to_grant(server: Server, theirs: str):
    execute(theirs, DIFFERENCES["varchar"])
    before = catalogue(theirs)
    with role(server, theirs) as url:
        execute(
            theirs,
            "GRANT SELECT ON ALL TABLES IN SCHEMA public TO PUBLIC; GRANT CREATE ON SCHEMA public TO PUBLIC",
        )
        assert adopt(url).answer == "convergeable"
        with pytest.raises(InsufficientPrivilegeError) as caught:
            adopt(url, apply=True)
        assert "ALTER" in caught.value.cure or "GRANT" in caught.value.cure
    execute(
        theirs,
        "REVOKE ALL ON ALL TABLES IN SCHEMA public FROM PUBLIC; REVOKE CREATE ON SCHEMA public FROM PUBLIC",
    )
    assert len(catalogue(theirs)) == len(before)


@pytest.mark.parametrize("call", [psycopg, asyncpg], ids=lambda call: call.__name__)
def test_tables_in_a_schema_of_any_name_are_adopted_there(theirs: str, call: Call):
    execute(
        theirs,
        "; ".join(DIFFERENCES[name] for name in ("naive times", "a sequence", "keys that do not cascade")),
    )
    execute(theirs, 'ALTER SCHEMA public RENAME TO "we""ird%1"; CREATE SCHEMA public')
    assert "todo-schema adopt --apply --schema 'we\"ird%1'" in str(call("adopt", theirs, schema='we"ird%1'))
    assert call("adopt", theirs, schema='we"ird%1', apply=True).answer == "adopted"
    assert call("upgrade", theirs, schema='we"ird%1').after is State.CURRENT
    assert check(theirs, schema='we"ird%1', deep=True) is State.CURRENT


def test_upgrade_refuses_such_tables_and_names_adopt(theirs: str):
    execute(theirs, DIFFERENCES["varchar"])
    with pytest.raises(UnversionedSchemaError, match="todo-schema adopt"):
        upgrade(theirs)


def test_each_change_says_what_it_locks_and_reads_and_how_many_rows_there_are(theirs: str):
    naive = DIFFERENCES["naive times in milliseconds with a default"]
    execute(theirs, f"{DIFFERENCES['no checks']}; {naive}; DROP INDEX ix_task_completed")
    execute(theirs, "ANALYZE")
    ((messages, tasks),) = execute(
        theirs, "SELECT (SELECT count(*) FROM messages), (SELECT count(*) FROM tasks)"
    )
    told = adopt(theirs)
    facts: dict[str, Any] = json.loads(json.dumps(told.as_dict()))
    assert facts["answer"] == "convergeable"
    moment, beside = "ACCESS EXCLUSIVE on ", "SHARE UPDATE EXCLUSIVE on "
    assert [(one["table"], one["rows"], one["locks"], one["scans"]) for one in facts["changes"]] == [
        ("tasks", tasks, [f"{moment}tasks"], []),
        ("tasks", tasks, [f"{beside}tasks"], ["tasks"]),
        ("messages", messages, [f"{moment}messages", f"{beside}messages"], ["messages"]),
        ("tasks", tasks, [f"{moment}tasks", f"{beside}tasks"], ["tasks"]),
    ]
    assert f"({moment}tasks; about {tasks} rows)" in str(told)
    assert history(theirs)[0].applied_at is None


def test_rows_that_only_the_upgrade_afterwards_would_fail_on_are_told_before(theirs: str):
    execute(theirs, DIFFERENCES["varchar"])
    execute(theirs, "INSERT INTO users (email) VALUES ('Twice@example.com'), ('twice@example.com')")
    told = adopt(theirs)
    assert (told.violations, [row.revision for row in told.later]) == ((), ["009"])
    assert f"in the way of upgrade  009 {told.later[0]}" in str(told)
    assert adopt(theirs, apply=True).answer == "adopted"
    with pytest.raises(PreflightError):
        upgrade(theirs)
