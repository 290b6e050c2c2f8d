"""Tasks have a priority.

Gain: `priority` as calendars have it (RFC 5545, section 3.8.1.9): 1 is the highest, 9 the lowest, 0 says nothing.
Locks: ACCESS EXCLUSIVE on tasks for a moment; then SHARE UPDATE EXCLUSIVE while the rule is compared with the rows:
    others read and write. Nobody waits for more than 125 ms in a first try.
Older packages: do not notice, and leave it 0.
Going back: loses every priority.
"""

import sqlalchemy as sa
from alembic.operations import Operations

from todo_schema import operations

revision = "015"
down_revision = "014"


def upgrade(op: Operations) -> None:
    """Add the column, and its range."""
    operations.add_column(
        op,
        "tasks",
        sa.Column(
            "priority",
            sa.SmallInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="1 is the highest, 9 the lowest; 0 says nothing.",
        ),
    )
    operations.add_check(op, "ck_tasks_priority_known", "tasks", "priority BETWEEN 0 AND 9")


def downgrade(op: Operations) -> None:
    """Drop it."""
    operations.drop_column(op, "tasks", "priority")
