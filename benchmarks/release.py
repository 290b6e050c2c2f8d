"""From 0.1.0 to this schema while its wheel is at work: how long each revision takes, and the longest stall."""

import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.support import releases
from tests.support.old_services import (
    Busy,
    Outcome,
    Timing,
    assert_kept,
    busy,
    go_on,
    longest,
    rows_there,
    stop,
)
from tests.support.processes import SOURCE
from tests.support.servers import Server, execute
from tests.support.states import with_package

from benchmarks import tables
from benchmarks.dataset import fill
from todo_schema import Progress, contract, downgrade, embedded, history, upgrade

OLD = "0.1.0"
SERVICES = 3
# Seconds that a session rests after each operation: else the longest wait is for a processor, not for a lock.
PAUSE = 0.005
# Seconds of the load alone, in front of the change and behind it.
_ALONE = 5.0

# What a revision states, beyond what a client waits for under the load alone.
_BOUND = re.compile(r"more\s+than\s+(\d+)\s+ms in a\s+first\s+try")


class Window(NamedTuple):
    """When a revision was at work, by `time.monotonic`, and how often it let others by."""

    since: float
    until: float
    retries: int


class Watch:
    """Listens to an upgrade: the windows of its revisions."""

    def __init__(self) -> None:
        self.windows: dict[str, Window] = {}
        self._began: dict[str, float] = {}
        self._retries: Counter[str] = Counter()

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if progress.event == "applying":
            self._began.setdefault(progress.revision, now)
        self._retries[progress.revision] += progress.event == "retrying"
        if progress.event == "applied":
            revision = progress.revision
            self.windows[revision] = Window(self._began[revision], now, self._retries[revision])


class Run(NamedTuple):
    """A change under load: the windows of its revisions and of the load alone, and what came of the services."""

    windows: dict[str, Window]
    alone: tuple[float, float]
    outcomes: list[Outcome]


def measure(scale: float, pause: float = PAUSE) -> str:
    """Return the tables, as Markdown."""
    with tempfile.TemporaryDirectory() as folder, embedded.postgres() as server_url:
        (release,) = [release for release in releases.releases() if release.version == OLD]
        old = releases.install(release.wheel, Path(folder, "old"))
        url = Server(server_url).create_database()
        with_package(old, "t.upgrade(url)", url)
        filled = fill(url, scale)
        there = rows_there(url)
        execute(url, "CHECKPOINT")
        up = _under_load(url, old, "old", 0, pause, lambda watch: upgrade(url, progress=watch))
        step = _under_load(url, SOURCE, "new", 3, pause, lambda watch: contract(url, progress=watch))
        downgrade(url, to="c000")
        down = _under_load(url, old, "old", 6, pause, lambda watch: downgrade(url, to=1, progress=watch))
        assert_kept(url, [*up.outcomes, *step.outcomes, *down.outcomes])
        assert rows_there(url) == there
    header = (
        *("revision", "up, s", "retries", "longest stall, ms", "of which operation"),
        *("it states: alone and, ms", "kept"),
        *("down, s", "longest stall, down, ms"),
    )
    rows = [
        ("none: the load alone", "", "", *_worst(up, *up.alone), "", "", "", _worst(down, *down.alone)[0])
    ]
    for revision, summary in _described(up.windows | step.windows):
        run = step if revision in step.windows else up
        window = run.windows[revision]
        back = down.windows.get(revision)
        rows.append(
            (
                f"`{revision}` {summary}",
                f"{window.until - window.since:.2f}",
                window.retries,
                *_worst(run, window.since, window.until),
                *_stated(revision, run, window),
                f"{back.until - back.since:.2f}" if back else "",
                _worst(down, back.since, back.until)[0] if back else "",
            )
        )
    done = sum(len(outcome.timings) for outcome in up.outcomes)
    note = (
        f"{filled.messages:,} messages, {filled.tasks:,} tasks, {filled.conversations:,} conversations, "
        f"{filled.users:,} users. Meanwhile {SERVICES} services of {OLD}'s wheel, each a process that rests for "
        f"{pause * 1000:g} ms after each operation, write, read and delete, on connections that stay open and on new "
        f"ones; before the way up, during it and after it they did {done:,} operations, none of which failed, and "
        "every row that they were told is written was there in the end, once. A stall is the longest time that one "
        "operation took, of those that were under way at some time of the revision; some are of several statements. "
        f"During `c001` the services are of this package: those of {OLD} would have it refused."
    )
    return "\n\n".join(["## From 0.1.0 to 0.2.0", tables.table(header, rows), note])


def _under_load(
    url: str, package: Path, name: str, first: int, pause: float, change: Callable[[Watch], object]
) -> Run:
    """Change a database while services of a package are at work."""
    watch = Watch()
    with _services(package, url, name, first, pause) as running:
        go_on(*running)
        began = time.monotonic()
        time.sleep(_ALONE)
        ended = time.monotonic()
        change(watch)
        go_on(*running)
        outcomes = stop(*running)
    return Run(watch.windows, (began, ended), outcomes)


@contextmanager
def _services(package: Path, url: str, name: str, first: int, pause: float) -> Iterator[list[Busy]]:
    numbers = range(first, first + SERVICES)
    with ExitStack() as stack:
        yield [stack.enter_context(busy(package, url, f"{name}-{n}", n, pause)) for n in numbers]


def _worst(run: Run, since: float, until: float) -> tuple[str, str]:
    worst: Timing = longest(run.outcomes, since, until)
    return f"{worst.milliseconds:.0f}", worst.name


def _stated(revision: str, run: Run, window: Window) -> tuple[int, str]:
    """The bound that a revision states, and whether it was kept; it says nothing of a second try."""
    (details,) = (step.details for step in history() if step.revision == revision)
    bound = int(_BOUND.search(" ".join(details.split()))[1])
    alone, stall = (float(_worst(run, *span)[0]) for span in (run.alone, window[:2]))
    return bound, "yes" if stall <= alone + bound else "no" if window.retries == 0 else "tried again"


def _described(windows: dict[str, Window]) -> list[tuple[str, str]]:
    """The revisions in the order of their moment, each with the first line of its docstring."""
    summaries = {revision.revision: revision.summary for revision in history()}
    in_time = sorted(windows, key=lambda revision: windows[revision].since)
    return [(revision, summaries[revision].rstrip(".")) for revision in in_time]
