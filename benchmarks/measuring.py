"""What one fresh process costs, and what it asks of the server."""

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tests.support.processes import clean_environment
from tests.support.proxy import Proxy
from tests.support.servers import Server

SUBJECT = Path(__file__).with_name("subject.py")


@dataclass(frozen=True)
class Program:
    """Something that a service could do at boot.

    Attributes:
        name: What the tables call it.
        source: Python that defines `boot(url)`.
        scheme: How it wants the url to begin.
        tables: Whether it has a schema of its own, and so wants a database of its own.
        prepare: Python that defines a `boot(url)` for a database that was never booted; None means `source`.
        python: The interpreter, of the environment that the program lives in.
        environment: Added to its environment variables.

    """

    name: str
    source: str
    scheme: str = "postgresql"
    tables: bool = False
    prepare: str | None = None
    python: Path = Path(sys.executable)
    environment: Mapping[str, str] = field(default_factory=dict)


class Cost(NamedTuple):
    """Seconds that one process took, without the calls that it timed itself, and the median of those calls."""

    cpu: float
    wall: float
    call_cpu: float
    call_wall: float


class Counts(NamedTuple):
    """What a boot asked of the server, and what it imported; `texts` is what it sent."""

    connections: int
    statements: int
    round_trips: int
    modules: int
    alembic: bool
    texts: tuple[str, ...]


def spelled(url: str, scheme: str) -> str:
    """Write a url without TLS as a program wants it; every driver then starts in the same way."""
    bare = url.split("?", maxsplit=1)[0].replace("postgresql", scheme, 1)
    return f"{bare}?{'ssl' if scheme.endswith('+asyncpg') else 'sslmode'}=disable"


def command(program: Program, source: str, urls: Iterable[str]) -> list[str]:
    """Return the command that boots once per url in one process."""
    return [str(program.python), "-P", str(SUBJECT), source, *(spelled(url, program.scheme) for url in urls)]


def environment(program: Program) -> dict[str, str]:
    """Return the environment of a program: no database is named there, and only ours finds this package."""
    cleaned = clean_environment(program.environment)
    if program.python != Path(sys.executable):
        del cleaned["PYTHONPATH"]
    return cleaned


def prepare(program: Program, url: str) -> None:
    """Bring an empty database to where the program's own boot finds nothing to do."""
    run(program, [url], source=program.prepare)


def run(
    program: Program, urls: Sequence[str], *, source: str | None = None
) -> tuple[Cost, dict[str, object]]:
    """Boot once per url in one fresh process; return its cost and its own report."""
    argv = command(program, program.source if source is None else source, urls)
    (cpu, wall), output = timed(argv, environment(program))
    report = json.loads(output)
    calls_cpu, calls_wall = zip(*report["calls"], strict=True) if report["calls"] else ([0.0], [0.0])
    cost = Cost(
        cpu - sum(calls_cpu),
        wall - sum(calls_wall),
        statistics.median(calls_cpu),
        statistics.median(calls_wall),
    )
    return cost, report


def timed(argv: Sequence[str], env: Mapping[str, str]) -> tuple[tuple[float, float], str]:
    """Run a command to its end; return its CPU and wall seconds, and what it printed.

    Raises:
        RuntimeError: It failed.

    """
    before, started = _children(), time.perf_counter()
    done = subprocess.run(
        argv, env=env, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    wall, cpu = time.perf_counter() - started, _children() - before
    if done.returncode:
        raise RuntimeError(f"{argv[0]} ended with {done.returncode}: {done.stderr[-2000:]}")
    return (cpu, wall), done.stdout


def count(server: Server, program: Program, database: str) -> Counts:
    """Boot once, and count what goes over the network: TCP, no TLS, no password."""
    with Proxy(server) as proxy:
        _, report = run(program, [proxy.url(database)])
        return Counts(
            proxy.connections,
            len(proxy.statements),
            proxy.round_trips,
            int(str(report["modules"])),
            bool(report["alembic"]),
            tuple(statement.sql for statement in proxy.statements),
        )


def interleaved(subjects: Iterable[str], rounds: int, once: Callable[[str], Cost]) -> dict[str, list[Cost]]:
    """Run each subject once a round, one after the other: A B C A B C."""
    costs: dict[str, list[Cost]] = {subject: [] for subject in subjects}
    for _ in range(rounds):
        for subject, measured in costs.items():
            measured.append(once(subject))
    return costs


def median(costs: Sequence[Cost], part: str) -> float:
    """Return the median of one part of the cost, in seconds."""
    return statistics.median(getattr(cost, part) for cost in costs)


def median_ratio(costs: Sequence[Cost], base: Sequence[Cost], part: str) -> float:
    """Return the median over the rounds of a cost beside the base's of the same round."""
    pairs = zip(costs, base, strict=True)
    return statistics.median(getattr(cost, part) / getattr(other, part) for cost, other in pairs)


def bare_environment() -> dict[str, str]:
    """Return the environment for a program that is not Python's."""
    return {"PATH": os.defpath}


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
