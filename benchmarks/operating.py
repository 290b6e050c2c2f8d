"""What an operation of a package costs: for its caller by the clock, and for the server by what the server counts."""

import json
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from psycopg.conninfo import conninfo_to_dict
from tests.support.processes import clean_environment
from tests.support.proxy import Proxy
from tests.support.servers import Server, database_name, execute

from benchmarks.measuring import spelled

FAR_END = Path(__file__).with_name("far_end.py")

# On a connection that has prepared its statements, and whose plans do not change any more.
_WARM = 20
_COUNTED = 5

_RESET = "SELECT pg_stat_statements_reset(0, oid, 0) FROM pg_database WHERE datname = %s"
_COUNTS = """
SELECT coalesce(sum(calls) FILTER (WHERE query !~* '^(begin|commit|rollback|savepoint|release)'), 0),
    coalesce(sum(total_exec_time) / 1000, 0), coalesce(sum(shared_blks_hit + shared_blks_read), 0)
FROM pg_stat_statements JOIN pg_database ON pg_database.oid = dbid JOIN pg_roles ON pg_roles.oid = userid
WHERE datname = %s AND rolname = %s
"""


class Package(NamedTuple):
    """A package at work.

    Attributes:
        name: What the tables call it.
        source: What `far_end` runs.
        url: The database, and the role.
        scheme: How the package wants the url to begin.
        python: The interpreter, of the environment that the package lives in.
        pythonpath: The folder of the package, where it is not installed there.

    """

    name: str
    source: str
    url: str
    scheme: str = "postgresql"
    python: Path = Path(sys.executable)
    pythonpath: Path | None = None


class Cost(NamedTuple):
    """What operations of a kind took: the seconds of each, and on the average of the server; `results` of each."""

    seconds: Sequence[float]
    server_seconds: float
    statements: float
    buffers: float
    wal: float
    results: Sequence[Any]

    @property
    def median(self) -> float:
        """The median of what its caller waited."""
        return statistics.median(self.seconds)


class Worker:
    """The near end of a `far_end`."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        """Take the process, and the file that it writes its errors to."""
        self._process = process
        self._log = log
        # An operation gets no number twice.
        self._next = Counter[str]()

    def do(self, name: str, times: int) -> tuple[list[float], list[Any]]:
        """Do an operation so many times; return the seconds and the result of each.

        Raises:
            RuntimeError: It failed.

        """
        assert self._process.stdin
        assert self._process.stdout
        try:
            print(json.dumps([name, self._next[name], times]), file=self._process.stdin, flush=True)
            said = self._process.stdout.readline()
        except BrokenPipeError:
            said = ""
        self._next[name] += times
        if not said:
            raise RuntimeError(f"{name} failed: {self._log.read_text(errors='replace')[-2000:]}")
        seconds, results = json.loads(said)
        return seconds, results


AtWork = Sequence[tuple[Package, Worker]]


@contextmanager
def worker(package: Package, url: str | None = None) -> Iterator[Worker]:
    """Run a package in a process of its own for the block; `url` is where, if not at its own."""
    environment = clean_environment(pythonpath=package.pythonpath)
    if package.pythonpath is None:
        del environment["PYTHONPATH"]
    at = spelled(url, package.scheme) if url else package.url.replace("postgresql", package.scheme, 1)
    # A peer may write where it is started, as Chainlit does.
    with tempfile.TemporaryDirectory(prefix="far-end-") as folder, Path(folder, "log").open("w") as log:
        process = subprocess.Popen(
            [package.python, "-P", FAR_END, package.source, at],
            env=environment,
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        # Closing its standard input ends it.
        with process:
            yield Worker(process, Path(log.name))


def cost(server: Server, package: Package, its: Worker, name: str, times: int) -> Cost:
    """Do an operation so many times; return what each took."""
    database = database_name(package.url)
    role = str(conninfo_to_dict(package.url)["user"])
    admin = server.url()
    execute(admin, _RESET, (database,))
    start = execute(admin, "SELECT pg_current_wal_insert_lsn()")[0][0]
    seconds, results = its.do(name, times)
    ((wal,),) = execute(admin, "SELECT pg_current_wal_insert_lsn() - %s", (start,))
    ((statements, server_seconds, buffers),) = execute(admin, _COUNTS, (database, role))
    on_average = (float(value) / times for value in (server_seconds, statements, buffers, wal))
    return Cost(seconds, *on_average, results)


def round_trips(server: Server, package: Package, names: Sequence[str]) -> dict[str, float]:
    """Return how often an operation of each kind waits for the server, on a warm connection."""
    role = str(conninfo_to_dict(package.url)["user"])
    with Proxy(server) as proxy, worker(package, proxy.url(package.url, role)) as its:
        counted = {}
        for name in names:
            its.do(name, _WARM)
            before = proxy.round_trips
            its.do(name, _COUNTED)
            counted[name] = (proxy.round_trips - before) / _COUNTED
        return counted


@contextmanager
def at_work(packages: Sequence[Package]) -> Iterator[AtWork]:
    """Run each package in a process of its own for the block."""
    with ExitStack() as stack:
        yield [(package, stack.enter_context(worker(package))) for package in packages]


def in_turns(
    server: Server, working: AtWork, name: str, times: int | Mapping[str, int], rounds: int
) -> dict[str, Cost]:
    """Do an operation by each package in turns, so many times in each round; return what all rounds took."""
    counts = {
        package.name: times if isinstance(times, int) else times[package.name] for package, _ in working
    }
    costs: dict[str, list[Cost]] = {package.name: [] for package, _ in working}
    for package, its in working:
        its.do(name, min(_WARM, counts[package.name]))
    for _ in range(rounds):
        for package, its in working:
            costs[package.name].append(cost(server, package, its, name, counts[package.name]))
    return {package: _together(parts) for package, parts in costs.items()}


def _together(parts: Sequence[Cost]) -> Cost:
    # What the machine did besides lengthens one round or another.
    server_seconds = statistics.median(part.server_seconds for part in parts)
    fields = ("statements", "buffers", "wal")
    means = (statistics.fmean(getattr(part, field) for part in parts) for field in fields)
    seconds, results = (
        [one for part in parts for one in getattr(part, field)] for field in ("seconds", "results")
    )
    return Cost(seconds, server_seconds, *means, results)
