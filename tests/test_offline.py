"""The script of `sql()`, applied with psql: it does what `upgrade` and `downgrade` do, or stops and changes nothing."""

import re
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import text

from tests.support.catalog_dump import dump
from tests.support.psql import apply, psql
from tests.support.revisions import BELOW, NEXT, NEXT_VERSION, REVISIONS, in_one
from tests.support.servers import Server, execute
from tests.support.states import AHEAD, NO_ROW, STATES, rows, version, with_package
from todo_schema import (
    SCHEMA_VERSION,
    SchemaTooNewError,
    State,
    UnversionedSchemaError,
    check,
    downgrade,
    history,
    sql,
    sql_async,
    status,
    upgrade,
)
from todo_schema.compatibility import HEAD
from todo_schema.locks import try_lock_query

ODD_SCHEMAS = ["todo", 'we"ird 100%', "it's", r"back\slash", "$todo_schema$", ":name :'x'", "Ünicode"]


def everything(url: str) -> tuple[object, ...]:
    return dump(url), version(url), rows(url)


def test_a_database_that_the_script_made_is_current_and_like_a_clean_one(
    database: str, upgraded_database: str
):
    apply(database, sql())
    done = upgrade(database)
    assert (done.before, done.applied) == (State.CURRENT, ())
    assert check(database, deep=True) is State.CURRENT
    assert dump(database) == dump(upgraded_database)
    facts = "revision, line, ordinal, action, floor, package_version, checksum, role, duration > '0'"
    # A script keeps no account of parts.
    assert rows(database, facts) == [
        row for row in rows(upgraded_database, facts) if not row[3].startswith("part ")
    ]
    assert set(rows(database, "host, application_name")) == {("offline script", "psql")}
    assert all(revision.applied_at for revision in history(database) if revision.line == "expand")


def test_the_script_down_undoes_what_the_script_up_did(database: str):
    apply(database, sql())
    apply(database, sql(start=SCHEMA_VERSION, to="base"))
    assert status(database).state is State.EMPTY
    assert rows(database, "revision, action") == [
        *((revision, "upgrade") for revision in REVISIONS),
        *((revision, "downgrade") for revision in BELOW),
    ]
    lower = dump(database)
    apply(database, sql())
    downgrade(database, to="base")
    assert dump(database) == lower


def test_the_script_goes_through_each_revision_in_a_transaction_of_its_own(
    upgraded_database: str, database: str, next_package: Path
):
    script = with_package(next_package, "print(t.sql())", "")
    # But for those that fit into none: the first looks where the database is, the last moves the version.
    transactions = sum(1 if in_one(revision) else 2 for revision in (*REVISIONS, NEXT))
    assert script.count("\nBEGIN ISOLATION LEVEL READ COMMITTED;") == transactions
    assert script.count("\nCOMMIT;") == transactions + script.count("\nBEGIN;")
    apply(database, script)
    with_package(next_package, "t.upgrade(url)", upgraded_database)
    assert dump(database) == dump(upgraded_database)
    assert rows(database, "revision, action") == [(revision, "upgrade") for revision in (*REVISIONS, NEXT)]
    down = f"t.sql(start={NEXT_VERSION}, to='{SCHEMA_VERSION}')"
    apply(database, with_package(next_package, f"print({down})", ""))
    assert check(database, deep=True) is State.CURRENT


def test_a_script_for_a_database_starts_where_the_database_is(upgraded_database: str, next_package: Path):
    script = with_package(next_package, "print(t.sql(url))", upgraded_database)
    assert f"schema {HEAD} -> {NEXT} in 'public'" in script
    assert "CREATE TABLE users" not in script
    apply(upgraded_database, script)
    assert version(upgraded_database) == [NEXT]


async def test_a_script_for_an_empty_database_is_the_script_for_none(database: str):
    assert sql(database) == sql() == await sql_async(database) == await sql_async()


@pytest.mark.parametrize("to", ["base", HEAD])
def test_a_script_that_is_applied_twice_stops_and_changes_nothing(database: str, to: str):
    script = sql()
    apply(database, script)
    if to == "base":
        script = sql(database, to="base")
        apply(database, script)
    before = everything(database)
    done = psql(database, script)
    assert done.returncode == 3
    assert "this script starts from revision" in done.stderr
    assert everything(database) == before


@pytest.mark.parametrize("change", [AHEAD, NO_ROW, "INSERT INTO todo_schema_version VALUES ('000')"])
def test_a_script_that_meets_another_version_than_it_starts_from_stops(upgraded_database: str, change: str):
    script = sql(upgraded_database, to="base")
    execute(upgraded_database, change)
    before = everything(upgraded_database)
    done = psql(upgraded_database, script)
    assert done.returncode == 3
    assert f"this script starts from revision {HEAD}, and the database is at" in done.stderr
    assert everything(upgraded_database) == before


def test_a_script_that_meets_a_running_migration_stops_at_once(database: str):
    before = dump(database)
    with psycopg.connect(database) as holder:
        assert holder.execute(try_lock_query("public")).rowcount == 1
        done = psql(database, sql())
    assert done.returncode == 3
    assert "another process is migrating todo_schema in this database" in done.stderr
    assert dump(database) == before


def test_a_script_that_fails_in_the_middle_leaves_nothing(database: str):
    before = dump(database)
    execute(database, "CREATE TABLE tasks ()")
    theirs = dump(database)
    done = psql(database, sql())
    assert done.returncode == 3
    assert 'relation "tasks" already exists' in done.stderr
    assert dump(database) == theirs != before


@pytest.mark.parametrize("schema", ODD_SCHEMAS)
def test_a_script_for_a_schema_makes_it_and_lives_in_it(database: str, upgraded_database: str, schema: str):
    apply(database, sql(schema=schema))
    assert upgrade(database, schema=schema).before is State.CURRENT
    assert check(database, schema=schema, deep=True) is State.CURRENT
    assert status(database).state is State.EMPTY
    done = psql(database, sql(schema=schema))
    assert done.returncode == 3
    apply(database, sql(database, schema=schema, to="base"))
    assert status(database, schema=schema).state is State.EMPTY


def test_a_script_leaves_no_setting_behind_in_the_session(database: str):
    settings = "SHOW search_path; SHOW statement_timeout; SHOW lock_timeout;"
    before = psql(database, settings).stdout
    done = psql(database, f"{sql(schema='todo')}\n{settings}")
    assert done.stdout.strip().endswith(before.strip())


def test_a_script_needs_no_right_to_create_in_a_schema_whose_tables_exist(
    server: Server, upgraded_database: str, next_package: Path
):
    script = with_package(next_package, "print(t.sql(url))", upgraded_database)
    role = f"owner_{uuid4().hex[:8]}"  # roles belong to the whole server
    execute(
        upgraded_database,
        f"CREATE ROLE {role}; GRANT USAGE ON SCHEMA public TO {role};"
        + "".join(f"ALTER TABLE {table} OWNER TO {role};" for table in _tables(upgraded_database)),
    )
    try:
        apply(upgraded_database, f"SET ROLE {role};\n{script}")
        assert version(upgraded_database) == [NEXT]
    finally:
        execute(upgraded_database, f"DROP OWNED BY {role} CASCADE; DROP ROLE {role}")


def _tables(url: str) -> list[str]:
    return [row[0] for row in execute(url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]


@pytest.mark.parametrize(("start", "to"), [("base", "base"), (SCHEMA_VERSION, HEAD)])
def test_a_script_from_a_revision_to_itself_is_a_comment(start: str | int, to: str):
    assert re.fullmatch(r"-- .*nothing to apply\n", sql(start=start, to=to))


async def test_the_script_for_a_current_database_is_a_comment(upgraded_database: str):
    assert sql(upgraded_database) == await sql_async(upgraded_database) == sql(start=HEAD, to=HEAD)


@pytest.mark.parametrize(
    ("state", "error"),
    [
        (State.AHEAD, SchemaTooNewError),
        (State.TOO_NEW, SchemaTooNewError),
        (State.UNVERSIONED, UnversionedSchemaError),
    ],
)
async def test_there_is_no_script_to_the_head_for_a_database_that_upgrade_would_not_migrate(
    upgraded_database: str, state: State, error: type[Exception]
):
    execute(upgraded_database, STATES[state])
    with pytest.raises(error):
        sql(upgraded_database)
    with pytest.raises(error):
        await sql_async(upgraded_database)


def test_a_script_is_plain_text_that_holds_no_parameter():
    script = sql()
    assert script.isascii()
    assert script.endswith("COMMIT;\n")
    assert "%(" not in script
    assert "%%" not in script
    assert str(text(script)) == script


def test_a_database_in_latin1_takes_the_script(server: Server):
    url = server.create_database(encoding="LATIN1")
    try:
        apply(url, sql())
        assert upgrade(url).before is State.CURRENT
    finally:
        server.drop_database(url)
