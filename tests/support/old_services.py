"""Services of any release at full speed, each a process, and whether every row is there that they were told is.

See busy_service.py, the program.
"""

import json
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cached_property
from pathlib import Path
from typing import IO, Any, NamedTuple

from tests.support.nest import Hatched, hatch
from tests.support.servers import execute
from tests.support.waiting import wait_for

# The release whose services are at work when this schema comes.
OLD = "0.1.0"

# Into how many parts the rows that were there are divided: a service has one, by its number, to itself.
SLICES = 10
# Seconds. Long enough for any machine.
PATIENCE = 60

# What only a service writes begins with its name and a number.
OURS = r"^(old|new)-\d+/"
# Of rows that were there all that no service changes.
_THERE = {
    "users": f"SELECT id, email, created_at, updated_at FROM users WHERE email !~ '{OURS}'",
    "conversations": "SELECT c.id, c.user_id, c.created_at FROM conversations c JOIN users u ON u.id = c.user_id"
    f" WHERE u.email !~ '{OURS}'",
    "messages": "SELECT id, conversation_id, user_id, role, content, created_at FROM messages"
    f" WHERE content !~ '{OURS}'",
    "tasks": f"SELECT id, user_id, title, description, created_at FROM tasks WHERE title !~ '{OURS}'",
}


class Timing(NamedTuple):
    """An operation: when it began by `time.monotonic`, which all processes share, what it took, and its name."""

    at: float
    milliseconds: float
    name: str


class Journal(NamedTuple):
    """The rows that have to be there, by their keys as text: what the service was told is committed.

    Attributes:
        users: Their addresses.
        talks: The owners of conversations.
        messages: The conversation, role and content of each.
        tasks: The owner and title of each, and whether it is completed.
        toggled: Whether those are completed that were there before the service and that it has toggled.

    """

    users: dict[str, str]
    talks: dict[str, str]
    messages: dict[str, list[str]]
    tasks: dict[str, list[Any]]
    toggled: dict[str, bool]

    def forget_talk(self, talk: str) -> None:
        """Remove a conversation, and what goes with it."""
        del self.talks[talk]
        for message in [message for message, (of, *_) in self.messages.items() if of == talk]:
            del self.messages[message]

    def forget_user(self, user: str) -> None:
        """Remove a user, and what goes with them."""
        del self.users[user]
        for talk in [talk for talk, owner in self.talks.items() if owner == user]:
            self.forget_talk(talk)
        for task in [task for task, (of, *_) in self.tasks.items() if of == user]:
            del self.tasks[task]


class Outcome(NamedTuple):
    """What came of a service."""

    name: str
    journal: Journal
    timings: list[Timing]
    errors: list[str]
    rounds: int


class Boot(NamedTuple):
    """The version of a service's package, what `upgrade` said, and the class of the error that it was refused with."""

    version: str
    said: str
    refused: str | None


class Busy:
    """A service at work.

    Attributes:
        name: Its name, by which `clients` calls it.

    """

    def __init__(self, name: str, process: Hatched, log: IO[str]) -> None:
        """Take its process, which boots meanwhile."""
        self.name = name
        self._process = process
        self._questions = process.stdin
        self._answers = process.stdout
        self._log = log

    @cached_property
    def boot(self) -> Boot:
        """What came of its boot, once it has come."""
        return Boot(**self._hear())

    def rounds(self) -> int:
        """How many rounds of its work it has begun, none of which has failed."""
        assert self.boot.refused is None, self.boot
        self._questions.write("how far?\n")
        self._questions.flush()
        said = self._hear()
        assert said["errors"] == [], said["errors"][:5]
        return int(said["rounds"])

    def stop(self) -> Outcome:
        """Let it finish its round and leave."""
        self._questions.close()
        said = self._hear()
        assert self._process.wait(timeout=PATIENCE) == 0
        timings = [Timing(*timing) for timing in said["timings"]]
        return Outcome(self.name, Journal(*said["journal"]), timings, said["errors"], said["rounds"])

    def _hear(self) -> dict[str, Any]:
        line = self._answers.readline()
        if not line:
            self._log.seek(0)
            raise RuntimeError(f"{self.name} has ended: {self._log.read()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def busy(
    package: Path | None,
    url: str,
    name: str,
    number: int,
    pause: float = 0.0,
    *more: str,
    program: str = "tests.support.busy_service",
) -> Iterator[Busy]:
    """Run a service with the package in a folder.

    Args:
        package: The folder; None where it uses this checkout's, or none at all.
        url: The database.
        name: A name that no other service has had in this database: `old-` or `new-` and a number.
        number: A number below `SLICES` that no other service has at the same time.
        pause: Seconds that it rests after each operation, for what else there is to do.
        more: More arguments of the program.
        program: The program.

    """
    with (
        tempfile.TemporaryFile("w+") as log,
        closing(
            hatch(
                program,
                *(url, name, str(number), str(pause), *more),
                pythonpath=package,
                stderr=log,
            )
        ) as process,
    ):
        yield Busy(name, process, log)


def go_on(*services: Busy, rounds: int = 6) -> None:
    """Wait until each has done so many rounds more, none of which failed."""
    for service in services:
        enough = service.rounds() + rounds
        wait_for(lambda service=service, enough=enough: service.rounds() >= enough, seconds=PATIENCE)


def stop(*services: Busy) -> list[Outcome]:
    """Stop them one after the other."""
    return [service.stop() for service in services]


def rows_there(url: str) -> dict[str, tuple[Any, ...]]:
    """Of each table the rows that no service has written: how many, and a number that depends on all of them."""
    query = "SELECT count(*), sum(hashtextextended(rows::text, 0)) FROM ({}) AS rows"
    return {table: execute(url, query.format(there))[0] for table, there in _THERE.items()}


def assert_kept(url: str, outcomes: list[Outcome]) -> None:
    """Assert that no operation failed, and that the rows of each service are what it was told, each once."""
    for name, journal, _, errors, rounds in outcomes:
        assert errors == [], errors[:5]
        assert rounds > 0

        def ours(query: str, name: str = name) -> list[tuple[Any, ...]]:
            return [(str(key), *rest) for key, *rest in execute(url, query, (f"{name}/%",))]

        assert sorted(ours("SELECT id, email FROM users WHERE email LIKE %s")) == sorted(
            journal.users.items()
        )
        talks = "SELECT c.id, u.id::text FROM conversations c JOIN users u ON u.id = c.user_id WHERE u.email LIKE %s"
        assert sorted(ours(talks)) == sorted(journal.talks.items())
        messages = "SELECT id, conversation_id::text, role, content FROM messages WHERE content LIKE %s"
        assert sorted(ours(messages)) == sorted((key, *rest) for key, rest in journal.messages.items())
        tasks = "SELECT id, user_id::text, title, completed FROM tasks WHERE title LIKE %s"
        assert sorted(ours(tasks)) == sorted((key, *rest) for key, rest in journal.tasks.items())
        toggled = execute(
            url,
            "SELECT id::text, completed FROM tasks WHERE id = ANY(%s)",
            ([int(k) for k in journal.toggled],),
        )
        assert dict(toggled) == journal.toggled


def longest(outcomes: list[Outcome], since: float = 0.0, until: float = float("inf")) -> Timing:
    """Return the operation that took longest of those that were under way between two moments."""
    timings = [timing for outcome in outcomes for timing in outcome.timings]
    during = [one for one in timings if one.at < until and one.at + one.milliseconds / 1000 > since]
    return max(during, key=lambda one: one.milliseconds, default=Timing(since, 0.0, "none"))
