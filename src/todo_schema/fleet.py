"""`upgrade_many`: many installations in one call, each with an outcome of its own, blocking and as a coroutine."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from todo_schema.changes import DEFAULT_TIMEOUT, upgrade_database
from todo_schema.connections import blocking, in_greenlet, in_loop
from todo_schema.errors import InvalidUrlError, TodoSchemaError
from todo_schema.outcomes import FleetReport, Installation, Outcome, named, understood
from todo_schema.reports import Progress, ignore, tell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import URL

    from todo_schema.changes import Deferred
    from todo_schema.connections import Database
    from todo_schema.reports import ChangeReport, Listener
    from todo_schema.urls import DatabaseUrl

DEFAULT_CONCURRENCY = 8

# Seconds between two looks for an interrupt, where the system does not end a wait for one.
_LOOK = 0.5


def upgrade_many(
    installations: Iterable[str | URL | Installation],
    *,
    concurrency: int = DEFAULT_CONCURRENCY,
    deferred: Deferred = "run",
    timeout: float = DEFAULT_TIMEOUT,
    connect_retry: float = 0.0,
    pooler: bool | None = None,
    progress: Listener | None = None,
) -> FleetReport:
    """Upgrade many databases, or many PostgreSQL schemas, each as `upgrade` does. One that fails stops no other.

    Each is upgraded in a thread. At KeyboardInterrupt, or any other exception that a signal raises, no further one is
    begun, those under way are brought to their end, and it is raised then; a second one leaves them alone, and what
    they had under way is rolled back when the process ends. Call again for the rest: each that is current costs one
    statement.

    Args:
        installations: URLs, as text or as SQLAlchemy `URL`s, and `Installation`s. One that is given twice is upgraded
            once, and has its outcome twice.
        concurrency: How many at once. Each holds one connection while it is current or waits, two while it migrates,
            and three while a statement takes long or waits for a lock.
        deferred: As for `upgrade`, for each of them.
        timeout: As for `upgrade`, for each of them: seconds.
        connect_retry: As for `upgrade`, for each of them: seconds.
        pooler: As for `upgrade`, for all of them.
        progress: Called in the caller's own thread with a `Progress` as each comes to its end, `upgraded` or `failed`:
            how many have (`done`), and how many there are (`total`).

    Returns:
        The outcome of each, in the order given.

    Raises:
        TypeError: One URL was given instead of a list.
        ValueError: `concurrency` is no int from 1 up, or `deferred` is none of the three.

    """
    mistake = _mistake(installations, concurrency, deferred)
    members = [] if mistake else _members(installations, blocking, pooler)
    del installations  # no traceback that passes through here shows a password
    if mistake:
        raise mistake
    fleet = _Fleet(members, progress or ignore)
    work = partial(upgrade_database, deferred=deferred, timeout=timeout, connect_retry=connect_retry)
    answers: SimpleQueue[tuple[_Member, Outcome]] = SimpleQueue()

    def upgrade_some() -> None:
        for member in fleet.left():
            answers.put((member, _attempt(member, work)))

    # Daemons, so that whoever interrupts twice need not wait for them.
    threads = [Thread(target=upgrade_some, daemon=True) for _ in range(min(concurrency, fleet.total))]
    try:
        for thread in threads:
            thread.start()
        while fleet.done < fleet.total:
            _record(fleet, answers)
    except BaseException:
        fleet.stop()
        while any(thread.is_alive() for thread in threads):
            _record(fleet, answers)
        raise
    return fleet.report()


async def upgrade_many_async(
    installations: Iterable[str | URL | Installation],
    *,
    concurrency: int = DEFAULT_CONCURRENCY,
    deferred: Deferred = "run",
    timeout: float = DEFAULT_TIMEOUT,  # noqa: ASYNC109  # of each of them; asyncio.timeout works for all
    connect_retry: float = 0.0,
    pooler: bool | None = None,
    progress: Listener | None = None,
) -> FleetReport:
    """Do what `upgrade_many` does in a running event loop, each as a task.

    Cancelling it begins no further one, and rolls back what is under way, as cancelling `upgrade_async` does.
    """
    import asyncio  # noqa: PLC0415  # importing todo_schema costs nothing

    mistake = _mistake(installations, concurrency, deferred)
    members = [] if mistake else _members(installations, in_loop, pooler)
    del installations
    if mistake:
        raise mistake
    fleet = _Fleet(members, progress or ignore)
    work = partial(upgrade_database, deferred=deferred, timeout=timeout, connect_retry=connect_retry)

    async def upgrade_some() -> None:
        task = asyncio.current_task()
        for member in fleet.left():
            fleet.record(member, await in_greenlet(partial(_attempt, member, work)))
            # A driver may answer a cancellation with an error of its own.
            if task is not None and task.cancelling():
                raise asyncio.CancelledError

    async with asyncio.TaskGroup() as tasks:
        for _ in range(min(concurrency, fleet.total)):
            tasks.create_task(upgrade_some())
    return fleet.report()


class _Member(NamedTuple):
    """An installation that is ready to be upgraded. It has its password where no representation shows it.

    Attributes:
        places: Where it stands among those given.
        address: Its URL without the password.
        schema: Its PostgreSQL schema, as it was given.
        url: Its URL, understood, and how to reach it; or what is wrong with it.

    """

    places: list[int]
    address: str
    schema: str | None
    url: tuple[DatabaseUrl, Database] | InvalidUrlError


class _Fleet:
    """Who is still to be upgraded, and what became of the others."""

    def __init__(self, members: list[_Member], progress: Listener) -> None:
        self._left = deque(members)
        self._progress = progress
        self._began = time.monotonic()
        self._begun: list[_Member] = []
        self._outcomes: dict[int, Outcome] = {}
        self.total = len(members)
        self.done = 0

    def left(self) -> Iterator[_Member]:
        """Give each that nobody has begun, to whoever asks first."""
        while True:
            try:
                self._begun.append(member := self._left.popleft())
            except IndexError:  # whoever looked first would not be alone any more
                return
            yield member

    def stop(self) -> None:
        """Let no further one be begun, and tell which are under way."""
        self._left.clear()
        names = ", ".join(
            named(m.address, m.schema) for m in self._begun if m.places[0] not in self._outcomes
        )
        if names:
            tell(self._progress, Progress("waiting", "", f"interrupted: waiting for the end of {names}"))

    def record(self, member: _Member, outcome: Outcome) -> None:
        """Keep what became of one, and tell it."""
        self._outcomes |= dict.fromkeys(member.places, outcome)
        self.done += 1
        text = f"{self.done}/{self.total} {'upgraded' if outcome.ok else 'failed'} {outcome.line}"
        rate = self.done / max(time.monotonic() - self._began, 1e-6)
        event = "upgraded" if outcome.ok else "failed"
        tell(self._progress, Progress(event, "", text, self.done, self.total, "installations", rate))

    def report(self) -> FleetReport:
        """Return what became of all of them."""
        outcomes = tuple(self._outcomes[place] for place in sorted(self._outcomes))
        return FleetReport(outcomes, time.monotonic() - self._began)


def _record(fleet: _Fleet, answers: SimpleQueue[tuple[_Member, Outcome]]) -> None:
    try:
        answer = answers.get(timeout=_LOOK)
    except Empty:
        return
    fleet.record(*answer)


def _attempt(member: _Member, work: Callable[..., ChangeReport]) -> Outcome:
    """Upgrade one installation, and say what became of it."""
    if isinstance(member.url, InvalidUrlError):
        return Outcome(member.address, member.schema, None, member.url, 0.0)
    url, database = member.url
    began = time.monotonic()
    report: ChangeReport | None = None
    error: TodoSchemaError | None = None
    try:
        report = work(database, progress=ignore)
    except TodoSchemaError as caught:
        error = caught
    except BaseException as caught:
        # In a loop it is a cancellation. Of a thread nobody else would learn what it has met.
        if database.is_async and not isinstance(caught, Exception):
            raise
        error = _unexpected(caught, url)
    return Outcome(member.address, member.schema, report, error, time.monotonic() - began)


def _unexpected(error: BaseException, url: DatabaseUrl) -> TodoSchemaError:
    """Make an error of ours of one that nobody expected, without the password that it may show."""
    said = told = f"{type(error).__name__}: {error}"
    for _, secret in url.parts.secrets:
        for form in (secret.reveal(), quote(secret.reveal(), safe=""), quote(secret.reveal())):
            told = told.replace(form, "***")
    ours = TodoSchemaError(
        f"an error at {url} that todo_schema does not know: {told}",
        "an upgrade without it",
        "call upgrade for this one alone, and read its traceback",
    )
    ours.__cause__ = error if told == said else None
    return ours


def _mistake(installations: object, concurrency: object, deferred: str) -> Exception | None:
    """Return what to raise for a call that makes no sense, whatever the databases are."""
    from sqlalchemy import URL  # noqa: PLC0415  # importing todo_schema costs nothing

    # A text is iterable, and so is SQLAlchemy's object.
    if isinstance(installations, (str, URL)) or not isinstance(installations, Iterable):
        return TypeError(
            f"found: installations of type {type(installations).__name__}\n"
            "needed: a list of URLs and Installations\n"
            "cure: upgrade_many([url])"
        )
    # `True` is an int.
    if isinstance(concurrency, bool) or not isinstance(concurrency, int) or concurrency < 1:
        return ValueError(f"found: concurrency={concurrency!r}\nneeded: an int from 1 up\ncure: leave it out")
    if deferred not in ("run", "skip", "only"):
        return ValueError(f'found: deferred={deferred!r}\nneeded: "run", "skip" or "only"')
    return None


def _members(
    installations: Iterable[str | URL | Installation], take: Callable[..., Database], pooler: bool | None
) -> list[_Member]:
    """Understand each installation once, without connecting."""
    from sqlalchemy import URL  # noqa: PLC0415  # importing todo_schema costs nothing

    members: dict[object, _Member] = {}
    for place, given in enumerate(installations):
        url, schema = (given.url, given.schema) if isinstance(given, Installation) else (given, None)
        key = (url, schema) if isinstance(url, (str, URL)) else place
        if key not in members:
            parsed = understood(url, pooler)
            if isinstance(parsed, InvalidUrlError):
                members[key] = _Member([], f"URL {place + 1}", schema, parsed)
            else:
                database = take(url, schema=schema, pooler=pooler)
                members[key] = _Member([], str(parsed), schema, (parsed, database))
        members[key].places.append(place)
    return list(members.values())
