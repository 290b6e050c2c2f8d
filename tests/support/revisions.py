"""The revisions of this package, and the number of the one that will come next."""

from todo_schema import SCHEMA_VERSION, history

# Each in order: what a run from empty to the head applies.
REVISIONS = tuple(revision.revision for revision in history() if revision.line == "expand")
# What going back from the head to `base` stops at on the way.
BELOW = (*reversed(REVISIONS[:-1]), "base")

NEXT_VERSION = SCHEMA_VERSION + 1
NEXT = f"{NEXT_VERSION:03d}"
