"""What a preflight finds: the rows that a revision would fail on, counted, with samples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from todo_schema.reports import Report

if TYPE_CHECKING:
    from sqlalchemy import Connection

_SAMPLE = 5


@dataclass(frozen=True)
class Violation(Report):
    """Rows that a revision would fail on.

    Attributes:
        rule: What they break.
        count: How many there are.
        sample: The keys of some of them.
        query: The SQL that finds them all.
        revision: The revision, set by the runner.

    """

    rule: str
    count: int
    sample: tuple[str, ...]
    query: str
    revision: str = ""

    def __str__(self) -> str:
        more = ", …" if self.count > len(self.sample) else ""
        return f"{self.rule}: {self.count} ({', '.join(self.sample)}{more}); all of them: {self.query}"


def violation(connection: Connection, rule: str, query: str) -> Iterator[Violation]:
    """Look for rows that break a rule: gives one Violation, or none where there is no such row.

    Args:
        connection: What the preflight was given.
        rule: What is broken, as a person reads it: `user_id is no UUID`.
        query: A query for the rows; its first column is their key.

    """
    plain = query.strip().rstrip(";").rstrip()
    # A comment at its end must not swallow ours.
    inner = f"({plain}\n) AS violating"
    # Nothing in it is a parameter, neither a colon nor a per cent sign.
    as_it_is = {"no_parameters": True}
    count = connection.exec_driver_sql(
        f"SELECT count(*) FROM {inner}", execution_options=as_it_is
    ).scalar_one()
    if count:
        rows = connection.exec_driver_sql(
            f"SELECT * FROM {inner} LIMIT {_SAMPLE}", execution_options=as_it_is
        )
        yield Violation(rule, count, tuple(str(row[0]) for row in rows), plain)
