"""What `upgrade_many` takes and returns: installations, and what became of each."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from todo_schema.errors import InvalidUrlError, TodoSchemaError
from todo_schema.reports import ChangeReport, Report, error_facts

if TYPE_CHECKING:
    from sqlalchemy import URL

    from todo_schema.urls import DatabaseUrl


@dataclass(frozen=True, repr=False)
class Installation:
    """One installation of a fleet: a database, and the PostgreSQL schema in it.

    Attributes:
        url: A PostgreSQL URL, as text or as a SQLAlchemy `URL`.
        schema: The PostgreSQL schema of the installation; None is the one that the connection's search_path finds.

    """

    url: str | URL
    schema: str | None = None

    def __repr__(self) -> str:
        url = understood(self.url)
        shown = "a URL that cannot be used" if isinstance(url, InvalidUrlError) else str(url)
        return f"Installation({shown!r}, schema={self.schema!r})"


@dataclass(frozen=True)
class Outcome(Report):
    """What became of one installation: a report, or an error.

    Attributes:
        address: Its URL without the password; `URL 7` where the seventh one that was given cannot be used.
        schema: Its PostgreSQL schema, as it was given.
        report: What `upgrade` returned; None where it failed.
        error: What `upgrade` raised; None where it did not. A TodoSchemaError of no narrower class is an error that
            nobody expected, and has that one as its `__cause__`.
        seconds: How long it took.

    """

    address: str
    schema: str | None
    report: ChangeReport | None
    error: TodoSchemaError | None
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether this package can work with the installation now."""
        return self.error is None

    @property
    def name(self) -> str:
        """Where the installation is, for a person."""
        return named(self.address, self.schema)

    @property
    def line(self) -> str:
        """The same as `str()`, in one line."""
        if self.report is None:
            return f"{self.name}: {type(self.error).__name__}"
        said = str(self.report).partition("\n")[0]
        left = ", ".join(revision.revision for revision in self.report.deferred)
        return f"{self.name}: {said}{f'; left for later: {left}' if left else ''}"

    def as_dict(self) -> dict[str, Any]:
        """Return the facts as plain JSON types: an error as its class, found, needed and cure."""
        return {
            "address": self.address,
            "schema": self.schema,
            "report": self.report and self.report.as_dict(),
            "error": self.error and error_facts(self.error),
            "seconds": self.seconds,
        }

    def __str__(self) -> str:
        if self.error is None:
            return self.line
        return "\n  ".join([self.line, *str(self.error).splitlines()])


@dataclass(frozen=True)
class FleetReport(Report):
    """What `upgrade_many` did.

    Attributes:
        outcomes: What became of each installation, in the order given.
        seconds: How long all of it took.

    """

    outcomes: tuple[Outcome, ...]
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether none failed."""
        return not self.failed

    @property
    def failed(self) -> tuple[Outcome, ...]:
        """The outcomes that are errors."""
        return tuple(outcome for outcome in self.outcomes if not outcome.ok)

    def as_dict(self) -> dict[str, Any]:
        """Return the facts as plain JSON types."""
        return {"outcomes": [outcome.as_dict() for outcome in self.outcomes], "seconds": self.seconds}

    def __str__(self) -> str:
        done = [outcome.line for outcome in self.outcomes if outcome.ok]
        failed = self.failed
        total = (
            f"{_counted(len(self.outcomes))} in {self.seconds:.1f} s: {len(done)} done, {len(failed)} failed"
        )
        kinds = Counter(type(outcome.error).__name__ for outcome in failed)
        why = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
        return "\n".join([*done, *map(str, failed), f"{total} ({why})" if why else total])


def named(address: str, schema: str | None) -> str:
    """Say where an installation is, for a person."""
    return address if schema is None else f"{address}, schema {schema}"


def understood(url: str | URL, pooler: bool | None = None) -> DatabaseUrl | InvalidUrlError:
    """Return a URL, understood; or what is wrong with it."""
    from todo_schema.urls import DatabaseUrl  # noqa: PLC0415  # imports SQLAlchemy

    try:
        return DatabaseUrl.parse(url, pooler=pooler)
    except InvalidUrlError as error:
        # Its frames hold the text.
        return error.with_traceback(None)


def _counted(number: int) -> str:
    return f"{number or 'no'} installation{'' if number == 1 else 's'}"
