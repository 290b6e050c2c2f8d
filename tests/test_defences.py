"""What others do at the wrong moment, and what must not come of it."""

import functools
import threading

import pytest
from sqlalchemy import MetaData, Table
from sqlmodel import select

from tests.support.servers import execute
from todo_schema import (
    ForeignVersionError,
    SchemaDriftError,
    SchemaTooNewError,
    State,
    TodoSchemaError,
    User,
    check,
    downgrade,
    include_object,
    session_factory,
    stamp,
    status,
    upgrade,
)


def test_a_check_beside_a_migration_never_sees_half_of_it(database):
    upgrade(database)
    stop = threading.Event()

    def migrate() -> None:
        while not stop.is_set():
            downgrade(database, to="base")
            upgrade(database)

    migrating = threading.Thread(target=migrate)
    migrating.start()
    seen = set()
    for _ in range(300):
        try:
            seen.add(check(database))
        except TodoSchemaError as error:
            seen.add(type(error).__name__)
    stop.set()
    migrating.join()
    assert seen <= {State.CURRENT, "SchemaOutdatedError"}


def test_a_listener_that_fails_does_not_stop_a_migration(database, caplog):
    def fail(_progress: object) -> None:
        raise BrokenPipeError("nobody listens")

    assert upgrade(database, progress=fail).after is State.CURRENT
    assert "the progress callback failed" in caplog.text


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE todo_schema_version SET version_num = '999'",
        "UPDATE todo_schema_version SET version_num = '999'; UPDATE todo_schema_history SET floor = 999",
    ],
)
def test_an_older_package_cannot_stamp_a_newer_database_as_its_own(upgraded_database, change):
    execute(upgraded_database, change)
    with pytest.raises(SchemaTooNewError):
        stamp(upgraded_database, 1)
    assert status(upgraded_database).database_version == 999


def test_a_version_table_that_keeps_nothing_is_told_and_not_written_for_ever(upgraded_database):
    execute(
        upgraded_database,
        "CREATE RULE nothing AS ON INSERT TO todo_schema_version DO INSTEAD NOTHING; DELETE FROM todo_schema_version",
    )
    with pytest.raises(ForeignVersionError, match="is not there afterwards"):
        upgrade(upgraded_database)


def test_a_version_row_without_its_tables_is_not_current(upgraded_database):
    execute(upgraded_database, "DROP TABLE tasks")
    for call in (upgrade, check):
        with pytest.raises(SchemaDriftError, match="table tasks: missing"):
            call(upgraded_database)


def test_include_object_hides_our_tables_in_the_schema_that_they_are_in_alone():
    here, there = Table("users", MetaData()), Table("users", MetaData(), schema="app")
    assert [include_object(item, "users", "table", True, None) for item in (here, there)] == [False, True]
    ours_there = functools.partial(include_object, schema="app")
    assert [ours_there(item, "users", "table", True, None) for item in (here, there)] == [True, False]


@pytest.mark.parametrize(
    ("statement", "rule"),
    [
        ("UPDATE todo_schema_history SET line = 'side'", "ck_todo_schema_history_line_known"),
        ("UPDATE todo_schema_history SET floor = 0", "ck_todo_schema_history_floor_positive"),
    ],
)
def test_the_history_keeps_its_rules(upgraded_database, statement, rule):
    with pytest.raises(Exception, match=rule):
        execute(upgraded_database, statement)


async def test_a_pool_survives_the_end_of_its_connections(upgraded_database):
    async with session_factory(upgraded_database) as factory:
        async with factory() as session:
            await session.exec(select(User))
        execute(
            upgraded_database,
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        async with factory() as session:
            assert (await session.exec(select(User))).all() == []
