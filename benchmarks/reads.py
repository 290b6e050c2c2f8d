"""What each query of a service costs the server: 0.1 beside 0.2, on the same rows."""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import psycopg

from benchmarks import figures, plot, tables
from benchmarks.both_schemas import Both, rows_of
from benchmarks.queries import QUERIES, Query, Subject, sent, subjects

# Of each query: so many executions of each version, over the typical users or conversations, or the heavy ones.
EXECUTIONS = 60

# How the server plans. A driver prepares its statements; the server plans the first five executions of each connection
# for their own parameters, and from then on, if that seems no dearer, for any.
PLANS = {
    "force_custom_plan": "planned for its own parameters",
    "force_generic_plan": "planned once for any",
}

# Without the times of each node: to read the clock would cost more than a node.
_EXPLAIN = "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) EXECUTE measured"


class Cost(NamedTuple):
    """What an execution took of the server: seconds without the planning, and buffers that it looked at."""

    seconds: float
    buffers: int


class Pair(NamedTuple):
    """The executions of a query by both versions, in turns, of one kind of subject."""

    old: Sequence[Cost]
    new: Sequence[Cost]

    @property
    def ratio(self) -> float:
        """How many times as long 0.1 took: the median over the turns."""
        turns = zip(self.old, self.new, strict=True)
        return statistics.median(old.seconds / new.seconds for old, new in turns)


class Measured(NamedTuple):
    """A query, of typical subjects and of heavy ones."""

    query: Query
    typical: Pair
    heavy: Pair


def measure(both: Both, picture: Path | None = None) -> str:
    """Return the tables, as Markdown; draw what they say into a file."""
    about = subjects(both.new, both.filled)
    with (
        psycopg.connect(both.old, autocommit=True, cursor_factory=psycopg.ClientCursor) as old,
        psycopg.connect(both.new, autocommit=True, cursor_factory=psycopg.ClientCursor) as new,
    ):
        measured = {
            mode: [
                Measured(
                    query,
                    *(
                        _pair(old, new, query, mode, about[query.of_conversations, heavy])
                        for heavy in (False, True)
                    ),
                )
                for query in QUERIES
            ]
            for mode in PLANS
        }
    if picture:
        plot.draw([_bars(one) for one in measured["force_custom_plan"]], rows_of(both.filled), picture)
    note = (
        f"{rows_of(both.filled)}, on a server whose settings are PostgreSQL's own, but for autovacuum, which is off. "
        f"Heavy: {len(both.filled.heavy_conversations)} of the longest conversations, begun all over two years, of "
        f"6,000 messages each where there is room for it, and {len(both.filled.heavy_users)} of the busiest users, of "
        "12,000 tasks and 2,000 conversations each. Typical: conversations of 11 messages, and users with 44 tasks "
        f"and 9 conversations. Each figure is the median of {EXECUTIONS} executions, 0.1 and 0.2 in turns: the "
        "server's time by `EXPLAIN (ANALYZE, BUFFERS, TIMING OFF)`, without planning it, and the buffers that it "
        "looked at, of its own memory or the disk. `x` is how many times as long 0.1 takes, the median over the turns."
    )
    parts = ["## Reads", note]
    for mode, meaning in PLANS.items():
        parts += [f"### Each {meaning}", _table(measured[mode])]
    return "\n\n".join([*parts, _planning()])


def _planning() -> str:
    return (
        "A server plans what a driver has prepared for the parameters of each execution, the first five times on a "
        "connection, and behind a transaction pooler always: the first table. Then it keeps one plan for any "
        "parameters if that seems no dearer: the second."
    )


def _pair(
    old: psycopg.Connection, new: psycopg.Connection, query: Query, mode: str, about: Sequence[Subject]
) -> Pair:
    costs: tuple[list[Cost], list[Cost]] = ([], [])
    sides = ((old, query.old, costs[0]), (new, query.new, costs[1]))
    for connection, statement, _ in sides:
        connection.execute("DEALLOCATE ALL")
        connection.execute(f"SET plan_cache_mode = {mode}")
        connection.execute(f"PREPARE measured AS {sent(statement(about[0]))[0]}".encode())
    for turn in range(-len(about), EXECUTIONS):
        subject = about[turn % len(about)]
        # Neither comes first always.
        for connection, statement, seen in sides[:: 1 if turn % 2 else -1]:
            cost = _execute(connection, sent(statement(subject))[1])
            # Those before the first turn fill the caches.
            if turn >= 0:
                seen.append(cost)
    return Pair(*costs)


def _execute(connection: psycopg.Connection, parameters: tuple[object, ...]) -> Cost:
    places = ", ".join(["%s"] * len(parameters))
    ((answer,),) = connection.execute(f"{_EXPLAIN} ({places})".encode(), parameters).fetchall()
    (explained,) = answer if isinstance(answer, list) else json.loads(answer)
    plan = explained["Plan"]
    return Cost(explained["Execution Time"] / 1000, plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


def _table(measured: Sequence[Measured]) -> str:
    header = ("query", *(f"{kind}, {part}" for kind in ("typical", "heavy") for part in ("0.1", "0.2", "x")))
    rows = [
        (
            one.query.name,
            *(
                cell
                for pair in (one.typical, one.heavy)
                for cell in (_cell(pair.old), _cell(pair.new), tables.ratio(pair.ratio))
            ),
        )
        for one in measured
    ]
    return tables.table(header, rows)


def _cell(costs: Sequence[Cost]) -> str:
    buffers = statistics.median(cost.buffers for cost in costs)
    return f"{figures.duration(_times(costs))} / {buffers:,.0f}"


def _times(costs: Sequence[Cost]) -> float:
    return statistics.median(cost.seconds for cost in costs)


def _bars(one: Measured) -> plot.Bars:
    pairs = (one.typical, one.heavy)
    return plot.Bars(
        one.query.name, *(_times(pair.old) for pair in pairs), *(_times(pair.new) for pair in pairs)
    )
