"""Conversations have titles.

Gain: `title`, what a list of conversations shows; null until there is one.
Locks: ACCESS EXCLUSIVE on conversations for a moment; then SHARE UPDATE EXCLUSIVE while the rule is compared with the
    rows: others read and write. Nobody waits for more than 125 ms in a first try.
Older packages: do not notice, and leave it null.
Going back: loses every title.
"""

import sqlalchemy as sa
from alembic.operations import Operations

from todo_schema import operations

revision = "013"
down_revision = "012"


def upgrade(op: Operations) -> None:
    """Add the column, and its length."""
    operations.add_column(
        op,
        "conversations",
        sa.Column("title", sa.Text(), comment="What the conversation is about, or null."),
    )
    operations.add_check(
        op, "ck_conversations_title_length", "conversations", "length(title) BETWEEN 1 AND 255"
    )


def downgrade(op: Operations) -> None:
    """Drop it."""
    operations.drop_column(op, "conversations", "title")
