"""A connection that finds the floor above its package is refused; whoever is connected already works on."""

import asyncio

import pytest
from sqlalchemy import text

from tests.support.backends import backend, backends, two_backends
from tests.support.contracting import Asked, revisions_of
from tests.support.leases import NO_FLOOR, every_way, factory_on, held_by, leases
from tests.support.packages import CONTRACT
from tests.support.revisions import NEXT_VERSION
from tests.support.servers import Server, execute
from tests.support.states import AHEAD, FLOOR
from tests.support.ways import Call, assert_secret, both_drivers, psycopg, role, role_of
from todo_schema import (
    SCHEMA_VERSION,
    InsufficientPrivilegeError,
    SchemaTooNewError,
    __version__,
    session_factory,
)
from todo_schema.sessions import SessionFactory

ONE_AT_A_TIME = {"pool_size": 1, "max_overflow": 0}


@every_way
async def test_a_connection_below_the_floor_is_refused_and_closed_and_the_pool_is_usable_when_the_floor_falls(
    server: Server, upgraded_database: str, way: str
):
    execute(upgraded_database, f"{AHEAD}; {FLOOR}")
    async with factory_on(way, upgraded_database, **ONE_AT_A_TIME) as factory:
        for _ in range(3):
            with pytest.raises(SchemaTooNewError) as caught:
                await backend(factory)
        assert backends(server, upgraded_database, 0) == 0
        assert f"asks for packages of schema {NEXT_VERSION} or newer" in caught.value.found
        assert caught.value.needed == (
            f"a package of schema {NEXT_VERSION} or newer; "
            f"this is todo-schema {__version__} of schema {SCHEMA_VERSION}"
        )
        assert caught.value.cure == 'pip install --upgrade "todo-schema"'
        execute(upgraded_database, NO_FLOOR)
        pid = await backend(factory)
        assert leases(upgraded_database) == held_by({pid})


def test_several_that_are_refused_at_once_are_all_told_in_one_loop_after_the_other(
    server: Server, upgraded_database: str
):
    execute(upgraded_database, FLOOR)
    factory = session_factory(upgraded_database)
    for _ in range(2):
        with asyncio.Runner() as runner:
            told = runner.run(_outcomes(factory, 4))
            assert [type(outcome) for outcome in told] == [SchemaTooNewError] * 4
        assert backends(server, upgraded_database, 0) == 0
    execute(upgraded_database, NO_FLOOR)
    assert all(isinstance(outcome, int) for outcome in asyncio.run(_outcomes(factory, 4)))


async def _outcomes(factory: SessionFactory, times: int) -> list[object]:
    return await asyncio.gather(*(backend(factory) for _ in range(times)), return_exceptions=True)


@every_way
async def test_a_refusal_shows_no_password(server: Server, upgraded_database: str, way: str):
    with role(server, upgraded_database) as url:
        execute(upgraded_database, f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role_of(url)}; {FLOOR}")
        async with factory_on(way, url) as factory:
            with pytest.raises(SchemaTooNewError) as caught:
                await backend(factory)
            assert_secret(caught.value, "secret")
            execute(upgraded_database, f"REVOKE ALL ON todo_schema_history FROM {role_of(url)}")
            with pytest.raises(InsufficientPrivilegeError) as lacking:
                await backend(factory)
            assert_secret(lacking.value, "secret")


@every_way
async def test_without_the_check_nobody_is_refused_and_the_lease_is_held(upgraded_database: str, way: str):
    execute(upgraded_database, FLOOR)
    async with factory_on(way, upgraded_database, check="never") as factory:
        pids = await two_backends(factory)
        assert leases(upgraded_database) == held_by(pids)


@pytest.mark.parametrize("check", ["always", "", None, True])
def test_a_check_that_does_not_exist_is_a_mistake(check: object):
    with pytest.raises(ValueError, match=r"found: check=.*\nneeded: 'connect' or 'never'"):
        session_factory("postgresql://u@h/d", check=check)


@pytest.mark.parametrize("schema", [None, "public", 'we"ird'])
@every_way
async def test_a_role_that_may_not_read_the_floor_is_told_what_to_grant(
    server: Server, database: str, way: str, schema: str | None
):
    """And what it is told can be pasted as it is."""
    psycopg("upgrade", database, schema=schema)
    with role(server, database) as url:
        if schema:
            execute(database, "REVOKE USAGE ON SCHEMA public FROM PUBLIC")
        async with factory_on(way, url, schema=schema, **ONE_AT_A_TIME) as factory:
            with pytest.raises(InsufficientPrivilegeError) as caught:
                await backend(factory)
            assert f"role {role_of(url)} may not read the version" in caught.value.found
            assert "SELECT on todo_schema_version and todo_schema_history" in caught.value.needed
            assert backends(server, database, 0) == 0
            execute(database, caught.value.cure)
            pid = await backend(factory)
            assert leases(database, schema or "public") == held_by({pid})


async def test_without_the_check_no_right_is_needed(server: Server, upgraded_database: str):
    with role(server, upgraded_database) as url:
        async with session_factory(url, check="never") as factory:
            pid = await backend(factory)
            assert leases(upgraded_database) == held_by({pid})


@pytest.mark.parametrize("schema", [None, "nowhere"])
@every_way
async def test_a_database_without_tables_of_ours_has_no_floor_and_lets_everybody_in(
    database: str, way: str, schema: str | None
):
    async with factory_on(way, database, schema=schema) as factory:
        before = await backend(factory)
        assert leases(database, schema or "public") == held_by({before})
        psycopg("upgrade", database, schema=schema)
        assert await backend(factory) == before  # which looks again, now that there is something to see
        execute(database, f"SET search_path = {schema or 'public'}; {FLOOR}")
        assert await backend(factory) == before
        with pytest.raises(SchemaTooNewError):
            await two_backends(factory)


@both_drivers
async def test_a_process_works_on_below_a_floor_and_learns_of_it_on_its_next_new_connection(
    contracting_asked: Asked, expanded_database: str, call: Call
):
    async with session_factory(expanded_database, service="billing-api") as factory:
        open_ = await two_backends(factory)
        (refusal,) = contracting_asked(call, expanded_database, "contract")
        assert refusal["error"] == "ContractBlockedError"
        assert [(client["service"], client["connections"]) for client in refusal["clients"]] == [
            ("billing-api", 2)
        ]
        # Somebody who holds no lease against the step has it: an administrator's psql, for instance.
        execute(expanded_database, FLOOR)
        assert await two_backends(factory) == open_
        async with factory() as session:
            assert (await session.exec(text("SELECT description FROM tasks"))).all() == []
        async with factory.engine.connect(), factory.engine.connect():
            with pytest.raises(SchemaTooNewError):
                async with factory.engine.connect():
                    pass
        execute(expanded_database, NO_FLOOR)
        await factory.close()
        (report,) = contracting_asked(call, expanded_database, "contract")
        assert revisions_of(report) == [CONTRACT]
        with pytest.raises(SchemaTooNewError):
            await backend(factory)
