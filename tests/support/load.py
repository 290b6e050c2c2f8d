"""A service at work on a database, in processes of its own: for how long it is kept waiting, and what fails."""

import json
import os
import signal
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tests.support.processes import CHECKOUT, SOURCE, clean_environment

SERVICE = "load"
# Seconds between the operations of a session: short beside a stall, and the processors are not busy with us alone.
PAUSE = 0.005
READY = "ready"


class Operation(NamedTuple):
    """What one session did once.

    `at` is when it began, by `time.monotonic`, which all processes share; `ended` is false where it still waited as
    the load stopped.
    """

    at: float
    milliseconds: float
    kind: Literal["read", "write"]
    name: str
    session: int
    ended: bool
    error: str | None


class Result(NamedTuple):
    """What the sessions saw: times in milliseconds, each error, and the slowest operations in the order of time."""

    reads: int
    writes: int
    median_read_ms: float
    median_write_ms: float
    longest_read_ms: float
    longest_write_ms: float
    errors: list[str]
    slowest: list[Operation]

    def __str__(self) -> str:
        return (
            f"{self.reads} reads (median {self.median_read_ms:.1f} ms, longest {self.longest_read_ms:.0f} ms), "
            f"{self.writes} writes (median {self.median_write_ms:.1f} ms, longest {self.longest_write_ms:.0f} ms), "
            f"{len(self.errors)} errors"
        )


class Load:
    """The near end of a load; `result` is there when its block has been left."""

    result: Result


@contextmanager
def load(url: str, sessions: int = 4, *, pause: float = PAUSE, package: Path | None = None) -> Iterator[Load]:
    """Let sessions read and write for the block, on a database that `big_table.fill` has filled.

    An operation that still waits when the block is left counts with the time that it has waited.

    Args:
        url: The database.
        sessions: How many, two or more; every other one only reads.
        pause: Seconds that a session rests after each operation.
        package: The folder of the package that they use, this checkout's where it is None.

    Raises:
        RuntimeError: A session failed before the block began.

    """
    path = os.pathsep.join([str(package or SOURCE), str(CHECKOUT)])
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.chatting", url, str(sessions), str(pause)],
        env=clean_environment({"PYTHONPATH": path}),
        cwd=CHECKOUT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # A group of its own, so that whatever it forked can be killed with it.
        start_new_session=True,
    )
    assert process.stdin
    assert process.stdout
    try:
        running = Load()
        ready = process.stdout.readline().strip() == READY
        if ready:
            yield running
        process.stdin.close()
        said = process.stdout.readline()
        if not (ready and said):
            raise RuntimeError(f"the load {'ended' if ready else 'did not begin'}: {said}")
        running.result = _result(json.loads(said))
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        with process:
            pass


def _result(outcomes: list[dict[str, Any]]) -> Result:
    lost = [f"a session was lost: {outcome['error']}" for outcome in outcomes if not outcome["ok"]]
    seen = [outcome["result"] for outcome in outcomes if outcome["ok"]]
    reads, writes = (
        [duration for session in seen if session["kind"] == kind for duration in session["milliseconds"]]
        for kind in ("read", "write")
    )
    return Result(
        len(reads),
        len(writes),
        statistics.median(reads or [0.0]),
        statistics.median(writes or [0.0]),
        max(reads, default=0.0),
        max(writes, default=0.0),
        [*lost, *(error for session in seen for error in session["errors"])],
        sorted(Operation(*slow) for session in seen for slow in session["slowest"]),
    )
