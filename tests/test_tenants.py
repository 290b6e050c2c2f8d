"""Tenants of one database, a schema each: at different versions, on one engine, beside a host's own tables."""

import asyncio
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Column, ForeignKey, Integer, MetaData, NullPool, Table, Uuid, create_engine, make_url
from sqlmodel import select

from tests.support.backends import backend
from tests.support.catalog_dump import dump
from tests.support.leases import held_by, leases, own_engine, wait_until_nobody_holds_any
from tests.support.processes import start_python
from tests.support.servers import execute
from tests.support.states import AHEAD, FLOOR, rows, with_package
from tests.support.ways import Call, both_drivers
from todo_schema import (
    SCHEMA_VERSION,
    ClientsConnectedError,
    ContractBlockedError,
    SchemaTooNewError,
    Task,
    UnversionedSchemaError,
    User,
    check,
    clients,
    contract,
    downgrade,
    include_object,
    newest_tasks,
    session_factory,
    status,
    upgrade,
    user_by_email,
)


def test_tenants_at_different_versions_do_not_touch_each_other(database: str, old_package: Path):
    with_package(old_package, "t.upgrade(url, schema='elder')", database)
    before = dump(database, schema="elder"), rows(database, "*", "elder")
    upgrade(database, schema="younger")
    assert contract(database, schema="younger").applied
    # The whole life of the newer one, with services of the older one at work all the time.
    with start_python(HOLDING, database, pythonpath=old_package) as older, ExitStack() as end:
        end.callback(older.kill)
        assert older.stdout
        assert older.stdout.readline() == "leased\n"
        assert [client.schema_version for client in clients(database, schema="elder").clients] == [1]
        assert clients(database, schema="younger").clients == status(database, schema="younger").clients == ()
        downgrade(database, schema="younger", to="base")
        upgrade(database, schema="younger")
        contract(database, schema="younger")
        assert (dump(database, schema="elder"), rows(database, "*", "elder")) == before
        # And the other way round: what the newer one holds keeps nobody from moving the older one.
        asyncio.run(holding_new(database))
        upgrade(database, schema="elder")
        with pytest.raises(ContractBlockedError, match="older-api"):
            contract(database, schema="elder")
    wait_until_nobody_holds_any(database, "elder")
    contract(database, schema="elder")
    assert dump(database, schema="younger").replace("younger", "elder") == dump(database, schema="elder")
    assert check(database, schema="elder", deep=True) is check(database, schema="younger", deep=True)


HOLDING = """
import asyncio, sys, time, todo_schema

async def hold(url):
    async with todo_schema.session_factory(url, schema="elder", service="older-api") as sessions:
        async with sessions.begin() as session:
            session.add(todo_schema.User(email="ann@example.com"))
        print("leased", flush=True)
        time.sleep(600)

asyncio.run(hold(sys.argv[1]))
"""


async def holding_new(url: str) -> None:
    """While the newer tenant has a lease: only what is its own is kept from being undone."""
    async with session_factory(url, schema="younger", service="newer-api") as sessions:
        await backend(sessions)
        assert [version for _, version in leases(url, "younger")] == [SCHEMA_VERSION]
        with pytest.raises(ClientsConnectedError, match="newer-api"):
            await asyncio.to_thread(downgrade, url, schema="younger", to="base")


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_of_tenants_that_share_an_engine_one_that_is_refused_keeps_no_other_from_its_sessions(
    database: str, driver: str
):
    for schema in ("good", "bad"):
        await asyncio.to_thread(upgrade, database, schema=schema)
    execute(database, f"SET search_path = bad; {AHEAD}; {FLOOR}")
    engine = own_engine(driver, database, pool_size=1, max_overflow=0)
    good, bad = (session_factory(engine, schema=schema) for schema in ("good", "bad"))
    for number in range(3):
        async with good.begin() as session:
            session.add(User(email=f"{number}@example.com"))
        with pytest.raises(SchemaTooNewError):
            await backend(bad)
        assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]
        pid = await backend(good)
        async with good() as session:
            assert (await session.exec(user_by_email(f"{number}@example.com"))).one()
        assert (leases(database, "good"), leases(database, "bad")) == (held_by({pid}), [])
    await engine.dispose()


HOST = """
CREATE TABLE users (id serial PRIMARY KEY, email text UNIQUE);
CREATE TABLE tasks (id serial PRIMARY KEY, status varchar(50) DEFAULT 'QUEUED', user_id int REFERENCES users);
INSERT INTO users (email) VALUES ('ann@example.com');
INSERT INTO tasks (user_id) SELECT id FROM users
"""


@both_drivers
async def test_a_schema_stands_beside_a_host_that_has_users_and_tasks_of_its_own(database: str, call: Call):
    execute(database, HOST)
    before = dump(database), execute(database, "SELECT * FROM users, tasks")
    with pytest.raises(UnversionedSchemaError):
        await asyncio.to_thread(call, "upgrade", database)
    await asyncio.to_thread(call, "upgrade", database, schema="todo")
    await asyncio.to_thread(call, "contract", database, schema="todo")
    referred = "SELECT DISTINCT confrelid::regclass::text FROM pg_constraint WHERE contype = 'f' ORDER BY 1"
    assert execute(database, referred) == [("todo.conversations",), ("todo.users",), ("users",)]
    async with session_factory(database, schema="todo") as sessions:
        async with sessions.begin() as session:
            session.add(user := User(email="ann@example.com"))
            session.add(task := Task(user_id=user.id, title="Water the plants"))
        async with sessions.begin() as session:
            (await session.exec(select(Task).where(Task.id == task.id))).one().completed = True
        async with sessions() as session:
            assert (await session.exec(newest_tasks(user.id))).one().completed_at
    await asyncio.to_thread(call, "downgrade", database, schema="todo", to="base")
    assert (dump(database), execute(database, "SELECT * FROM users, tasks")) == before


@pytest.mark.parametrize("everywhere", [False, True], ids=["the default schema", "all schemas"])
def test_autogenerate_leaves_alone_what_is_ours_in_a_schema_and_not_what_a_host_calls_alike(
    database: str, everywhere: bool
):
    upgrade(database, schema="todo")
    ours = partial(include_object, schema="todo")
    host = MetaData()
    Table("users", host, Column("id", Integer, primary_key=True))
    User.metadata.tables["users"].to_metadata(host, schema="todo")
    profile = Column("user_id", Uuid, ForeignKey("todo.users.id", name="fk_profiles"), primary_key=True)
    Table("profiles", host, profile)
    engine = create_engine(make_url(database).set(drivername="postgresql+psycopg"), poolclass=NullPool)
    with engine.begin() as connection:

        def differences(metadata: MetaData, filtered: object) -> set[str]:
            options = {"include_schemas": everywhere, "include_object": filtered}
            context = MigrationContext.configure(connection, opts=options)
            found = compare_metadata(context, metadata)
            return {f"{one[0]} {getattr(one[1], 'name', one[1])}" for one in found}

        # Other tests of this process may have given the shared MetaData tables of their own.
        tables = {"users", "tasks", "messages", "conversations"}
        assert {f"add_table {table}" for table in tables} <= differences(User.metadata, None)
        assert not {f"add_table {table}" for table in tables} & differences(User.metadata, ours)
        assert differences(host, ours) == {"add_table users", "add_table profiles"}
        host.tables["users"].create(connection)
        host.tables["profiles"].create(connection)
        assert differences(host, ours) == set()
