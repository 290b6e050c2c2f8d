"""Replicas of a service, which serve in processes of their own; see replica.py, the program."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any

from tests.support.nest import Hatched, hatch
from tests.support.waiting import wait_for


class Replica:
    """One of them, which serves as soon as it is made.

    Attributes:
        service: Its name.
        booted: What `upgrade` said as it booted.

    """

    def __init__(self, service: str, process: Hatched, log: IO[str]) -> None:
        """Take its process, and wait until it serves."""
        self.service = service
        self._process = process
        self._questions = process.stdin
        self._answers = process.stdout
        self._log = log
        self.booted = str(self._hear()["booted"])

    @property
    def log(self) -> list[str]:
        """What it has logged."""
        self._log.seek(0)
        return self._log.read().splitlines()

    def report(self) -> dict[str, Any]:
        """How many requests it began, their errors, and whose rows it read and changed how often."""
        self._questions.write("report\n")
        self._questions.flush()
        return self._hear()

    def stop(self) -> dict[str, Any]:
        """Let it finish its requests and leave; return its last report."""
        self._questions.close()
        report = self._hear()
        assert self._process.wait(timeout=30) == 0, self.log
        return report

    def kill(self) -> None:
        """End it with SIGKILL."""
        self._process.kill()

    def _hear(self) -> dict[str, Any]:
        line = self._answers.readline()
        assert line, "\n".join(self.log)
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def replica(package: Path, url: str, service: str, column: str = "") -> Iterator[Replica]:
    """A replica with the package in a folder; `column` is one of `tasks` that it writes too."""
    with (
        tempfile.TemporaryFile("w+") as log,
        closing(
            hatch("tests.support.replica", url, service, column, pythonpath=package, stderr=log)
        ) as process,
    ):
        yield Replica(service, process, log)


def assert_together(*replicas: Replica) -> None:
    """Assert that each comes to read and change rows of every one, and that no request fails."""
    services = {replica.service for replica in replicas}
    for replica in replicas:
        wait_for(lambda replica=replica: services <= set(replica.report()["touched"]), seconds=60)
        assert replica.report()["errors"] == []


def assert_goes_on(replica: Replica) -> None:
    """Assert that it has twenty more requests, and that none has ever failed."""
    before = replica.report()["requests"]
    wait_for(lambda: replica.report()["requests"] >= before + 20, seconds=60)
    assert replica.report()["errors"] == []


def assert_left_in_peace(replica: Replica) -> None:
    """Assert that it leaves when it is told to, and that no request had failed."""
    assert replica.stop()["errors"] == []
