"""Leases as the server shows them, what stands in their way, and the ways to a factory that takes them."""

import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Literal

import psycopg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from tests.support.revisions import CONTRACT, CONTRACT_HEAD, CONTRACTS, LAST_FLOOR, NEXT_VERSION
from tests.support.servers import execute
from tests.support.states import FLOOR
from tests.support.waiting import wait_for
from todo_schema import SCHEMA_VERSION, session_factory
from todo_schema.leases import try_exclusive_query
from todo_schema.sessions import SessionFactory
from todo_schema.urls import DatabaseUrl

# Undoes FLOOR, as a downgrade does: the newest row of the history counts.
NO_FLOOR = FLOOR.replace(
    f"'{CONTRACT}', 'contract', {len(CONTRACTS) + 1}, 'upgrade', {NEXT_VERSION}",
    f"'{CONTRACT_HEAD}', 'contract', {len(CONTRACTS)}, 'downgrade', {LAST_FLOOR}",
)
# What every message that takes a lease contains.
MESSAGE = "pg_try_advisory_lock_shared"


def lease_class(schema: str = "public") -> int:
    """The first half of the key of an installation's leases, as pg_locks shows it."""
    return int.from_bytes(hashlib.sha256(f"todo_schema lease {schema}".encode()).digest()[:4], "big")


def leases(url: str, schema: str = "public") -> list[tuple[int, int]]:
    """The process id and the schema version of every lease on an installation."""
    return execute(
        url,
        f"""SELECT pid, objid::bigint FROM pg_locks
        WHERE locktype = 'advisory' AND objsubid = 2 AND mode = 'ShareLock' AND granted
          AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND classid = {lease_class(schema)} ORDER BY pid""",
    )


def advisory_locks(url: str) -> int:
    """How many advisory locks there are in a database, whoever took them for whatever."""
    of_this = "database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    ((found,),) = execute(url, f"SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND {of_this}")
    return int(found)


def held_by(pids: set[int]) -> list[tuple[int, int]]:
    """What `leases` says where these connections of this package hold one each."""
    return [(pid, SCHEMA_VERSION) for pid in sorted(pids)]


def wait_until_nobody_holds_any(url: str, schema: str = "public") -> None:
    """Wait until there is no lease: a server notices late that a connection is gone."""
    wait_for(lambda: leases(url, schema) == [])


@contextmanager
def step_under_way(url: str, schema: str = "public") -> Iterator[psycopg.Connection]:
    """Hold this package's schema version as a contract step does, until the transaction ends.

    The step has raised the floor, which nobody else sees before the commit.
    """
    with psycopg.connect(url, application_name="a contract step") as step:
        step.execute(FLOOR)
        assert step.execute(try_exclusive_query(schema, 1, SCHEMA_VERSION)).fetchall() == []
        yield step


def own_engine(driver: str, url: str, **options: Any) -> AsyncEngine:
    """An engine as a caller makes one, on asyncpg or psycopg."""
    parsed = DatabaseUrl.parse(url)
    return create_async_engine(parsed.sqlalchemy_url(driver), **parsed.engine_arguments(driver), **options)


every_way = pytest.mark.parametrize("way", ["url", "asyncpg", "psycopg"])


@asynccontextmanager
async def factory_on(
    way: str,
    url: str,
    *,
    schema: str | None = None,
    check: Literal["connect", "never"] = "connect",
    **engine_options: Any,
) -> AsyncIterator[SessionFactory]:
    """A factory by its `url`, or on a caller's engine with the driver of that name; closed after the block."""
    if way == "url":
        async with session_factory(url, schema=schema, check=check, **engine_options) as factory:
            yield factory
        return
    engine = own_engine(way, url, **engine_options)
    try:
        yield session_factory(engine, schema=schema, check=check)
    finally:
        await engine.dispose()
