"""Processes that have imported everything before they begin: forked from one that is started once."""

import json
import os
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.support.nest import Hatched, hatch

# What boots where nothing else is asked for.
UPGRADE = """
from todo_schema import revisions, upgrade
revisions.in_order()
def boot(url):
    return upgrade(url).as_dict()
"""
UPGRADE_ASYNC = """
from todo_schema import revisions, upgrade_async
revisions.in_order()
async def boot(url):
    return (await upgrade_async(url)).as_dict()
"""

ADOPT = """
from todo_schema import adopt
def boot(url):
    return adopt(url, apply=True).as_dict()
"""
ADOPT_ASYNC = """
from todo_schema import adopt_async
async def boot(url):
    return (await adopt_async(url, apply=True)).as_dict()
"""


class Forker:
    """A process that forks others, as often as it is asked; see `forker`."""

    def __init__(self, process: Hatched) -> None:
        """Take the process, which is ready."""
        self._process = process
        self._owes_outcomes = False

    def start(self, url: str, n: int = 1) -> list[int]:
        """Start n processes that call boot(url); return their ids. `outcomes` waits for them."""
        if self._owes_outcomes:
            # A test that failed did not ask for them: the next one is not to take them for its own.
            self.outcomes()
        self._process.stdin.write(json.dumps({"n": n, "url": url}) + "\n")
        self._process.stdin.flush()
        pids: list[int] = self._answer()
        self._owes_outcomes = True
        return pids

    def outcomes(self) -> list[dict[str, Any]]:
        """Wait for all that were started, and return what became of each, as `fork_race` does."""
        outcomes: list[dict[str, Any]] = self._answer()
        self._owes_outcomes = False
        return outcomes

    def race(self, n: int, url: str) -> list[dict[str, Any]]:
        """Start n processes and wait for them."""
        self.start(url, n)
        return self.outcomes()

    def _answer(self) -> Any:
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the forker ended with {self._process.wait()}")
        return json.loads(line)


@contextmanager
def forker(snippet: str = UPGRADE, *, pythonpath: Path | None = None) -> Iterator[Forker]:
    """Give a forker whose processes run `boot` of `snippet` with the package in `pythonpath`."""
    # What it has forked is killed with it.
    with closing(hatch("tests.support.forker", snippet, pythonpath=pythonpath)) as process:
        yield Forker(process)


def kill(pid: int) -> None:
    """Kill a process with SIGKILL and wait for its end: its connections are closed by then."""
    with suppress(ProcessLookupError):
        end = os.pidfd_open(pid)
        try:
            os.kill(pid, signal.SIGKILL)
            select.select([end], [], [])
        finally:
            os.close(end)


def main(snippet: str) -> None:
    """Fork processes for each line that asks for them."""
    from tests.support import forking

    forking.import_everything()
    namespace: dict[str, Any] = {}
    exec(compile(snippet, "<snippet>", "exec"), namespace)
    for line in sys.stdin:
        asked = json.loads(line)
        racers = [forking.fork(namespace["boot"], asked["url"]) for _ in range(asked["n"])]
        print(json.dumps([pid for pid, _ in racers]), flush=True)
        print(json.dumps([forking.outcome(*racer) for racer in racers]), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
