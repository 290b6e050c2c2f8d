"""Tasks may be due.

Gain: `due_at`, when a task is to be done; null where that does not matter.
Locks: ACCESS EXCLUSIVE on tasks for a moment; nothing is read or written anew. Nobody waits for more than 125 ms in a
    first try.
Older packages: do not notice, and leave it null.
Going back: loses every such time.
"""

import sqlalchemy as sa
from alembic.operations import Operations

from todo_schema import operations

revision = "014"
down_revision = "013"


def upgrade(op: Operations) -> None:
    """Add the column."""
    operations.add_column(
        op,
        "tasks",
        sa.Column("due_at", sa.DateTime(timezone=True), comment="When it is to be done, or null."),
    )


def downgrade(op: Operations) -> None:
    """Drop it."""
    operations.drop_column(op, "tasks", "due_at")
