"""From an empty database to the head, beside psql running the same DDL as one script."""

import tempfile
from pathlib import Path

from tests.support.clusters import Cluster, cluster
from tests.support.proxy import Proxy

import todo_schema
from benchmarks import programs, tables
from benchmarks.measuring import (
    Cost,
    Counts,
    bare_environment,
    count,
    interleaved,
    median,
    median_ratio,
    run,
    spelled,
    timed,
)
from todo_schema import embedded

ROUNDS = 11
PSQL = "psql, the script of `todo_schema.sql()`"


def measure(rounds: int = ROUNDS) -> str:
    """Return the table, as Markdown."""
    with tempfile.TemporaryDirectory() as temporary, cluster(embedded.binaries()) as server:
        folder = Path(temporary)
        script = folder / "upgrade.sql"
        script.write_text(todo_schema.sql())
        compared = {
            program.name: program
            for program in (programs.UPGRADE, programs.UPGRADE_ASYNC, *programs.alembic_programs(folder))
        }
        counts = {PSQL: _count_psql(server, script)} | {
            name: count(server, program, server.create_database()) for name, program in compared.items()
        }

        def once(name: str) -> Cost:
            # The second of the databases meets a process that has all its imports behind it.
            fresh = [server.create_database() for _ in range(2)]
            try:
                if name != PSQL:
                    return run(compared[name], fresh)[0]
                cpu, wall = _psql(server.url(fresh[0]), script)
                return Cost(cpu, wall, cpu, wall)
            finally:
                for database in fresh:
                    server.drop_database(database)

        costs = interleaved(counts, rounds, once)
    base = costs[PSQL]
    rows = [
        (
            name,
            *counts[name][:3],
            *(
                tables.ratio(median_ratio(costs[name], base, part))
                for part in ("call_wall", "call_cpu", "wall", "cpu")
            ),
            tables.milliseconds(median(costs[name], "call_wall")),
            tables.milliseconds(median(costs[name], "call_cpu")),
        )
        for name in counts
    ]
    header = (
        "from empty to the head",
        "connections",
        "statements",
        "round trips",
        "wall, call (psql = 1)",
        "CPU, call (psql = 1)",
        "wall, process (psql = 1)",
        "CPU, process (psql = 1)",
        "call wall, ms",
        "call CPU, ms",
    )
    note = (
        f"Medians of {rounds} interleaved rounds, each on a database of its own. A call has its imports behind "
        "it; psql has no imports, so that its call is its process. CPU is the client's. The script makes the two "
        "bookkeeping tables, with their 13 comments, in one statement; Alembic's table is smaller."
    )
    return "\n\n".join(["## From an empty database to the head", tables.table(header, rows), note])


def _psql(url: str, script: Path) -> tuple[float, float]:
    program = embedded.binaries() / "psql"
    argv = [str(program), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", str(script), spelled(url, "postgresql")]
    return timed(argv, bare_environment())[0]


def _count_psql(server: Cluster, script: Path) -> Counts:
    with Proxy(server) as proxy:
        _psql(proxy.url(server.create_database()), script)
        return Counts(proxy.connections, len(proxy.statements), proxy.round_trips, 0, alembic=False, texts=())


if __name__ == "__main__":
    print(measure(tables.rounds(ROUNDS)))
