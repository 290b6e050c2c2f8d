"""Behind PgBouncer in transaction mode no lease is held, which everybody says, and clients are known by their names."""

from asyncio import to_thread
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import text
from sqlmodel import select

from tests.support.backends import backend
from tests.support.contracting import EXPANDED, Asked, recorded, revisions_of
from tests.support.leases import advisory_locks, held_by, leases, own_engine
from tests.support.packages import CONTRACT
from tests.support.pooler import PROGRAM, Pooler, pgbouncer
from tests.support.servers import Server, execute
from tests.support.states import AHEAD, FLOOR
from tests.support.ways import Call, both_drivers, psycopg
from todo_schema import (
    SCHEMA_VERSION,
    ClientsConnectedError,
    SchemaTooNewError,
    State,
    UnseenClientsError,
    User,
    clients,
    downgrade,
    session_factory,
    upgrade,
)

# What asyncpg needs behind a pooler that the URL does not show; ours says so to it where it knows of the pooler.
UNPREPARED = {"statement_cache_size": 0, "prepared_statement_cache_size": 0}

WAYS_TO_KNOW: dict[str, dict[str, Any]] = {
    "found out": {"connect_args": UNPREPARED},
    "told": {"pooler": True},
}
every_way_to_know = pytest.mark.parametrize("options", WAYS_TO_KNOW.values(), ids=WAYS_TO_KNOW)


def said_to(call: Call) -> dict[str, bool]:
    """The options of a call through the pooler: psycopg needs none, asyncpg has to be told what it must not prepare."""
    return {} if call is psycopg else {"pooler": True}


def mark(schema_version: int = SCHEMA_VERSION, installation: str = "4f25539b") -> str:
    """The end of a client's application_name; `public` has that number."""
    return f" (todo_schema {schema_version} {installation})"


@every_way_to_know
async def test_no_lease_is_left_in_the_pooler_s_sessions_and_a_client_is_known_by_its_name(
    pooler: Pooler, upgraded_database: str, options: dict[str, Any]
):
    url = pooler.url(upgraded_database)
    async with session_factory(url, service="billing-api", **options) as factory:
        async with factory.begin() as one, factory.begin() as other:
            one.add(User(email="one@example.org"))
            other.add(User(email="other@example.org"))
            await one.flush()
            await other.flush()
            assert advisory_locks(upgraded_database) == 0
            (client,) = clients(upgraded_database).clients
            assert (client.service, client.schema_version, client.leased) == (
                "billing-api",
                SCHEMA_VERSION,
                False,
            )
            assert client.connections == len(client.pids) == 2
            assert "without a lease" in str(client)
        async with factory() as session:
            assert len((await session.exec(select(User))).all()) == 2
            name = (await session.exec(text("SHOW application_name"))).scalar_one()
            assert name == f"billing-api{mark()}"
    assert advisory_locks(upgraded_database) == 0


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_a_caller_s_engine_through_a_pooler_is_found_out(
    pooler: Pooler, upgraded_database: str, driver: str
):
    engine = own_engine(driver, f"{pooler.url(upgraded_database)}?pgbouncer=true&application_name=tasks-api")
    for _ in range(2):  # the second factory finds the mark of the first
        async with session_factory(engine)() as session:
            name = (await session.exec(text("SHOW application_name"))).scalar_one()
            assert name == f"tasks-api{mark()}"
    assert advisory_locks(upgraded_database) == 0
    await engine.dispose()


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_a_connection_through_a_pooler_that_serves_several_tenants_is_a_client_of_each(
    pooler: Pooler, database: str, driver: str
):
    """A name has room for one mark: without more, the last tenant would hide the others from their contract steps."""
    tenants = ("one", "two", "three")
    for schema in tenants:
        await to_thread(upgrade, database, schema=schema)
    engine = own_engine(driver, f"{pooler.url(database)}?pgbouncer=true", pool_size=1, max_overflow=0)
    for schema in tenants:
        await backend(session_factory(engine, schema=schema))
    await backend(session_factory(engine, schema="one"))
    for schema in tenants:
        assert [client.leased for client in clients(database, schema=schema).clients] == [False]
        with pytest.raises(UnseenClientsError):
            await to_thread(downgrade, database, schema=schema, to="base")
    await engine.dispose()


@every_way_to_know
async def test_the_floor_is_read_through_a_pooler_too(
    pooler: Pooler, upgraded_database: str, options: dict[str, Any]
):
    execute(upgraded_database, f"{AHEAD}; {FLOOR}")
    async with session_factory(pooler.url(upgraded_database), **options) as factory:
        with pytest.raises(SchemaTooNewError):
            await backend(factory)
    async with session_factory(pooler.url(upgraded_database), check="never", **options) as factory:
        assert await backend(factory)


@both_drivers
def test_status_and_clients_say_that_leases_are_off_through_a_pooler_and_on_without_it(
    pooler: Pooler, upgraded_database: str, call: Call
):
    through = pooler.url(upgraded_database)
    for url, options, leased in (
        (through, said_to(call), False),
        (through, {"pooler": True}, False),
        (upgraded_database, {}, True),
    ):
        state = call("status", url, **options)
        assert state.leases is leased
        assert ("leases    off: this URL goes through a pooler" in str(state)) is not leased
        assert ("leases    on" in str(state)) is leased
        connected = call("clients", url, **options)
        assert connected.leases is leased
        assert ("goes through a pooler" in str(connected)) is not leased


@both_drivers
def test_a_contract_step_through_a_pooler_is_refused_unless_told_otherwise(
    pooler: Pooler, contracting_asked: Asked, expanded_database: str, call: Call
):
    url = pooler.url(expanded_database)
    for options in (said_to(call), {"pooler": True}):
        (refusal,) = contracting_asked(call, url, ("contract", options))
        assert refusal["error"] == "UnseenClientsError"
        assert refusal["found"].startswith("this connection goes through a pooler")
        assert f"no package of schema 1 to {SCHEMA_VERSION} is in use" in refusal["needed"]
        assert "allow_unseen=True, or --allow-unseen" in refusal["cure"]
    assert recorded(expanded_database) == EXPANDED
    (report,) = contracting_asked(call, url, ("contract", {"allow_unseen": True, "pooler": True}))
    assert revisions_of(report) == [CONTRACT]


@both_drivers
async def test_a_contract_step_is_refused_while_a_client_of_a_pooler_is_seen_below_its_floor(
    pooler: Pooler, contracting_asked: Asked, expanded_database: str, call: Call
):
    """Its name is seen for as long as the pooler's connection lasts, longer than the client."""
    url = pooler.url(expanded_database)
    async with session_factory(url, pooler=True, service="billing-api") as factory, factory() as session:
        await session.exec(select(User))
        newer = ("read_tasks", {"pooler": True, "service": "newer-api"})
        assert contracting_asked(call, url, newer) == [0]
    assert {client.service for client in clients(expanded_database).clients} == {"billing-api", "newer-api"}
    for _ in range(2):
        (refusal,) = contracting_asked(call, expanded_database, "contract")
        assert refusal["error"] == "UnseenClientsError"
        assert "clients come through a pooler" in refusal["found"]
        assert f"\n  billing-api: schema {SCHEMA_VERSION}, 1 connection" in refusal["found"]
        assert "newer-api" not in refusal["found"]
        (found,) = contracting_asked(call, expanded_database, "clients")
        assert [step["blocked_by"][0]["service"] for step in found["contract"]] == ["billing-api"]
    (report,) = contracting_asked(call, expanded_database, ("contract", {"allow_unseen": True}))
    assert revisions_of(report) == [CONTRACT]


@both_drivers
async def test_a_lease_is_no_matter_of_what_is_allowed_unseen(
    pooler: Pooler, contracting_asked: Asked, expanded_database: str, call: Call
):
    """Through the pooler too: a client that is seen to hold a lease stops the step."""
    async with session_factory(expanded_database, service="billing-api") as factory:
        assert await backend(factory)
        for url, pooled in ((pooler.url(expanded_database), True), (expanded_database, None)):
            options = {"allow_unseen": True, "pooler": pooled}
            (refusal,) = contracting_asked(call, url, ("contract", options))
            assert refusal["error"] == "ContractBlockedError"
            assert [client["service"] for client in refusal["clients"]] == ["billing-api"]


@both_drivers
async def test_a_downgrade_asks_the_same(pooler: Pooler, upgraded_database: str, call: Call):
    url = pooler.url(upgraded_database)
    with pytest.raises(UnseenClientsError, match="this connection goes through a pooler"):
        await to_thread(call, "downgrade", url, to="base", **said_to(call))
    async with session_factory(url, pooler=True, service="billing-api") as factory:
        assert await backend(factory)
        with pytest.raises(UnseenClientsError, match=r"clients come through a pooler(.|\n)*billing-api"):
            await to_thread(call, "downgrade", upgraded_database, to="base")
    async with session_factory(upgraded_database) as factory:
        assert await backend(factory)
        with pytest.raises(ClientsConnectedError):
            await to_thread(call, "downgrade", upgraded_database, to="base", allow_unseen=True)
    report = await to_thread(call, "downgrade", upgraded_database, to="base", allow_unseen=True)
    assert report.after is State.EMPTY


async def test_a_pooler_in_session_mode_that_is_told_to_be_none_keeps_leases(
    server: Server, upgraded_database: str
):
    with pgbouncer(server, pool_mode="session") as pooler:
        url = pooler.url(upgraded_database)
        async with session_factory(url, pooler=False, service="billing-api") as factory:
            pid = await backend(factory)
            assert leases(upgraded_database) == held_by({pid})
            assert [client.leased for client in clients(upgraded_database).clients] == [True]


NAMES = [
    "x" * 63,
    "ö" * 31,
    "naïve " + "x" * 50,
    "(todo_schema",
    "100 % 'a' \"b\" \\c",
    "a (todo_schema 7 01234567)",
]


async def assert_marked(url: str, pooler: Pooler) -> None:
    for name in NAMES:
        async with session_factory(pooler.url(url), pooler=True, service=name) as factory:
            pid = await backend(factory)
            async with factory() as session:
                shown = (await session.exec(text("SHOW application_name"))).scalar_one()
        assert shown.endswith(mark()), name
        (client,) = clients(url).clients
        assert (client.service + mark(), client.pids) == (shown, (pid,))
        assert (client.leased, client.schema_version) == (False, SCHEMA_VERSION)


async def test_a_name_of_any_length_keeps_the_mark(pooler: Pooler, upgraded_database: str):
    await assert_marked(upgraded_database, pooler)


@pytest.fixture
def older_pooler(debian: Server) -> Iterator[tuple[Server, Pooler]]:
    """A PostgreSQL that shows each byte of a name beyond ASCII as a question mark, and a pooler in front of it."""
    if PROGRAM is None:
        pytest.skip("PgBouncer is not installed: apt-get install pgbouncer")
    with pgbouncer(debian) as running:
        yield debian, running


async def test_a_name_of_any_length_keeps_the_mark_on_an_older_server(
    older_pooler: tuple[Server, Pooler],
):
    server, pooler = older_pooler
    url = server.create_database()
    upgrade(url)
    await assert_marked(url, pooler)


async def test_a_client_without_a_name_is_not_taken_for_the_one_whose_name_it_finds(
    pooler: Pooler, contracting_asked: Asked, expanded_database: str
):
    """PgBouncer leaves the name of the client before, with the mark of another schema version."""
    url = pooler.url(expanded_database)
    contracting_asked(psycopg, url, ("read_tasks", {"pooler": True, "service": "newer-api"}))
    async with session_factory(url, pooler=True) as factory:
        assert await backend(factory)
        assert [client.schema_version for client in clients(expanded_database).clients] == [SCHEMA_VERSION]
