"""Messages carry more than text: tool calls, attachments.

Gain: `payload`, a JSON object beside `content`, for what the model's API returns and expects again.
Locks: ACCESS EXCLUSIVE on messages for a moment; then SHARE UPDATE EXCLUSIVE while the rule is compared with the rows:
    others read and write. Nobody waits for more than 125 ms in a first try.
Older packages: do not notice, and leave it null.
Going back: loses every payload.
"""

import sqlalchemy as sa
from alembic.operations import Operations
from sqlalchemy.dialects import postgresql

from todo_schema import operations

revision = "012"
down_revision = "011"


def upgrade(op: Operations) -> None:
    """Add the column, and that it is an object."""
    operations.add_column(
        op,
        "messages",
        sa.Column("payload", postgresql.JSONB(), comment="Tool calls, attachments and the like; or null."),
    )
    operations.add_check(op, "ck_messages_payload_object", "messages", "jsonb_typeof(payload) = 'object'")


def downgrade(op: Operations) -> None:
    """Drop it."""
    operations.drop_column(op, "messages", "payload")
