"""What the public functions return: frozen, printable, and the same facts for a person and for a program."""

import dataclasses
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from todo_schema.compatibility import Line, State
from todo_schema.errors import TodoSchemaError

_log = logging.getLogger("todo_schema")


class Report:
    """A result that prints well and turns into JSON."""

    def as_dict(self) -> dict[str, Any]:
        """Return the facts as plain JSON types: durations in seconds, times as ISO 8601 in UTC."""
        facts: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self), default=_plain))  # type: ignore[call-overload]
        return facts


@dataclass(frozen=True)
class AppliedStep(Report):
    """One revision that was applied or undone.

    Attributes:
        revision: The revision, `001`.
        summary: The first line of its docstring.
        seconds: How long it took.

    """

    revision: str
    summary: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.revision} {self.summary} ({self.seconds * 1000:.0f} ms)"


@dataclass(frozen=True)
class DeferredRevision(Report):
    """A revision that the version has moved past and that is still to be carried out.

    Attributes:
        revision: The revision, `003`.
        summary: The first line of its docstring.
        cost: What it costs to leave it.
        by: Who is at work on it now, or on another one; None for nobody, or where nobody was asked.

    """

    revision: str
    summary: str
    cost: str
    by: str | None = None

    def __str__(self) -> str:
        who = f"; at work on deferred revisions: {self.by}" if self.by else ""
        return f"{self.revision} {self.summary}. Left: {self.cost}{who}"


@dataclass(frozen=True)
class ChangeReport(Report):
    """What `upgrade`, `contract`, `downgrade` or `stamp` did.

    Attributes:
        schema: The PostgreSQL schema of the installation; None where the boot check alone answered.
        before: State of the database as the call found it.
        after: State of the database as the call left it.
        version_before: Schema version found, None for none.
        version_after: Schema version left, None for none.
        floor_before: The floor found; None where the boot check alone answered.
        floor_after: The floor left; None where the boot check alone answered.
        applied: The steps that this call itself carried out, in order.
        adopted: Whether existing tables without a version were recognised and recorded.
        waited_seconds: How long the call waited for another process's migration.
        deferred: What is left for later. Empty too where the boot check alone answered and was not asked for it.

    """

    schema: str | None
    before: State
    after: State
    version_before: int | None
    version_after: int | None
    floor_before: int | None = None
    floor_after: int | None = None
    applied: tuple[AppliedStep, ...] = ()
    adopted: bool = False
    waited_seconds: float = 0.0
    deferred: tuple[DeferredRevision, ...] = ()

    @property
    def waited(self) -> bool:
        """Whether another process was migrating at the same time."""
        return self.waited_seconds > 0

    def __str__(self) -> str:
        if self.before is self.after is State.AHEAD:
            line = f"schema {self.version_after}, newer than this package and still compatible: nothing to do"
        elif self.adopted:
            line = f"adopted existing tables as schema {self.version_after}"
        elif self.version_before == self.version_after and self.floor_before != self.floor_after:
            line = f"schema {self.version_after}, floor {self.floor_before} -> {self.floor_after}"
        elif self.version_before == self.version_after and (self.applied or self.deferred):
            line = f"schema {self.version_after or 'none'}"
        elif self.version_before == self.version_after:
            line = f"schema {self.version_after or 'none'} already: nothing to do"
        else:
            line = f"schema {self.version_before or 'none'} -> {self.version_after or 'none'}"
        if self.waited:
            line += f" (waited {self.waited_seconds:.1f} s for another process)"
        left = (f"  left for later: {revision}" for revision in self.deferred)
        return "\n".join([line, *(f"  {step}" for step in self.applied), *left])


@dataclass(frozen=True)
class Revision(Report):
    """One revision of this package, and what a database's history says of it.

    Attributes:
        revision: The revision, `001` or `c001`.
        summary: The first line of its docstring.
        details: The rest of its docstring: gain, locks, older packages, going back.
        checksum: SHA-256 of its file with newlines normalised.
        line: `expand` or `contract`.
        requires: Of a contract revision, the schema version that a database must have before it.
        floor: Of a contract revision, the oldest schema version whose package may use the database after it.
        deferred: What it costs to leave the revision undone for a while; None where the package needs it.
        builds_on: The deferred revisions that have to be finished before it.
        applied_at: When the database last applied it, UTC; None where it did not, or has left it for later, or no
            database was asked.
        duration: How long that took.
        package_version: The version of todo_schema that applied it.
        role: The database role that applied it.

    """

    revision: str
    summary: str
    details: str
    checksum: str
    line: Line = Line.EXPAND
    requires: int | None = None
    floor: int | None = None
    deferred: str | None = None
    builds_on: tuple[str, ...] = ()
    applied_at: datetime | None = None
    duration: timedelta | None = None
    package_version: str | None = None
    role: str | None = None

    def __str__(self) -> str:
        applied = f"  applied {self.applied_at:%Y-%m-%d %H:%M:%S} UTC" if self.applied_at else ""
        floor = f"  floor {self.floor}" if self.floor else ""
        deferred = "  deferred" if self.deferred else ""
        return f"{self.revision} {self.summary}{floor}{deferred}{applied}"


@dataclass(frozen=True)
class Progress:
    """Something that a person who waits would like to know. Passed to the `progress` callback.

    While the database works on one long statement it comes from a thread of its own, or from a task of the loop.

    Attributes:
        event: `waiting` (for another process, or for the database), `applying`, `applied`, `retrying` (for want of a
            lock), `building` (an index), `validating`, `backfilling`, or `left` (a deferred revision, for later);
            of `upgrade_many`: `upgraded` or `failed` (an installation).
        revision: The revision concerned; empty while waiting.
        text: The same for a person to read.
        done: How much of a part is done; None where that is not known.
        total: How much there is to do, as far as the server's statistics tell; None where they do not.
        unit: What is counted: `rows`, `blocks` or `installations`.
        rate: How many of them a second.

    """

    event: str
    revision: str
    text: str
    done: int | None = None
    total: int | None = None
    unit: str = ""
    rate: float | None = None

    def __str__(self) -> str:
        return self.text

    @property
    def seconds_left(self) -> float | None:
        """How long the part will go on at this rate; None where that is not known."""
        if not self.rate or self.done is None or self.total is None:
            return None
        return max(self.total - self.done, 0) / self.rate

    def facts(self) -> dict[str, Any]:
        """Return it as plain JSON types, for a log that is read by programs."""
        return {**dataclasses.asdict(self), "seconds_left": self.seconds_left}


Listener = Callable[[Progress], None]


def ignore(progress: Progress) -> None:
    """Stand in for a callback that was not given."""


def tell(listener: Listener, progress: Progress) -> None:
    """Tell the listener. What it raises is logged: a listener must not stop a migration half way, nor a wait."""
    try:
        listener(progress)
    except Exception:  # noqa: BLE001  # whatever it is
        _log.warning("the progress callback failed at: %s", progress, exc_info=True)


def error_facts(error: TodoSchemaError) -> dict[str, Any]:
    """Return an error as plain JSON types: its class, what it says, and what some classes list."""
    return {
        "error": type(error).__name__,
        "found": error.found,
        "needed": error.needed,
        "cure": error.cure,
        "differences": list(getattr(error, "differences", ())),
        "violations": [violation.as_dict() for violation in getattr(error, "violations", ())],
        "clients": [client.as_dict() for client in getattr(error, "clients", ())],
    }


def _plain(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value.total_seconds()
    return value.isoformat() if isinstance(value, datetime) else str(value)
