"""The revisions of this package, what they leave in the history, and the number of the one that will come next."""

from collections.abc import Sequence

from todo_schema import SCHEMA_VERSION, history, revisions
from todo_schema.compatibility import Line, revision_at
from todo_schema.parts import Backfill, fit_one_transaction
from todo_schema.unfinished import part_action

# Each in order: what a run from empty to the head applies.
REVISIONS = tuple(revision.revision for revision in history() if revision.line == "expand")
# What going back from the head to `base` stops at on the way.
BELOW = (*reversed(REVISIONS[:-1]), "base")

NEXT_VERSION = SCHEMA_VERSION + 1
NEXT = f"{NEXT_VERSION:03d}"

# The contract line of this package: its revisions, where it ends (`c000`, and None, without any), the floor that is in
# force then, and the revision that will come next.
CONTRACTS = tuple(revision.revision for revision in history() if revision.line == "contract")
CONTRACT_HEAD = revision_at(Line.CONTRACT, len(CONTRACTS))
NEWEST_CONTRACT = CONTRACTS[-1] if CONTRACTS else None
LAST_FLOOR = max(revision.floor or 1 for revision in history())
CONTRACT = revision_at(Line.CONTRACT, len(CONTRACTS) + 1)

Rows = list[tuple[str, str]]


def in_one(revision: str, *, downward: bool = False) -> bool:
    """Tell whether a revision is one transaction; one that is not of this package is."""
    if revision not in REVISIONS:
        return True
    return fit_one_transaction(revisions.parts(revision, downward=downward))


def upgraded(applied: Sequence[str] = REVISIONS) -> Rows:
    """Revision and action of each row of the history that expand revisions leave in new tables."""
    return [(revision, "upgrade") for revision in applied]


def downgraded(undone: Sequence[str] = REVISIONS[::-1]) -> Rows:
    """Revision and action of each row that undoing expand revisions adds, the newest first, where there are no rows."""
    rows: Rows = []
    for revision in undone:
        below = (revisions.below(revision), "downgrade")
        if in_one(revision, downward=True):
            rows.append(below)
        else:
            parts = revisions.parts(revision, downward=True)
            rows += [(revision, "undo"), below]
            for number, part in enumerate(parts, start=1):
                filled = 0 if isinstance(part, Backfill) else None
                rows.append((revision, part_action(number, len(parts), downward=True, rows=filled)))
            rows.append((revision, "undone"))
    return rows
