"""First boots released together on an empty database: how many of them are lost."""

import json
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tests.support.clusters import Cluster, cluster
from tests.support.proxy import Proxy

from benchmarks import peers, programs, tables
from benchmarks.measuring import Program, command, environment
from todo_schema import embedded

ROUNDS = 3
PROCESSES = 20
_SECONDS = 180


def measure(rounds: int = ROUNDS) -> str:
    """Return the table, as Markdown."""
    skipped: list[str] = []
    rows = []
    with tempfile.TemporaryDirectory() as folder, cluster(embedded.binaries()) as server:
        for program in _programs(Path(folder), skipped):
            outcomes: Counter[str] = Counter()
            for _ in range(rounds):
                outcomes += _race(server, program)
            lost = Counter({name: number for name, number in outcomes.items() if name})
            why = ", ".join(f"{name} {number}" for name, number in lost.most_common())
            rows.append((program.name, outcomes.total(), lost.total(), why))
    header = (f"{PROCESSES} first boots released together, {rounds} times", "boots", "lost", "of what")
    note = (
        f"A proxy holds every first connection back until {PROCESSES} have come, and lets all go at once. "
        "Lost is a process that ended with an error."
    )
    missing = [f"Skipped: {reason}" for reason in skipped]
    return "\n\n".join(["## First boots at once", tables.table(header, rows), note, *missing])


def _programs(folder: Path, skipped: list[str]) -> Iterator[Program]:
    yield programs.UPGRADE
    yield programs.UPGRADE_ASYNC
    yield from programs.alembic_programs(folder)
    try:
        apply = replace(peers.program(peers.PROCRASTINATE), source=peers.PROCRASTINATE_APPLY)
        yield replace(apply, name=f"{apply.name.partition(':')[0]}: `schema --apply`")
    except peers.NotInstalledError as reason:
        skipped.append(str(reason))
    try:
        yield peers.program(peers.OPTUNA)
    except peers.NotInstalledError as reason:
        skipped.append(str(reason))


def _race(server: Cluster, program: Program) -> Counter[str]:
    """Return how many boots ended how; those that did not fail have no name."""
    database = server.create_database()
    with Proxy(server, barrier=PROCESSES) as proxy:
        argv = command(program, program.source, [proxy.url(database)])
        racers = [
            subprocess.Popen(
                argv,
                env=environment(program),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            for _ in range(PROCESSES)
        ]
        outcomes = Counter(_outcome(racer) for racer in racers)
    server.drop_database(database)
    return outcomes


def _outcome(racer: "subprocess.Popen[str]") -> str:
    with racer:
        try:
            output, _ = racer.communicate(timeout=_SECONDS)
        except subprocess.TimeoutExpired:
            racer.kill()
            return f"no end after {_SECONDS} s"
    if not output:
        return f"ended with {racer.returncode}"
    return str(json.loads(output)["error"] or "")


if __name__ == "__main__":
    print(measure(tables.rounds(ROUNDS)))
