"""Conversations by their owner: what a message can refer to.

Gain: a key `(user_id, id)` for the ownership of messages, and for the cascade from users; the index on `user_id` alone
    is a prefix of it and goes.
Locks: SHARE UPDATE EXCLUSIVE on conversations while the index is built and the other dropped; in between ACCESS
    EXCLUSIVE for a moment. Nobody waits for more than 125 ms in a first try.
Older packages: do not notice.
Going back: loses nothing; the index is built anew.
"""

from alembic.operations import Operations

from todo_schema import operations

revision = "004"
down_revision = "003"
deferred = "Messages cannot be bound to the owner of their conversation."


def upgrade(op: Operations) -> None:
    """Add the key, then drop what it makes superfluous."""
    operations.add_unique(op, "uq_conversations_user_id_id", "conversations", ["user_id", "id"])
    operations.drop_index(op, "ix_conversation_user_id", "conversations")


def downgrade(op: Operations) -> None:
    """Build the index that there was, then drop the key."""
    operations.create_index(op, "ix_conversation_user_id", "conversations", ["user_id"])
    operations.drop_constraint(op, "uq_conversations_user_id_id", "conversations")
