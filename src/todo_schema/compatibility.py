"""What a package may do with a database, decided from numbers alone: pure rules, no I/O."""

from collections.abc import Collection
from enum import StrEnum
from typing import Final

PACKAGE_VERSION: Final = "0.3.0.dev0"

# The ordinal of the newest expand revision. Adding a revision edits this line, so that two branches which
# both add one conflict here and nowhere later.
SCHEMA_VERSION: Final = 16

HEAD: Final = f"{SCHEMA_VERSION:03d}"
BASE: Final = "base"

VERSION_TABLE: Final = "todo_schema_version"
HISTORY_TABLE: Final = "todo_schema_history"
BOOKKEEPING_TABLES: Final = frozenset({VERSION_TABLE, HISTORY_TABLE})
ENTITY_TABLES: Final = frozenset({"conversations", "messages", "tasks", "users"})


# What tells of each step, to whoever listens: `LISTEN todo_schema`.
CHANNEL: Final = "todo_schema"


class Line(StrEnum):
    """A line of revisions. Each is in order, has one head, and one row in the version table."""

    EXPAND = "expand"
    """`001`, `002`, …: they only add or relax, so that every older package keeps working."""
    CONTRACT = "contract"
    """`c001`, `c002`, …: they remove or tighten what only older packages used, and raise the floor."""


class State(StrEnum):
    """How a database stands to this package."""

    EMPTY = "empty"
    """None of our tables: `upgrade` creates them."""
    BEHIND = "behind"
    """Older than this package: `upgrade` migrates it."""
    CURRENT = "current"
    """Exactly what this package was written for."""
    AHEAD = "ahead"
    """Newer, and everything that this package needs is still there: by design this is normal."""
    TOO_NEW = "too_new"
    """Newer, and something that this package needs is gone."""
    UNVERSIONED = "unversioned"
    """Tables with our names, but no version of ours."""


def decide(*, package: int, database: int | None, floor: int, tables: Collection[str]) -> State:
    """Decide how a database stands to a package.

    Args:
        package: The schema version of the package.
        database: The schema version of the database, None where it records none.
        floor: The oldest schema version whose package may use the database.
        tables: Those of our entities' tables that exist in the database.

    """
    if floor > package:
        return State.TOO_NEW
    if database is None:
        return State.UNVERSIONED if tables else State.EMPTY
    if database < package:
        return State.BEHIND
    return State.AHEAD if database > package else State.CURRENT


def ordinal_of(revision: str) -> int | None:
    """Return the ordinal of an expand revision, `001` → 1, or None for any other text.

    Revisions are written with three digits or more and never with a sign or a space, so that
    each ordinal has one spelling only. Nobody writes a thousand million of them: what is longer is not ours.
    """
    if not (revision.isascii() and revision.isdigit() and len(revision) <= 9):  # noqa: PLR2004  # said above
        return None
    ordinal = int(revision)
    return ordinal if ordinal > 0 and revision == f"{ordinal:03d}" else None


def contract_ordinal_of(revision: str) -> int | None:
    """Return the ordinal of a contract revision, `c001` → 1, or None for any other text."""
    return ordinal_of(revision[1:]) if revision.startswith("c") else None


def line_of(revision: str) -> Line:
    """Return the line that a revision of ours, `base` or `c000` belongs to."""
    return Line.CONTRACT if revision.startswith("c") else Line.EXPAND


def number_of(revision: str) -> int:
    """Return the place of a revision in its line: 0 for `base` and `c000`, which come before the first."""
    return ordinal_of(revision) or contract_ordinal_of(revision) or 0


def revision_at(line: Line, number: int) -> str:
    """Return the revision at a place of a line: `base` and `c000` are the two zeros."""
    if line is Line.CONTRACT:
        return f"c{number:03d}"
    return f"{number:03d}" if number else BASE
