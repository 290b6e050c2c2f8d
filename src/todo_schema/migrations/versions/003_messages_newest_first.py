"""The newest messages of a conversation by one index.

Gain: the newest 50 of a long conversation by reading 50 rows: the planner used to walk `ix_message_created_at`
    backwards over the messages of everybody, 99,903 buffers. That one goes, and the one that is a prefix of the new.
Locks: SHARE UPDATE EXCLUSIVE on messages while the index is built and the others are dropped: others read and write.
    Nobody waits for more than 25 ms in a first try.
Older packages: the same queries, faster. One for the messages of everybody by time reads the whole table.
Going back: loses nothing; the indexes are built anew.
"""

from alembic.operations import Operations

from todo_schema import operations

revision = "003"
down_revision = "002"
deferred = "The newest messages of a long conversation stay as slow as they are, and a message writes one more index."


def upgrade(op: Operations) -> None:
    """Build the index, then drop what it makes superfluous."""
    operations.create_index(
        op,
        "ix_messages_conversation_created",
        "messages",
        ["conversation_id", "created_at DESC", "id DESC"],
    )
    operations.drop_index(op, "ix_message_created_at", "messages")
    operations.drop_index(op, "ix_message_conversation_id", "messages")


def downgrade(op: Operations) -> None:
    """Build those that there were, then drop the index."""
    operations.create_index(op, "ix_message_conversation_id", "messages", ["conversation_id"])
    operations.create_index(op, "ix_message_created_at", "messages", ["created_at"])
    operations.drop_index(op, "ix_messages_conversation_created", "messages")
