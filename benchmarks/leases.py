"""What leases cost: on a new connection, and in a look at who is connected."""

import asyncio
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import asyncpg
from sqlalchemy import NullPool, TextClause, text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from tests.support.clusters import Cluster, cluster
from tests.support.proxy import Proxy

from benchmarks import tables
from benchmarks.measuring import (
    Cost,
    interleaved,
    median,
    median_ratio,
    spelled,
)
from todo_schema import clients, embedded, session_factory, status, upgrade
from todo_schema.leases import take_message
from todo_schema.urls import DatabaseUrl

ROUNDS = 15
CONNECTIONS = 20
CALLS = 21
LEASED = 500
SERVICES = 5
AT_ONCE = 25

_BARE = "the same engine, without a lease"
_PARTS = ("wall", "call_wall", "cpu")


def _bare(url: str, **options: Any) -> AsyncEngine:
    parsed = DatabaseUrl.parse(url)
    options = {"pool_pre_ping": True, **parsed.engine_arguments("asyncpg"), **options}
    return create_async_engine(parsed.sqlalchemy_url("asyncpg"), **options)


def _factory(url: str, **options: Any) -> AsyncEngine:
    return session_factory(url, **options).engine


ENGINES: dict[str, Callable[..., AsyncEngine]] = {
    _BARE: _bare,
    "`session_factory(url)`": _factory,
    '`session_factory(url, check="never")`': partial(_factory, check="never"),
}


class Asked(NamedTuple):
    """What somebody asked of the server."""

    statements: int
    round_trips: int


def measure(rounds: int = ROUNDS) -> str:
    """Return the tables, as Markdown."""
    with cluster(embedded.binaries(), max_connections=LEASED + 100) as server:
        return "\n\n".join(["## Leases", _new_connection(server, rounds), _who_is_connected(server)])


def _new_connection(server: Cluster, rounds: int) -> str:
    url = server.create_database()
    upgrade(server.url(url))
    counts = {name: asyncio.run(_count(server, url, make)) for name, make in ENGINES.items()}

    def once(name: str) -> Cost:
        return asyncio.run(_connect(ENGINES[name](spelled(url, "postgresql"), poolclass=NullPool)))

    costs = interleaved(ENGINES, rounds, once)
    rows = [
        (
            name,
            *connect,
            checkout.round_trips,
            *(tables.ratio(median_ratio(costs[name], costs[_BARE], part)) for part in _PARTS),
            *(tables.milliseconds(median(costs[name], part)) for part in _PARTS),
        )
        for name, (connect, checkout) in counts.items()
    ]
    header = (
        "one more connection of a pool",
        "statements",
        "round trips",
        "round trips, checkout",
        "wall (engine = 1)",
        "wall with a first `SELECT` (engine = 1)",
        "CPU (engine = 1)",
        "wall, ms",
        "wall with a first `SELECT`, ms",
        "CPU, ms",
    )
    note = (
        f"Medians of {rounds} interleaved rounds of {CONNECTIONS} connections, one after the other; asyncpg, and the "
        "client's CPU. Whatever statement comes first on a connection, the lease's too, fills the server's caches: "
        "hence the second column of wall times. A checkout is another session on a connection that the pool has: "
        "SQLAlchemy's ping, and no more."
    )
    return f"{tables.table(header, rows)}\n\n{note}"


async def _count(server: Cluster, url: str, make: Callable[..., AsyncEngine]) -> tuple[Asked, Asked]:
    """Return what a connection costs that is not the engine's first, and what it costs to use it again."""
    with Proxy(server) as proxy:
        engine = make(proxy.url(url))
        async with engine.connect():
            connect = await _asked(proxy, engine)
            checkout = await _asked(proxy, engine)
        await engine.dispose()
    return connect, checkout


async def _asked(proxy: Proxy, engine: AsyncEngine) -> Asked:
    proxy.reset()
    async with engine.connect():
        return Asked(len(proxy.statements), proxy.round_trips)


async def _connect(engine: AsyncEngine) -> Cost:
    """Return the seconds of a connection, and, as the call's, of one that is used for a statement as well."""
    async with engine.connect():
        pass
    cpu, wall = await _timed_connections(engine, first=None)
    return Cost(cpu, wall, *await _timed_connections(engine, first=text("SELECT count(*) FROM tasks")))


async def _timed_connections(engine: AsyncEngine, first: TextClause | None) -> tuple[float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(CONNECTIONS):
        async with engine.connect() as connection:
            if first is not None:
                await connection.execute(first)
    return (time.process_time() - cpu) / CONNECTIONS, (time.perf_counter() - wall) / CONNECTIONS


def _who_is_connected(server: Cluster) -> str:
    url = server.create_database()
    upgrade(server.url(url))
    looks: dict[str, Callable[[str], Any]] = {"`clients`": clients, "`status`": status}
    rows = []
    base: dict[str, float] = {}
    for number in (0, LEASED):
        with _leases(spelled(url, "postgresql"), number):
            for name, look in looks.items():
                with Proxy(server) as proxy:
                    found = look(proxy.url(url)).clients
                    asked = (proxy.connections, len(proxy.statements), proxy.round_trips)
                wall = statistics.median(_timed(look, url) for _ in range(CALLS))
                base.setdefault(name, wall)
                seen = sum(client.connections for client in found)
                rows.append(
                    (
                        name,
                        seen,
                        len(found),
                        *asked,
                        tables.ratio(wall / base[name]),
                        tables.milliseconds(wall),
                    )
                )
    header = (
        "who is connected",
        "leased connections",
        "services",
        "connections",
        "statements",
        "round trips",
        "wall (nobody connected = 1)",
        "wall, ms",
    )
    note = (
        f"Medians of {CALLS} calls, psycopg. The connections are held by one process, which does nothing else. "
        "These rows did not take turns."
    )
    return f"{tables.table(header, rows)}\n\n{note}"


@contextmanager
def _leases(url: str, number: int) -> Iterator[None]:
    """Hold so many leases for the block, of several services, each taken as a session factory takes it."""

    async def lease(place: int, gate: asyncio.Semaphore) -> Any:
        async with gate:
            arguments = DatabaseUrl.parse(url).connect_arguments(
                "asyncpg", application_name=f"service-{place % SERVICES}"
            )
            connection = await asyncpg.connect(**arguments)
            await connection.execute(take_message(None, pid=connection.get_server_pid(), with_check=True))
            return connection

    async def take() -> list[Any]:
        gate = asyncio.Semaphore(AT_ONCE)
        return await asyncio.gather(*(lease(place, gate) for place in range(number)))

    async def leave(connections: list[Any]) -> None:
        await asyncio.gather(*(connection.close() for connection in connections))

    with asyncio.Runner() as runner:
        held = runner.run(take())
        yield
        runner.run(leave(held))


def _timed(look: Callable[[str], object], url: str) -> float:
    started = time.perf_counter()
    look(url)
    return time.perf_counter() - started


if __name__ == "__main__":
    print(measure(tables.rounds(ROUNDS)))
