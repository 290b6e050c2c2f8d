"""One change on the way from tables that somebody else made to those of a schema version."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

from todo_schema.parts import IndexBuild
from todo_schema.quoting import identifier

if TYPE_CHECKING:
    from alembic.operations import Operations


class Phase(IntEnum):
    """When a change is made. What is slow comes where nobody waits for it."""

    RELEASE = 1
    """Indexes go that another type of their column would build anew while nobody could use the table."""
    WIDEN = 2
    """Keys are made wider, which writes their table anew."""
    MOMENT = 3
    """All that takes a moment: types, defaults, names, comments."""
    INDEXES = 4
    """Indexes are built while others write: first, for those that went before are missed until then."""
    RULES = 5
    """NOT NULL, CHECKs and foreign keys, which the rows that are there are compared with while others write."""
    LEFTOVERS = 6
    """What is there twice by now is dropped."""


@dataclass(frozen=True)
class Change:
    """One change.

    Attributes:
        phase: When it is made.
        table: Its table.
        about: What becomes of what, as a person reads it.
        make: Makes it, by functions of `operations`.
        rule: What rows must keep for it; empty where it cannot fail on rows.
        violating: The condition, as SQL, of rows that do not.
        lost: The index of somebody else's that is dropped here for a while; None where none is.

    """

    phase: Phase
    table: str
    about: str
    make: Callable[[Operations], None]
    rule: str = ""
    violating: str = ""
    lost: IndexBuild | None = None

    @property
    def query(self) -> str:
        """The query for the rows that it would fail on."""
        return f"SELECT id FROM {identifier(self.table)} WHERE {self.violating}"


@dataclass
class Findings:
    """What has been found out about tables that are to be adopted.

    Attributes:
        changes: What would make them ours.
        obstacles: What is in the way, and no change of ours would mend.
        kept: What is theirs beside ours, and stays.
        retyped: The columns whose type becomes another, `messages.created_at`.
        resorted: Those of them whose indexes that would build anew.

    """

    changes: list[Change] = field(default_factory=list)
    obstacles: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    retyped: set[str] = field(default_factory=set)
    resorted: set[str] = field(default_factory=set)
