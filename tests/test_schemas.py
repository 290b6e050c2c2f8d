"""Installations that share a database: each in a PostgreSQL schema of its own, and none of them sees another."""

import asyncio
import json
import shlex
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest
from sqlmodel import col, select

from tests.support.backends import backend
from tests.support.catalog_dump import dump
from tests.support.commands import call as command
from tests.support.forker import Forker, forker
from tests.support.leases import wait_until_nobody_holds_any
from tests.support.pooler import Pooler
from tests.support.proxy import Proxy
from tests.support.psql import apply, psql
from tests.support.revisions import CONTRACT_HEAD, REVISIONS, upgraded
from tests.support.servers import Server, execute
from tests.support.states import rows
from tests.support.ways import Call, both_drivers
from todo_schema import (
    SCHEMA_VERSION,
    ClientsConnectedError,
    Conversation,
    ForeignVersionError,
    Installation,
    MessageCreate,
    MigrationLockedError,
    SchemaDriftError,
    SchemaOutdatedError,
    State,
    Task,
    User,
    append_messages,
    check,
    clients,
    messages_after,
    newest_conversations,
    newest_messages,
    newest_tasks,
    session_factory,
    sql,
    stamp,
    status,
    upgrade,
    upgrade_many,
    user_by_email,
)
from todo_schema.locks import try_lock_query
from todo_schema.quoting import identifier

# With what breaks a statement, a parameter of a driver, a format, or a name that is split at its dots.
WEIRD = 'The "we"ird%1".of Tenant 7\'s'
PROCESSES = 20

BOOT = """
from todo_schema import revisions, upgrade
revisions.in_order()
def boot(url):
    return upgrade(url, schema={schema!r}).as_dict()
"""


@pytest.fixture(scope="module")
def one_and_two() -> Iterator[list[Forker]]:
    with ExitStack() as stack:
        yield [stack.enter_context(forker(BOOT.format(schema=schema))) for schema in ("one", "two")]


def test_two_schemas_that_twenty_processes_each_upgrade_at_once_are_each_migrated_once(
    server: Server, database: str, one_and_two: list[Forker]
):
    with Proxy(server, barrier=2 * PROCESSES) as proxy:
        for replicas in one_and_two:
            replicas.start(proxy.url(database), PROCESSES)
        answers = [replicas.outcomes() for replicas in one_and_two]
    for schema, outcomes in zip(("one", "two"), answers, strict=True):
        assert [outcome["error"] for outcome in outcomes if not outcome["ok"]] == []
        applied = [[step["revision"] for step in outcome["result"]["applied"]] for outcome in outcomes]
        assert [one for one in applied if one] == [[*REVISIONS]]
        assert rows(database, "revision, action", schema) == upgraded()
        assert check(database, schema=schema, deep=True) is State.CURRENT
    assert dump(database, schema="two").replace("two", "one") == dump(database, schema="one")


def test_whoever_migrates_one_schema_keeps_nobody_from_another(database: str):
    with psycopg.connect(database) as migrating:
        migrating.execute(try_lock_query("one"))
        assert upgrade(database, schema="two", timeout=0).after is State.CURRENT
        with pytest.raises(MigrationLockedError, match="migration lock of schema one"):
            upgrade(database, schema="one", timeout=0)


@both_drivers
async def test_a_schema_goes_through_a_pooler_without_a_word_about_the_search_path(
    pooler: Pooler, server: Server, database: str, call: Call
):
    """Of the tenants whose transactions share five connections, each keeps to its own tables."""
    # What PgBouncer itself sends to the server is not ours.
    with Proxy(server) as proxy:
        for schema in ("one", WEIRD):
            await asyncio.to_thread(call, "upgrade", proxy.url(database), schema=schema, pooler=True)
            async with session_factory(proxy.url(database), schema=schema, pooler=True) as sessions:
                await backend(sessions)
        started = [proxy.startup(number) for number in range(1, proxy.connections + 1)]
    assert {name for startup in started for name in startup} <= {
        *("user", "database", "application_name", "client_encoding")
    }
    url = pooler.url(database)
    await asyncio.to_thread(call, "upgrade", url, schema="two", pooler=True)
    tenants = ("one", "two", WEIRD)

    async def serve(schema: str, number: int) -> None:
        async with session_factory(url, schema=schema, pooler=True, pool_size=3) as sessions:
            async with sessions.begin() as session:
                session.add(user := User(email=f"{number}@example.com"))
                session.add(talk := Conversation(user_id=user.id))
                await append_messages(session, user.id, talk.id, [MessageCreate(role="user", content=schema)])
            for _ in range(5):
                async with sessions() as session:
                    page = (await session.exec(newest_messages(user.id, talk.id))).all()
                    assert [message.content for message in page] == [schema]
                    assert (await session.exec(user_by_email(f"{number}@EXAMPLE.com"))).one() == user

    await asyncio.gather(*[serve(schema, number) for number in range(4) for schema in tenants])
    for schema in tenants:
        found = f"SELECT count(*), count(DISTINCT content) FROM {identifier(schema)}.messages"
        assert execute(database, found) == [(4, 1)]


@both_drivers
async def test_every_function_knows_a_schema_by_a_name_that_needs_quoting(database: str, call: Call):
    """What tests/test_encodings.py does not call already."""

    async def do(name: str, **options: object) -> Any:
        return await asyncio.to_thread(call, name, database, schema=WEIRD, **options)

    clean = dump(database)
    with pytest.raises(SchemaOutdatedError):
        await do("wait", timeout=0)
    assert (await do("plan", preflight=True)).violations == ()
    assert (await do("upgrade", deferred="skip")).after is State.CURRENT
    assert (await do("upgrade", deferred="only")).deferred == ()
    assert await do("wait", timeout=0) is State.CURRENT
    (outcome,) = upgrade_many([Installation(database, WEIRD)]).outcomes
    assert (outcome.schema, str(outcome.report)) == (WEIRD, f"schema {SCHEMA_VERSION} already: nothing to do")
    async with session_factory(database, schema=WEIRD, service="tenant-api") as sessions:
        async with sessions.begin() as session:
            session.add(user := User(email="ann@example.com"))
            session.add(talk := Conversation(user_id=user.id))
            said = [MessageCreate(role="user", content=text) for text in ("1", "2")]
            written = await append_messages(session, user.id, talk.id, said)
            session.add(Task(user_id=user.id, title="Water the plants"))
        async with sessions() as session:
            newest = (await session.exec(newest_messages(user.id, talk.id, limit=1))).one()
            assert newest == written[-1]
            cursor = written[0].created_at, written[0].id
            assert (await session.exec(messages_after(user.id, talk.id, after=cursor))).one() == newest
            assert (await session.exec(newest_conversations(user.id))).one() == talk
            assert (await session.exec(newest_tasks(user.id, open_only=True))).one().title
            assert (await session.exec(user_by_email("ANN@example.com"))).one() == user
            found = await session.exec(select(User).where(col(User.id) == user.id))
            assert found.one().email == "ann@example.com"
        assert [one.service for one in (await do("clients")).clients] == ["tenant-api"]
        with pytest.raises(ClientsConnectedError, match="tenant-api"):
            await do("downgrade", to="base")
    await asyncio.to_thread(wait_until_nobody_holds_any, database, WEIRD)
    assert (await do("plan")).contract[-1].revision == CONTRACT_HEAD
    assert (await do("contract")).applied[-1].revision == CONTRACT_HEAD
    await do("downgrade", to="c000")
    script = await asyncio.to_thread(call, "sql", database, to=CONTRACT_HEAD, schema=WEIRD)
    await asyncio.to_thread(apply, database, script)
    assert (await do("check", deep=True)) is State.CURRENT
    assert (await do("status")).contract == CONTRACT_HEAD
    assert (await do("downgrade", to="base")).after is State.EMPTY
    assert dump(database) == clean


def test_every_command_knows_a_schema_by_a_name_that_needs_quoting(database: str):
    def said(name: str, *arguments: str) -> str:
        answer = command(name, *arguments, "--schema", WEIRD, url=database)
        assert answer.exit_code == 0, answer.output
        return str(answer.stdout)

    assert json.loads(said("plan", "--preflight", "--json"))["violations"] == []
    assert said("upgrade").startswith(f"schema none -> {SCHEMA_VERSION}\n")
    assert said("wait", "--timeout", "0") == said("check", "--deep") == "current\n"
    assert json.loads(said("status", "--json"))["schema"] == WEIRD
    assert json.loads(said("clients", "--json"))["clients"] == []
    assert said("contract", "--to", CONTRACT_HEAD).startswith(f"schema {SCHEMA_VERSION}, floor 1 -> ")
    assert "applied 20" in said("history")
    assert json.loads(said("stamp", CONTRACT_HEAD, "--json"))["version_after"] == SCHEMA_VERSION
    assert said("downgrade", "--to", "c000")
    apply(database, said("sql", "--url", database, "--to", "base"))
    assert json.loads(said("status", "--json"))["state"] == "empty"
    apply(database, said("sql"))
    assert said("upgrade") == f"schema {SCHEMA_VERSION} already: nothing to do\n"


def test_a_command_that_is_recommended_names_the_schema(database: str):
    upgrade(database, schema=WEIRD)
    option = f" --schema {shlex.quote(WEIRD)}"
    for said in (clients(database, schema=WEIRD), status(database, schema=WEIRD)):
        assert f"ready: todo-schema contract{option}" in str(said)
    assert f"todo-schema sql --url URL{option} starts from" in psql(database, sql(schema=WEIRD)).stderr
    execute(database, f"ALTER TABLE {identifier(WEIRD)}.tasks DROP title")
    with pytest.raises(SchemaDriftError) as caught:
        stamp(database, 1, schema=WEIRD)
    assert caught.value.cure.startswith(f"todo-schema upgrade --url URL{option} ")
    execute(database, f"UPDATE {identifier(WEIRD)}.todo_schema_version SET version_num = '1'")
    with pytest.raises(ForeignVersionError, match="recognises the tables") as foreign:
        status(database, schema=WEIRD)
    assert f"todo-schema upgrade --url URL{option} recognises" in foreign.value.cure
