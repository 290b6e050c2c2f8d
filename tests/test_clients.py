"""`clients` names who is connected, at which schema version, and what the next contract step waits for."""

import json
import pickle
from asyncio import to_thread
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from tests.support.backends import backend, two_backends
from tests.support.clusters import Cluster
from tests.support.commands import call as command
from tests.support.contracting import Asked, leased, revisions_of
from tests.support.leases import lease_class
from tests.support.packages import CONTRACT
from tests.support.revisions import CONTRACTS, LAST_FLOOR, NEXT_VERSION
from tests.support.servers import Server, execute
from tests.support.ways import Call, both_drivers, role, role_of
from todo_schema import (
    SCHEMA_VERSION,
    Client,
    ClientsConnectedError,
    PendingContract,
    State,
    clients,
    clients_async,
    downgrade,
    session_factory,
    upgrade,
)
from todo_schema.exits import Exit


@both_drivers
def test_nobody_is_connected_to_an_empty_database(database: str, call: Call):
    found = call("clients", database)
    assert (found.schema, found.floor, found.clients, found.leases) == ("public", 1, (), True)
    assert [step.revision for step in found.contract] == [*CONTRACTS]
    assert str(found).splitlines() == ["nobody is connected", *map(str, found.contract)]


@both_drivers
async def test_connections_are_put_together_by_service_version_role_and_address(
    private_server: Cluster, call: Call
):
    url = private_server.create_database()
    upgrade(url)
    local = private_server.socket_url(url.rpartition("/")[2])
    with role(private_server, url) as guest, leased(url, SCHEMA_VERSION + 7, "billing-api"):
        execute(url, f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role_of(guest)}")
        async with (
            session_factory(url, service="billing-api") as billing,
            session_factory(local, service="billing-api") as local_billing,
            session_factory(guest, service="billing-api") as guests,
            session_factory(url, service="tasks-api") as tasks,
            session_factory(url) as nameless,
        ):
            pids = await two_backends(billing)
            await two_backends(local_billing)
            for other in (guests, tasks, nameless):
                await backend(other)
            found = (await to_thread(call, "clients", url)).clients
        assert [(c.schema_version, c.service, c.host, c.role, c.connections) for c in found] == [
            (SCHEMA_VERSION, "", "127.0.0.1", "postgres", 1),
            (SCHEMA_VERSION, "billing-api", "127.0.0.1", "postgres", 2),
            (SCHEMA_VERSION, "billing-api", "127.0.0.1", role_of(guest), 1),
            (SCHEMA_VERSION, "billing-api", None, "postgres", 2),
            (SCHEMA_VERSION, "tasks-api", "127.0.0.1", "postgres", 1),
            (SCHEMA_VERSION + 7, "billing-api", "127.0.0.1", "postgres", 1),
        ]
        assert found[1].pids == tuple(sorted(pids))
        assert all(client.leased for client in found)
        assert str(found[0]).startswith(f"(no application_name): schema {SCHEMA_VERSION}, 1 connection from")
        assert str(found[3]).startswith(
            f"billing-api: schema {SCHEMA_VERSION}, 2 connections from a local or hidden address, role postgres, since"
        )


@both_drivers
async def test_the_oldest_connection_of_a_service_says_since_when_in_utc(
    server: Server, upgraded_database: str, call: Call
):
    with role(server, upgraded_database, "SUPERUSER") as url:
        execute(upgraded_database, f"ALTER ROLE {role_of(url)} SET timezone = 'Asia/Kathmandu'")
        async with session_factory(upgraded_database) as factory:
            await two_backends(factory)
            (client,) = (await to_thread(call, "clients", url)).clients
            oldest = (
                f"SELECT min(backend_start) FROM pg_stat_activity WHERE pid = ANY (ARRAY{[*client.pids]})"
            )
            ((since,),) = execute(upgraded_database, oldest)
    assert client.since is not None
    assert client.since.tzinfo is UTC
    assert abs(client.since - since) < timedelta(milliseconds=1)


@both_drivers
async def test_a_role_without_rights_sees_names_and_versions_and_one_that_may_see_activity_the_rest(
    server: Server, upgraded_database: str, call: Call
):
    with role(server, upgraded_database) as url:
        execute(upgraded_database, f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role_of(url)}")
        async with session_factory(upgraded_database, service="billing-api") as factory:
            pid = await backend(factory)
            (client,) = (await to_thread(call, "clients", url)).clients
            assert (client.service, client.schema_version, client.pids) == (
                "billing-api",
                SCHEMA_VERSION,
                (pid,),
            )
            assert (client.host, client.since, client.role) == (None, None, server.user)
            assert str(client).endswith(f"from a local or hidden address, role {server.user}")
            execute(upgraded_database, f"GRANT pg_read_all_stats TO {role_of(url)}")
            (client,) = (await to_thread(call, "clients", url)).clients
            assert client.since is not None


async def test_everything_is_json(finished_database: str):
    async with session_factory(finished_database, service="billing-api") as factory:
        pid = await backend(factory)
        found = await clients_async(factory.engine)
    (client,) = found.clients
    assert client.since is not None
    facts = {
        "service": "billing-api",
        "schema_version": SCHEMA_VERSION,
        "connections": 1,
        "pids": [pid],
        "host": client.host,
        "role": client.role,
        "since": client.since.isoformat(),
        "leased": True,
    }
    assert found.as_dict() == {
        "schema": "public",
        "floor": LAST_FLOOR,
        "clients": [facts],
        "contract": [],
        "leases": True,
    }


def test_a_lock_of_somebody_else_s_is_no_lease(server: Server, upgraded_database: str):
    class_, version = lease_class(), SCHEMA_VERSION
    other = server.create_database()
    with psycopg.connect(upgraded_database) as host, psycopg.connect(other) as elsewhere:
        host.execute(f"SELECT pg_advisory_lock({class_}, {version + 1})")  # alone, as a step does
        host.execute(f"SELECT pg_advisory_lock_shared({class_ + 1}, {version})")
        host.execute(f"SELECT pg_advisory_lock_shared({class_ << 32 | version})")  # by one number, not by two
        elsewhere.execute(f"SELECT pg_advisory_lock_shared({class_}, {version})")
        assert clients(upgraded_database).clients == ()
        host.execute(f"SELECT pg_advisory_lock_shared({class_}, {version})")
        assert [client.pids for client in clients(upgraded_database).clients] == [(host.info.backend_pid,)]
    server.drop_database(other)


@both_drivers
async def test_a_contract_step_says_what_it_waits_for(
    contracting_asked: Asked, finished_database: str, call: Call
):
    def step(**facts: object) -> list[dict[str, object]]:
        return [{"revision": CONTRACT, "requires": NEXT_VERSION, "floor": NEXT_VERSION, **facts}]

    def asked() -> list[dict[str, object]]:
        """What `clients` and `status` say."""
        found, status = contracting_asked(call, finished_database, "clients", "status")
        assert (status["contract_pending"], status["clients"]) == (found["contract"], found["clients"])
        return list(found["contract"])

    assert asked() == step(ready=False, waits_for="todo-schema upgrade --url URL", blocked_by=[])
    contracting_asked(call, finished_database, "upgrade")
    assert asked() == step(ready=True, waits_for="", blocked_by=[])
    with leased(finished_database, NEXT_VERSION, "newer-api"):
        assert asked() == step(ready=True, waits_for="", blocked_by=[])
        async with session_factory(finished_database, service="billing-api") as factory:
            await backend(factory)
            (client,) = clients(finished_database).clients[:1]
            assert client.service == "billing-api"
            assert asked() == step(
                ready=False,
                waits_for=f"services below schema {NEXT_VERSION} to leave",
                blocked_by=[client.as_dict()],
            )
        contract, found = contracting_asked(call, finished_database, "contract", "clients")
        assert revisions_of(contract) == [CONTRACT]
        assert (found["contract"], found["floor"]) == ([], NEXT_VERSION)
        assert [client["service"] for client in found["clients"]] == ["newer-api"]
        # This package, which the step has left behind, can still tell who is there.
        older = await to_thread(call, "clients", finished_database)
        assert (older.floor, older.contract, len(older.clients)) == (NEXT_VERSION, (), 1)


@both_drivers
async def test_installations_in_one_database_do_not_see_each_other_s_clients(
    contracting_asked: Asked, database: str, call: Call
):
    for schema in ("a", "b"):
        contracting_asked(call, database, ("upgrade", {"schema": schema}))
        await to_thread(call, "contract", database, schema=schema)
    async with session_factory(database, schema="a", service="billing-api") as factory:
        await backend(factory)
        assert [client.service for client in clients(database, schema="a").clients] == ["billing-api"]
        assert clients(database, schema="b").clients == ()
        a, b = contracting_asked(call, database, ("contract", {"schema": "a"}), ("contract", {"schema": "b"}))
        assert (a["error"], [client["service"] for client in a["clients"]]) == (
            "ContractBlockedError",
            ["billing-api"],
        )
        assert revisions_of(b) == [CONTRACT]
        (undone,) = contracting_asked(call, database, ("downgrade", {"schema": "b", "to": "base"}))
        assert undone["version_after"] is None


async def test_what_would_break_services_names_twenty_of_them_and_has_all(upgraded_database: str):
    with ExitStack() as services:
        for number in range(22):
            services.enter_context(leased(upgraded_database, SCHEMA_VERSION, f"service-{number:02d}"))
        with pytest.raises(ClientsConnectedError) as caught:
            downgrade(upgraded_database, to="base")
    names = [f"service-{number:02d}" for number in range(22)]
    assert [client.service for client in caught.value.clients] == names
    assert all(
        f"\n  {name}: schema {SCHEMA_VERSION}, 1 connection" in caught.value.found for name in names[:20]
    )
    assert "service-20" not in caught.value.found
    assert "and 2 more, which todo-schema clients lists" in caught.value.found
    copied = pickle.loads(pickle.dumps(caught.value))
    assert (copied.clients, str(copied)) == (caught.value.clients, str(caught.value))
    assert downgrade(upgraded_database, to="base").after is State.EMPTY


def test_the_command_and_the_status_say_the_same_for_a_person_and_a_program(upgraded_database: str):
    billing = f"billing-api: schema {SCHEMA_VERSION}, 1 connection from "
    with leased(upgraded_database, SCHEMA_VERSION):
        found = clients(upgraded_database)
        assert command("clients", url=upgraded_database).stdout == f"{found}\n"
        assert str(found).startswith(billing)
        assert json.loads(command("clients", "--json", url=upgraded_database).stdout) == found.as_dict()
        assert f"\nclient    {billing}" in command("status", url=upgraded_database).stdout
        status = json.loads(command("status", "--json", url=upgraded_database).stdout)
        assert status["clients"] == found.as_dict()["clients"]


def test_a_downgrade_by_command_that_would_break_a_service_exits_9_and_names_it(upgraded_database: str):
    going_back = ("downgrade", "--to", "base")
    below = f"deploy these services with a package below schema {SCHEMA_VERSION}, or "
    older = below if SCHEMA_VERSION > 1 else ""
    with leased(upgraded_database, SCHEMA_VERSION):
        told = command(*going_back, url=upgraded_database)
        assert told.exit_code == Exit.CLIENTS == 9
        assert f"\n  billing-api: schema {SCHEMA_VERSION}, 1 connection from " in told.stderr
        facts = json.loads(command(*going_back, "--json", url=upgraded_database).stdout)
        assert (facts["error"], facts["cure"]) == (
            "ClientsConnectedError",
            f"{older}stop these services, and call again",
        )
        assert facts["clients"] == clients(upgraded_database).as_dict()["clients"]
    assert command(*going_back, url=upgraded_database).exit_code == Exit.OK


def test_a_pending_step_prints_what_it_waits_for():
    step = PendingContract("c001", requires=2, floor=2, ready=True, waits_for="", blocked_by=())
    client = Client(
        "billing-api", 1, 1, (7,), "10.0.0.7", "app", datetime(2026, 12, 1, tzinfo=UTC), leased=True
    )
    assert str(step) == "c001 (floor 2) ready: todo-schema contract"
    early = replace(step, ready=False, waits_for="todo-schema upgrade --url URL")
    assert str(early) == "c001 (floor 2) waits for todo-schema upgrade --url URL"
    assert str(replace(early, waits_for="services to leave", blocked_by=(client,))) == (
        "c001 (floor 2) waits for services to leave\n"
        "    billing-api: schema 1, 1 connection from 10.0.0.7, role app, since 2026-12-01 00:00:00 UTC"
    )
    unseen = replace(client, service="", connections=2, leased=False)
    assert str(unseen) == (
        "(no application_name): schema 1, 2 connections from 10.0.0.7, role app, since 2026-12-01 00:00:00 UTC, "
        "through a pooler, without a lease"
    )


@pytest.mark.parametrize("place", ["service", "url"])
async def test_a_refusal_calls_a_service_by_its_name(upgraded_database: str, place: str):
    url = f"{upgraded_database}{'&' if '?' in upgraded_database else '?'}application_name=from-url"
    url, name = (url, "from-url") if place == "url" else (upgraded_database, "billing-api")
    async with session_factory(url, service="billing-api") as factory:
        await backend(factory)
        with pytest.raises(ClientsConnectedError, match=f"\n  {name}: schema {SCHEMA_VERSION}, 1 connection"):
            downgrade(upgraded_database, to="base")
