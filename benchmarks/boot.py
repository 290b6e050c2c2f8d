"""The boot of a replica whose database is up to date: what it asks, imports and costs."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.support.clusters import cluster

from benchmarks import peers, programs, tables
from benchmarks.measuring import Cost, Counts, Program, count, interleaved, median, median_ratio, prepare, run
from todo_schema import embedded

ROUNDS = 11
# Of each process: a single call takes a few milliseconds.
WARM_CALLS = 10

_OURS = (programs.UPGRADE.name, programs.UPGRADE_ASYNC.name, programs.SERVICE.name)
_TARGET = "one statement on one connection, at most 2.5 round trips, no Alembic"


def measure(rounds: int = ROUNDS) -> str:
    """Return the table, as Markdown."""
    skipped: list[str] = []
    with tempfile.TemporaryDirectory() as folder, cluster(embedded.binaries()) as server:
        compared: dict[str, tuple[Program, str, Counts]] = {}
        ours = server.create_database()
        prepare(programs.UPGRADE, ours)
        for program in _programs(Path(folder), skipped):
            try:
                database = ours
                if program.tables:
                    database = server.create_database()
                    prepare(program, database)
                compared[program.name] = (program, database, count(server, program, database))
            except RuntimeError as error:
                # A peer of tomorrow may not start; what is ours must.
                if program.python == programs.UPGRADE.python:
                    raise
                skipped.append(f"{program.name}: {str(error).splitlines()[-1]}")

        def once(name: str) -> Cost:
            program, database, _ = compared[name]
            return run(program, [server.url(database)] * (1 + WARM_CALLS))[0]

        costs = interleaved(compared, rounds, once)
    rows = [_row(name, counts, costs) for name, (_, _, counts) in compared.items()]
    header = (
        "up-to-date boot",
        "connections",
        "statements",
        "round trips",
        "modules imported",
        "Alembic imported",
        "CPU, process (`upgrade` = 1)",
        "CPU, call (`upgrade` = 1)",
        "process, ms",
        "call, ms",
    )
    sent = "\n".join(compared[programs.UPGRADE.name][2].texts)
    note = (
        f"CPU is user and system time of the client, the median of {rounds} interleaved rounds. What goes in one "
        f"message counts as one statement. `upgrade` sends:\n\n```sql\n{sent}\n```"
    )
    verdict = f"The target for `todo_schema`, {_TARGET}, is "
    verdict += "met." if all(_meets_target(compared[name][2]) for name in _OURS) else "MISSED."
    missing = [f"Skipped: {reason}" for reason in skipped]
    return "\n\n".join(["## An up-to-date boot", tables.table(header, rows), note, verdict, *missing])


def _meets_target(counts: Counts) -> bool:
    one_each = counts.connections == counts.statements == 1 and ";" not in counts.texts[0]
    return one_each and counts.round_trips <= 2.5 and not counts.alembic


def _row(name: str, counts: Counts, costs: dict[str, list[Cost]]) -> list[object]:
    base = costs[programs.UPGRADE.name]
    # What connects to nobody has no call to speak of.
    parts = ("cpu", "call_cpu") if counts.connections else ("cpu",)
    blank = [""] * (2 - len(parts))
    return [
        name,
        counts.connections,
        counts.statements,
        counts.round_trips,
        counts.modules,
        "yes" if counts.alembic else "no",
        *(tables.ratio(median_ratio(costs[name], base, part)) for part in parts),
        *blank,
        *(tables.milliseconds(median(costs[name], part)) for part in parts),
        *blank,
    ]


def _programs(folder: Path, skipped: list[str]) -> Iterator[Program]:
    yield programs.UPGRADE
    yield programs.UPGRADE_ASYNC
    yield programs.PSYCOPG
    yield programs.ASYNCPG
    yield programs.ENGINE
    yield programs.ASYNC_ENGINE
    yield from programs.alembic_programs(folder)
    for peer in (peers.PROCRASTINATE, peers.OPTUNA, peers.MLFLOW, peers.PREFECT):
        try:
            yield peers.program(peer)
        except peers.NotInstalledError as reason:
            skipped.append(str(reason))
    yield programs.MODELS
    yield programs.SERVICE
    yield programs.NOTHING


if __name__ == "__main__":
    print(measure(tables.rounds(ROUNDS)))
