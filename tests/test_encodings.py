"""Schemas, databases and encodings with names that break what is not quoted."""

import asyncio
import subprocess
from pathlib import Path
from urllib.parse import unquote

import pytest
from psycopg import sql
from sqlmodel import select

from tests.support.catalog_dump import dump
from tests.support.servers import Server, execute
from tests.support.ways import Call, both_drivers, drivers_by_turns, psycopg, role, role_of
from todo_schema import (
    InvalidNameError,
    MigrationFailedError,
    SchemaNotFoundError,
    SchemaOutdatedError,
    State,
    Task,
    User,
    embedded,
    session_factory,
)
from todo_schema.compatibility import BOOKKEEPING_TABLES, ENTITY_TABLES, HEAD

SCHEMAS = [
    "todo",
    'we"ird%1',
    "a'b\\c",
    "with some spaces",
    "$todo_schema$ $todo_schema_$",
    "Select; :name %(x)s {y} %s --",
    "schön ✓" + "x" * 53,
]


def tables_in(url: str, schema: str) -> int:
    """How many tables a schema has."""
    query = sql.SQL("SELECT count(*) FROM pg_tables WHERE schemaname = {}").format(schema).as_string()
    return int(execute(url, query)[0][0])


def run_psql(url: str, script: str) -> subprocess.CompletedProcess[str]:
    """Apply a script as an administrator does."""
    return subprocess.run(
        [embedded.binaries() / "psql", "--no-psqlrc", "--quiet", url],
        input=script,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env={"PGCLIENTENCODING": "UTF8"},
    )


@drivers_by_turns("schema", SCHEMAS)
def test_a_schema_of_any_name_goes_through_the_whole_life_cycle(database: str, call: Call, schema: str):
    clean = dump(database)
    with pytest.raises(SchemaOutdatedError):
        call("check", database, schema=schema)
    report = call("upgrade", database, schema=schema)
    assert (report.schema, report.after) == (schema, State.CURRENT)
    assert call("upgrade", database, schema=schema).applied == ()
    assert call("check", database, schema=schema, deep=True) is State.CURRENT
    status = call("status", database, schema=schema)
    assert (status.state, status.schema, status.differences) == (State.CURRENT, schema, ())
    assert call("history", database, schema=schema)[0].applied_at is not None
    assert call("plan", database, schema=schema).steps == ()
    assert call("stamp", database, "base", schema=schema).after is State.UNVERSIONED
    assert call("upgrade", database, schema=schema).adopted
    assert call("downgrade", database, to="base", schema=schema).after is State.EMPTY
    assert call("upgrade", database, schema=schema).after is State.CURRENT
    assert dump(database) == clean
    assert tables_in(database, schema) == len(ENTITY_TABLES | BOOKKEEPING_TABLES)


@pytest.mark.parametrize("schema", SCHEMAS)
def test_the_script_for_a_schema_of_any_name_is_what_upgrade_does(server: Server, database: str, schema: str):
    script = psycopg("sql", database, schema=schema)
    done = run_psql(database, script)
    assert done.returncode == 0, done.stderr
    assert psycopg("check", database, schema=schema, deep=True) is State.CURRENT
    assert psycopg("upgrade", database, schema=schema).applied == ()
    again = run_psql(database, script)
    assert again.returncode != 0
    assert f"starts from revision base, and the database is at {HEAD}" in again.stderr
    undone = run_psql(database, psycopg("sql", database, to="base", schema=schema))
    assert undone.returncode == 0, undone.stderr
    assert psycopg("status", database, schema=schema).state is State.EMPTY


@pytest.mark.parametrize("schema", SCHEMAS)
async def test_sessions_work_in_a_schema_of_any_name(database: str, schema: str):
    await asyncio.to_thread(psycopg, "upgrade", database, schema=schema)
    async with session_factory(database, schema=schema) as sessions:
        async with sessions.begin() as session:
            user = User(email="ann@example.org")
            session.add(user)
            await session.flush()
            session.add(Task(user_id=user.id, title="a title"))
        async with sessions() as session:
            assert [task.title for task in await session.exec(select(Task))] == ["a title"]
    assert tables_in(database, "public") == 0


@both_drivers
@pytest.mark.parametrize("schema", ["", "x" * 64, "ö" * 32, "a\0b"])
def test_a_schema_that_postgresql_cannot_have_is_refused(database: str, call: Call, schema: str):
    for name in ("upgrade", "check", "status", "history", "plan", "sql"):
        with pytest.raises(InvalidNameError, match="a PostgreSQL name: 1 to 63 bytes"):
            call(name, database, schema=schema)
    with pytest.raises(InvalidNameError, match="a PostgreSQL name: 1 to 63 bytes"):
        call("sql", schema=schema)
    assert execute(database, "SELECT count(*) FROM pg_tables WHERE tablename LIKE 'todo_schema%'") == [(0,)]


@both_drivers
def test_a_schema_with_a_name_that_postgresql_reserves_is_refused(database: str, call: Call):
    with pytest.raises(MigrationFailedError, match="unacceptable schema name"):
        call("upgrade", database, schema="pg_mine")


@both_drivers
def test_two_schemas_of_one_database_are_independent(database: str, call: Call):
    call("upgrade", database, schema="one")
    with pytest.raises(SchemaOutdatedError):
        call("check", database, schema="two")
    assert call("status", database).state is State.EMPTY
    call("upgrade", database, schema="two")
    execute(database, "INSERT INTO one.users (email) VALUES ('a')")
    first = dump(database, schema="one")
    assert dump(database, schema="two").replace("two", "one") == first
    call("downgrade", database, to="base", schema="two")
    assert dump(database, schema="one") == first
    assert call("check", database, schema="one", deep=True) is State.CURRENT
    assert execute(database, "SELECT email FROM one.users") == [("a",)]


@both_drivers
def test_the_installation_is_where_the_search_path_finds_it(server: Server, database: str, call: Call):
    with role(server, database) as url:
        name = role_of(url)
        execute(
            database, f"CREATE SCHEMA {name} AUTHORIZATION {name}; GRANT CREATE ON SCHEMA public TO {name}"
        )
        assert call("upgrade", url).schema == name  # "$user", public
        execute(database, f"CREATE SCHEMA app AUTHORIZATION {name}")
        execute(database, f"ALTER ROLE {name} SET search_path = app")
        assert call("status", url).state is State.EMPTY
        assert call("upgrade", url).schema == "app"
        execute(database, f'ALTER ROLE {name} SET search_path = nowhere, "app", public')
        assert call("check", url) is State.CURRENT
        assert call("status", url).schema == "app"
        assert call("check", url, schema=name) is State.CURRENT
        assert tables_in(database, "public") == 0


@both_drivers
def test_what_one_schema_of_the_search_path_has_is_used_though_another_comes_first(
    server: Server, database: str, call: Call
):
    call("upgrade", database)
    with role(server, database) as url:
        name = role_of(url)
        execute(
            database,
            f"CREATE SCHEMA {name} AUTHORIZATION {name}; GRANT SELECT ON todo_schema_version TO {name}",
        )
        assert call("upgrade", url).after is State.CURRENT
    assert tables_in(database, name) == 0


@both_drivers
@pytest.mark.parametrize("path", ["''", "nowhere"])
def test_a_search_path_that_names_no_schema_is_told(server: Server, database: str, call: Call, path: str):
    with role(server, database) as url:
        execute(database, f"GRANT CREATE ON SCHEMA public TO {role_of(url)}")
        execute(database, f"ALTER ROLE {role_of(url)} SET search_path = {path}")
        for name in ("upgrade", "check", "status"):
            with pytest.raises(SchemaNotFoundError) as caught:
                call(name, url)
            assert role_of(url) in caught.value.found
        execute(database, caught.value.cure.partition(" or: ")[2])
        assert call("upgrade", url).schema == "public"
        assert call("upgrade", url, schema="public").after is State.CURRENT


@both_drivers
@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_of_another_encoding_is_migrated(server: Server, call: Call, encoding: str):
    url = server.create_database(encoding=encoding)
    try:
        assert call("upgrade", url).after is State.CURRENT
        assert call("check", url, deep=True) is State.CURRENT
        assert call("status", url).differences == ()
        assert call("history", url)[0].package_version
        assert call("downgrade", url, to="base").after is State.EMPTY
        done = run_psql(url, call("sql", url))
        assert done.returncode == 0, done.stderr
        assert call("check", url, deep=True) is State.CURRENT
    finally:
        server.drop_database(url)


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
async def test_sessions_work_in_a_database_of_another_encoding(server: Server, encoding: str):
    url = server.create_database(encoding=encoding)
    try:
        await asyncio.to_thread(psycopg, "upgrade", url)
        async with session_factory(url) as sessions:
            async with sessions.begin() as session:
                session.add(User(email="é@example.org"))
            async with sessions() as session:
                assert [user.email for user in await session.exec(select(User))] == ["é@example.org"]
    finally:
        server.drop_database(url)


@drivers_by_turns("name", ["My Täsks", "CAPITALS", "100% a%20b", "a'b\"c\\d", "me@work/x?y#z"])
def test_a_database_of_any_name_is_migrated(server: Server, call: Call, name: str):
    url = server.create_database(name)
    try:
        assert call("upgrade", url).after is State.CURRENT
        assert call("check", url, deep=True) is State.CURRENT
        assert call("downgrade", url, to="base").after is State.EMPTY
        with pytest.raises(SchemaOutdatedError) as caught:
            call("check", url)
        assert name in caught.value.found
        assert name in unquote(url)
    finally:
        server.drop_database(name)


def test_the_recommended_command_can_be_pasted_for_a_schema_of_any_name(database: str, tmp_path: Path):
    schema = "a'b \"c; $(touch pwned)"
    with pytest.raises(SchemaOutdatedError) as caught:
        psycopg("check", database, schema=schema)
    shown = caught.value.cure.replace("todo-schema ", "printf '%s\\n' ", 1)
    printed = subprocess.run(["sh", "-c", shown], check=True, capture_output=True, text=True, cwd=tmp_path)
    assert printed.stdout.splitlines() == ["upgrade", "--url", "URL", "--schema", schema]
    assert list(tmp_path.iterdir()) == []
