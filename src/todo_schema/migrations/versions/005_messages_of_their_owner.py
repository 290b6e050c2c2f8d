"""A message is of the user whose conversation it is in.

Gain: one foreign key to `conversations (user_id, id)` in place of two to `conversations (id)` and `users (id)`: nobody
    can write a message of another user's conversation any more, and an insert costs less. `ix_message_user_id` served
    only the key to users.
Locks: SHARE ROW EXCLUSIVE on messages and conversations for a moment, then ACCESS EXCLUSIVE on messages with each table
    that it referred to for another; while rows are compared and the index is dropped others read and write. Nobody
    waits for more than 225 ms in a first try.
Older packages: are refused a message whose `user_id` is not its conversation's, by `fk_messages_conversation`, which
    also names a message that refers to nothing. A query for the messages of a user without their conversations reads
    the whole table.
Going back: loses nothing; the index is built and the two keys are validated anew.
"""

from collections.abc import Iterable

import sqlalchemy as sa
from alembic.operations import Operations

from todo_schema import operations

revision = "005"
down_revision = "004"
builds_on = ("004",)
deferred = "Nothing keeps a message's user the one whose conversation it is in."


def preflight(connection: sa.Connection) -> Iterable[operations.Violation]:
    """Find the messages of another user than their conversation's."""
    return operations.violation(
        connection,
        "the user of a message is not its conversation's",
        "SELECT m.id, m.user_id, c.user_id AS owner FROM messages m JOIN conversations c ON c.id = m.conversation_id"
        " WHERE m.user_id <> c.user_id",
    )


def upgrade(op: Operations) -> None:
    """Add the key, then drop the two that it makes superfluous, and their index."""
    operations.add_foreign_key(
        op,
        "fk_messages_conversation",
        "messages",
        ["user_id", "conversation_id"],
        "conversations",
        ["user_id", "id"],
        ondelete="CASCADE",
    )
    operations.drop_constraint(
        op, "fk_messages_conversation_id_conversations", "messages", target="conversations"
    )
    operations.drop_constraint(op, "fk_messages_user_id_users", "messages", target="users")
    operations.drop_index(op, "ix_message_user_id", "messages")


def downgrade(op: Operations) -> None:
    """Build the index, add the two keys, then drop the one."""
    operations.create_index(op, "ix_message_user_id", "messages", ["user_id"])
    operations.add_foreign_key(
        op, "fk_messages_user_id_users", "messages", ["user_id"], "users", ["id"], ondelete="CASCADE"
    )
    operations.add_foreign_key(
        op,
        "fk_messages_conversation_id_conversations",
        "messages",
        ["conversation_id"],
        "conversations",
        ["id"],
        ondelete="CASCADE",
    )
    operations.drop_constraint(op, "fk_messages_conversation", "messages", target="conversations")
