"""The floor holds whatever became of the history, and a lease holds wherever its pool was opened."""

from asyncio import to_thread
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from psycopg import connect
from sqlalchemy import text

from tests.support.backends import backend
from tests.support.contracting import Asked
from tests.support.leases import factory_on, leases, own_engine
from tests.support.packages import CONTRACT
from tests.support.psql import psql
from tests.support.revisions import LAST_FLOOR, NEXT_VERSION
from tests.support.servers import Server, database_name, execute
from tests.support.states import NO_ROW, rows
from tests.support.ways import Call, both_drivers, psycopg
from todo_schema import (
    SCHEMA_VERSION,
    SchemaTooNewError,
    State,
    check,
    session_factory,
    status,
    upgrade,
)
from todo_schema.leases import class_expression

EMPTIED = "DELETE FROM todo_schema_history"
DROPPED = "DROP TABLE todo_schema_history"


async def refused_everywhere(url: str) -> None:
    """Assert that this package, which a contract step has left behind, is refused at boot and as it connects."""
    assert not status(url).usable
    for refused in (check, upgrade):
        with pytest.raises(SchemaTooNewError):
            refused(url)
    async with session_factory(url) as factory:
        with pytest.raises(SchemaTooNewError):
            await backend(factory)


@pytest.mark.parametrize("lost", [EMPTIED, DROPPED, NO_ROW])
async def test_a_package_below_the_floor_is_refused_though_the_bookkeeping_lost_it(
    contracted_database: str, lost: str
):
    execute(contracted_database, lost)
    await refused_everywhere(contracted_database)


@both_drivers
def test_the_package_that_knows_the_step_knows_its_floor_and_writes_it_again(
    contracting_asked: Asked, contracted_database: str, call: Call
):
    execute(contracted_database, EMPTIED)
    (before,) = contracting_asked(call, contracted_database, "status")
    assert (before["state"], before["floor"], before["usable"]) == ("current", NEXT_VERSION, True)
    contracting_asked(call, contracted_database, ("stamp", {"revision": NEXT_VERSION}))
    assert rows(contracted_database, "line, floor") == [("expand", NEXT_VERSION)]


@both_drivers
async def test_a_step_is_the_newest_row_also_where_the_sequence_is_behind_the_rows(
    contracting_asked: Asked, expanded_database: str, call: Call
):
    """As after logical replication, or a restore of the data alone."""
    moved = "UPDATE todo_schema_history SET id = id + 100"
    execute(expanded_database, f"{moved}; ALTER TABLE todo_schema_history ALTER id RESTART")
    (report,) = await to_thread(contracting_asked, call, expanded_database, "contract")
    assert report["floor_after"] == NEXT_VERSION
    assert rows(expanded_database, "revision, floor, duration > '0'")[-1] == (CONTRACT, NEXT_VERSION, True)
    await refused_everywhere(expanded_database)


@both_drivers
async def test_the_floor_is_not_stamped_over_a_service_that_is_connected(
    contracting_asked: Asked, expanded_database: str, call: Call
):
    execute(expanded_database, "ALTER TABLE tasks DROP COLUMN description")
    stamp = ("stamp", {"revision": CONTRACT})
    async with session_factory(expanded_database, service="billing-api", check="never") as factory:
        await backend(factory)
        (refused,) = await to_thread(contracting_asked, call, expanded_database, stamp)
        assert (refused["error"], refused["clients"][0]["service"]) == ("ContractBlockedError", "billing-api")
        assert status(expanded_database).floor == LAST_FLOOR
    (done,) = await to_thread(contracting_asked, call, expanded_database, stamp)
    assert done["floor_after"] == NEXT_VERSION


@contextmanager
def holding(url: str, version: int) -> Iterator[None]:
    """Hold a shared lock of the leases' class, as a service called next-api."""
    with connect(url, autocommit=True, application_name="next-api") as connection:
        lock = f"SELECT pg_advisory_lock_shared({class_expression('public')}, {version})"
        connection.execute(lock.encode())
        yield


@both_drivers
def test_a_downgrade_asks_those_that_are_newer_than_the_package_that_undoes(
    contracting_asked: Asked, expanded_database: str, call: Call
):
    downgrade = ("downgrade", {"to": SCHEMA_VERSION})
    newer = NEXT_VERSION + 1
    with holding(expanded_database, newer):
        (refused,) = contracting_asked(call, expanded_database, downgrade)
        assert (refused["error"], refused["clients"][0]["schema_version"]) == ("ClientsConnectedError", newer)
        (script,) = contracting_asked(call, expanded_database, ("sql", {"to": SCHEMA_VERSION}))
        assert f"next-api at schema {newer}" in psql(expanded_database, script).stderr
    (done,) = contracting_asked(call, expanded_database, downgrade)
    assert done["version_after"] == SCHEMA_VERSION


async def test_a_script_stops_at_a_client_of_a_pooler_unless_it_is_told_not_to(
    contracting_asked: Asked, expanded_database: str
):
    # `pooler=True` takes no lease and marks the connection, as through a pooler.
    async with session_factory(expanded_database, service="billing-api", pooler=True) as factory:
        await backend(factory)
        assert leases(expanded_database) == []
        scripts = [("sql", {"to": CONTRACT}), ("sql", {"to": CONTRACT, "allow_unseen": True})]
        careful, told = await to_thread(contracting_asked, psycopg, expanded_database, *scripts)
        refused = await to_thread(psql, expanded_database, careful)
        assert f"billing-api at schema {SCHEMA_VERSION}" in refused.stderr
        assert status(expanded_database).floor == LAST_FLOOR
        assert (await to_thread(psql, expanded_database, told)).returncode == 0
    assert status(expanded_database).floor == NEXT_VERSION


async def test_a_pool_that_was_opened_before_there_were_tables_is_seen_wherever_they_come_to_be(
    server: Server, database: str
):
    execute(database, "CREATE SCHEMA svc")
    server.execute(f'ALTER DATABASE "{database_name(database)}" SET search_path = svc, public')
    async with session_factory(database, service="early") as factory:
        await backend(factory)
        upgrade(database, schema="public")
        assert [client.service for client in status(database, schema="public").clients] == ["early"]
        assert check(database) is State.CURRENT


async def test_an_engine_that_was_given_to_a_factory_is_leased_before_the_factory_is_used(
    upgraded_database: str,
):
    engine = own_engine("asyncpg", upgraded_database)
    factory = session_factory(engine)
    async with engine.connect() as connection, factory(bind=connection) as session:
        assert (await session.exec(text("SELECT 1"))).one() == (1,)
        assert len(leases(upgraded_database)) == 1
    await engine.dispose()


async def test_any_number_of_factories_on_one_engine_listens_once_for_each_kind(upgraded_database: str):
    engine = own_engine("asyncpg", upgraded_database)
    before = len(list(engine.sync_engine.pool.dispatch.checkout))
    for _ in range(5):
        session_factory(engine)
        session_factory(engine, check="never")
    assert len(list(engine.sync_engine.pool.dispatch.checkout)) == before + 2
    await engine.dispose()


async def test_one_that_checks_is_not_let_in_by_one_that_does_not(contracted_database: str):
    async with factory_on("asyncpg", contracted_database, check="never") as unchecked:
        await backend(unchecked)
        checked = session_factory(unchecked.engine)
        with pytest.raises(SchemaTooNewError):
            await backend(checked)


def test_a_lock_of_our_class_that_is_no_lease_is_no_client(upgraded_database: str):
    with holding(upgraded_database, -1):
        assert status(upgraded_database).clients == ()
