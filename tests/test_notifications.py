"""Whoever listens on `todo_schema` hears of each step when it is committed, and of none that was rolled back."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from tests.support.contracting import CONTRACTED, EXPANDED, Asked, leased, recorded
from tests.support.packages import CONTRACT
from tests.support.revisions import CONTRACT_HEAD, LAST_FLOOR, NEXT_VERSION, REVISIONS, in_one
from tests.support.servers import execute
from tests.support.ways import Call, both_drivers
from todo_schema import SCHEMA_VERSION, MigrationFailedError
from todo_schema.compatibility import CHANNEL, HEAD

Hear = Callable[[int], Awaitable[list[dict[str, Any]]]]


@asynccontextmanager
async def listening(url: str) -> AsyncIterator[Hear]:
    """Listen. Gives what waits for so many messages, and returns them with what the version table said to each."""
    heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    def listener(_connection: object, _pid: int, channel: str, payload: str) -> None:
        assert channel == CHANNEL
        message = json.loads(payload)
        home = '"' + message["schema"].replace('"', '""') + '"'
        heard.put_nowait(message | {"recorded": recorded(url, home)})

    connection = await asyncpg.connect(url)
    try:
        await connection.add_listener(CHANNEL, listener)

        async def hear(count: int) -> list[dict[str, Any]]:
            messages = [await asyncio.wait_for(heard.get(), 20) for _ in range(count)]
            # Messages come in the order of the commits: after this one there is no other on its way.
            await connection.execute("SELECT")
            assert heard.empty()
            return messages

        yield hear
    finally:
        await connection.close()


def said(line: str, revision: str, floor: int, recorded: set[str], schema: str = "public") -> dict[str, Any]:
    return {"schema": schema, "line": line, "revision": revision, "floor": floor, "recorded": recorded}


@both_drivers
@pytest.mark.parametrize("schema", ["public", "Tödo \"x\" 'y' \\z"])
async def test_upgrade_downgrade_and_stamp_are_heard(database: str, call: Call, schema: str):
    async with listening(database) as hear:
        await asyncio.to_thread(call, "upgrade", database, schema=schema)
        *_, newest = await hear(len(REVISIONS))
        assert newest == said("expand", HEAD, 1, {HEAD}, schema)
        await asyncio.to_thread(call, "stamp", database, "base", schema=schema)
        assert await hear(1) == [said("expand", "base", 1, set(), schema)]
        await asyncio.to_thread(call, "upgrade", database, schema=schema)
        assert await hear(1) == [said("expand", HEAD, 1, {HEAD}, schema)]
        await asyncio.to_thread(call, "downgrade", database, to="base", schema=schema)
        *_, last = await hear(sum(1 if in_one(revision, downward=True) else 2 for revision in REVISIONS))
        assert last == said("expand", "base", 1, set(), schema)
        await asyncio.to_thread(call, "downgrade", database, to="base", schema=schema)
        await hear(0)


@both_drivers
async def test_a_contract_step_and_its_way_back_are_heard_with_the_floor(
    contracting_asked: Asked, expanded_database: str, call: Call
):
    after, before = CONTRACTED, EXPANDED
    async with listening(expanded_database) as hear:
        for name, options, expected in (
            ("contract", {}, [said("contract", CONTRACT, NEXT_VERSION, after)]),
            ("contract", {}, []),
            ("downgrade", {"to": CONTRACT_HEAD}, [said("contract", CONTRACT_HEAD, LAST_FLOOR, before)]),
            ("stamp", {"revision": CONTRACT}, [said("contract", CONTRACT, NEXT_VERSION, after)]),
            ("stamp", {"revision": CONTRACT_HEAD}, [said("contract", CONTRACT_HEAD, LAST_FLOOR, before)]),
        ):
            await asyncio.to_thread(contracting_asked, call, expanded_database, (name, options))
            assert await hear(len(expected)) == expected


@both_drivers
async def test_a_contract_step_that_was_refused_is_not_heard(
    contracting_asked: Asked, expanded_database: str, call: Call
):
    async with listening(expanded_database) as hear:
        with leased(expanded_database, SCHEMA_VERSION):
            (refusal,) = await asyncio.to_thread(contracting_asked, call, expanded_database, "contract")
            assert refusal["error"] == "ContractBlockedError"
            await hear(0)
        await asyncio.to_thread(contracting_asked, call, expanded_database, "contract")
        assert [message["revision"] for message in await hear(1)] == [CONTRACT]


@both_drivers
async def test_a_revision_that_failed_is_not_heard(database: str, call: Call):
    execute(database, "CREATE TABLE ix_task_completed ()")
    async with listening(database) as hear:
        with pytest.raises(MigrationFailedError):
            await asyncio.to_thread(call, "upgrade", database)
        await hear(0)
        execute(database, "DROP TABLE ix_task_completed")
        await asyncio.to_thread(call, "upgrade", database)
        assert [message["revision"] for message in await hear(len(REVISIONS))] == [*REVISIONS]
