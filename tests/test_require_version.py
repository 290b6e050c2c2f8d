"""What a service's own revision asks before it refers to our tables."""

import asyncio
import io
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy.ext.asyncio import create_async_engine

from tests.support import ways
from tests.support.catalog_dump import dump
from tests.support.psql import psql
from tests.support.releases import RELEASES, Release, restore
from tests.support.servers import Server, database_name, execute
from tests.support.states import FLOOR, NO_ROW
from todo_schema import (
    SCHEMA_VERSION,
    InsufficientPrivilegeError,
    SchemaOutdatedError,
    TodoSchemaError,
    require_version,
    upgrade,
)

SCHEMA = 'we"ird%1:x'
AHEAD = f"UPDATE todo_schema_version SET version_num = '{SCHEMA_VERSION + 1:03d}'"


def engine_of(url: str) -> sa.Engine:
    return sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"), poolclass=sa.NullPool)


def by_psycopg(url: str, n: int, **options: Any) -> None:
    with engine_of(url).connect() as connection:
        require_version(connection, n, **options)


def by_asyncpg(url: str, n: int, **options: Any) -> None:
    async def ask() -> None:
        engine = create_async_engine(
            url.replace("postgresql:", "postgresql+asyncpg:").replace("&port=5432", ""), poolclass=sa.NullPool
        )
        async with engine.connect() as connection:
            await connection.run_sync(require_version, n, **options)

    asyncio.run(ask())


def offline(url: str, n: int, **options: Any) -> None:
    """What psql says about the script that Alembic writes."""
    done = psql(url, f"\\set ON_ERROR_STOP on\n{script(n, **options)}")
    if done.returncode:
        raise SchemaOutdatedError(done.stderr, "", "")


def script(n: int, **options: Any) -> str:
    buffer = io.StringIO()
    context = MigrationContext.configure(
        dialect_name="postgresql", opts={"as_sql": True, "output_buffer": buffer}
    )
    with Operations.context(context) as op:
        require_version(op.get_bind(), n, **options)
    return buffer.getvalue()


each_way = pytest.mark.parametrize("ask", [by_psycopg, by_asyncpg, offline])


@pytest.fixture(scope="module")
def old(server: Server) -> Iterator[str]:
    """A database at schema 1 with rows."""
    url = restore(server, Release(RELEASES / "0.1.0"))
    yield url
    server.drop_database(url)


@each_way
def test_a_database_that_is_as_new_or_newer_will_do(upgraded_database: str, ask: Any):
    ask(upgraded_database, SCHEMA_VERSION)
    ask(upgraded_database, 1)
    execute(upgraded_database, AHEAD)
    ask(upgraded_database, SCHEMA_VERSION + 1)
    # It asks for a version of the tables, and for nothing else that a newer package may have done.
    execute(upgraded_database, FLOOR)
    ask(upgraded_database, SCHEMA_VERSION + 1)


@each_way
def test_a_database_that_is_older_is_refused_and_one_step_more_is_enough(old: str, ask: Any):
    ask(old, 1)
    with pytest.raises(SchemaOutdatedError) as refused:
        ask(old, 2)
    assert "schema 2 or newer of todo_schema" in str(refused.value)
    assert "todo-schema upgrade --url URL" in str(refused.value)


def test_the_error_says_what_was_found_and_where(old: str, database: str):
    with pytest.raises(SchemaOutdatedError, match=r"schema 1 of todo_schema in database .*, schema public"):
        by_psycopg(old, 2)
    with pytest.raises(
        SchemaOutdatedError, match=f"none of the tables of todo_schema in database {database_name(database)}"
    ):
        by_psycopg(database, 1)


@each_way
def test_tables_that_are_not_there_or_have_no_version_are_refused(
    database: str, upgraded_database: str, ask: Any
):
    execute(upgraded_database, NO_ROW)
    for url in (database, upgraded_database):
        with pytest.raises(SchemaOutdatedError):
            ask(url, 1)
    assert execute(database, "SELECT count(*) FROM pg_class WHERE relname LIKE 'todo_schema%'") == [(0,)]


@each_way
def test_a_version_that_is_deferred_counts_as_missing_until_it_is_finished(server: Server, ask: Any):
    url = restore(server, Release(RELEASES / "0.1.0"))
    upgrade(url, deferred="skip")
    ask(url, 2)
    with pytest.raises(SchemaOutdatedError) as refused:
        ask(url, 3)
    ask(url, 9)
    assert "deferred" in str(refused.value)
    if ask is not offline:
        assert "003 is deferred and not finished" in refused.value.found
    upgrade(url)
    ask(url, SCHEMA_VERSION)
    server.drop_database(url)


@each_way
def test_a_version_that_the_installed_package_does_not_know_asks_for_a_newer_package(
    upgraded_database: str, ask: Any
):
    with pytest.raises(SchemaOutdatedError, match="pip install --upgrade"):
        ask(upgraded_database, SCHEMA_VERSION + 1)


@each_way
def test_an_installation_in_a_schema_of_its_own_is_asked_by_its_name(database: str, ask: Any):
    upgrade(database, schema=SCHEMA)
    before = dump(database, SCHEMA.replace('"', "?"))
    ask(database, SCHEMA_VERSION, schema=SCHEMA)
    with pytest.raises(SchemaOutdatedError, match="--schema 'we"):
        ask(database, SCHEMA_VERSION + 1, schema=SCHEMA)
    with pytest.raises(SchemaOutdatedError):
        ask(database, 1)
    assert dump(database, SCHEMA.replace('"', "?")) == before


def test_the_engine_of_a_session_factory_says_where_its_installation_is(database: str):
    upgrade(database, schema=SCHEMA)
    engine = engine_of(database).execution_options(schema_translate_map={None: SCHEMA})
    with engine.connect() as connection:
        require_version(connection, SCHEMA_VERSION)


def test_it_asks_in_the_hosts_transaction_and_leaves_it_as_it_is(database: str):
    with engine_of(database).connect() as connection, connection.begin() as transaction:
        connection.exec_driver_sql("SET LOCAL lock_timeout = '7s'")
        connection.exec_driver_sql("CREATE TABLE notes ()")
        with pytest.raises(SchemaOutdatedError):
            require_version(connection, 1)
        assert transaction.is_active
        assert connection.exec_driver_sql("SHOW lock_timeout").scalar() == "7s"
        transaction.rollback()
    assert execute(database, "SELECT to_regclass('notes')") == [(None,)]


def test_it_sees_what_the_transaction_has_done(upgraded_database: str):
    with engine_of(upgraded_database).connect() as connection, connection.begin():
        connection.exec_driver_sql(AHEAD)
        require_version(connection, SCHEMA_VERSION + 1)


def test_where_no_transaction_is_open_it_leaves_none(upgraded_database: str):
    with engine_of(upgraded_database).connect() as connection:
        require_version(connection, 1)
        assert not connection.in_transaction()
        connection.execution_options(isolation_level="AUTOCOMMIT")
        require_version(connection, 1)
        with pytest.raises(SchemaOutdatedError):
            require_version(connection, SCHEMA_VERSION + 1)
        assert not connection.in_transaction()


def test_a_transaction_that_has_failed_before_is_named_as_the_reason(upgraded_database: str):
    with engine_of(upgraded_database).connect() as connection, connection.begin() as transaction:
        with pytest.raises(sa.exc.DBAPIError), connection.begin_nested():
            connection.exec_driver_sql("SELECT 1 / 0")
        require_version(connection, 1)
        with pytest.raises(sa.exc.DBAPIError):
            connection.exec_driver_sql("SELECT 1 / 0")
        with pytest.raises(TodoSchemaError, match="an earlier statement failed"):
            require_version(connection, 1)
        transaction.rollback()


def test_a_role_that_may_not_read_the_version_is_told_what_to_grant(server: Server, upgraded_database: str):
    with ways.role(server, upgraded_database) as url:
        for ask in (by_psycopg, by_asyncpg):
            with pytest.raises(InsufficientPrivilegeError) as refused:
                ask(url, 1)
        execute(upgraded_database, refused.value.cure)
        by_psycopg(url, SCHEMA_VERSION)


@pytest.mark.parametrize("n", [0, -1, True, "9", 9.0, None])
def test_what_is_no_version_is_a_value_error(n: Any):
    with pytest.raises(ValueError, match="an int from 1"):
        require_version(None, n)  # type: ignore[arg-type]


def test_what_is_no_connection_is_a_type_error(upgraded_database: str):
    engine = engine_of(upgraded_database)
    for wrong in (engine, upgraded_database, create_async_engine("postgresql+asyncpg://h/d")):
        with pytest.raises(TypeError, match=r"op\.get_bind\(\)"):
            require_version(wrong, 1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="no connection, None"):
        require_version(None, 1)  # type: ignore[arg-type]


def test_another_database_than_postgresql_is_refused():
    engine = sa.create_engine("sqlite://")
    with engine.connect() as connection, pytest.raises(TodoSchemaError, match="a connection to sqlite"):
        require_version(connection, 1)
    engine.dispose()
