"""Users, conversations, messages and tasks.

Gain: the four tables of a todo chatbot, every foreign key ON DELETE CASCADE, with the indexes that it had.
Locks: nothing that exists; four new, empty tables in a few milliseconds.
Older packages: there are none.
Going back: drops the four tables and every row in them.
"""

import sqlalchemy as sa
from alembic.operations import Operations

revision = "001"
down_revision = None
branch_labels = "expand"


def upgrade(op: Operations) -> None:
    """Create the four tables."""
    op.create_table(
        "users",
        _uuid_key(),
        sa.Column(
            "email", sa.Text(), nullable=False, comment="Address that the person signs in with; unique."
        ),
        _timestamp("created_at", "When the row was written."),
        _timestamp("updated_at", "When the row was last changed."),
        sa.PrimaryKeyConstraint("id", name="pk_users"),
        sa.CheckConstraint(r"email ~ '\S'", name="ck_users_email_not_blank"),
        comment="People who talk to the assistant; the owners of everything else.",
    )
    op.create_index("ix_users_email", "users", ["email"], unique=True)

    op.create_table(
        "conversations",
        _uuid_key(),
        _reference("user_id", "User that the conversation belongs to."),
        _timestamp("created_at", "When the row was written."),
        _timestamp("updated_at", "When the row was last changed."),
        sa.PrimaryKeyConstraint("id", name="pk_conversations"),
        _cascade("user_id", "users.id", "fk_conversations_user_id_users"),
        comment="Threads of messages between one user and the assistant.",
    )
    op.create_index("ix_conversation_user_id", "conversations", ["user_id"])

    op.create_table(
        "messages",
        _uuid_key(),
        _reference("conversation_id", "Conversation that the message is part of."),
        _reference("user_id", "User whose conversation it is, also for what the assistant said."),
        sa.Column("role", sa.Text(), nullable=False, comment="Who speaks: user, assistant, system or tool."),
        sa.Column("content", sa.Text(), nullable=False, comment="What was said."),
        _timestamp("created_at", "When the row was written."),
        sa.PrimaryKeyConstraint("id", name="pk_messages"),
        _cascade("conversation_id", "conversations.id", "fk_messages_conversation_id_conversations"),
        _cascade("user_id", "users.id", "fk_messages_user_id_users"),
        sa.CheckConstraint("role IN ('user', 'assistant', 'system', 'tool')", name="ck_messages_role_known"),
        comment="Turns of the conversations; written once and not changed.",
    )
    op.create_index("ix_message_conversation_id", "messages", ["conversation_id"])
    op.create_index("ix_message_user_id", "messages", ["user_id"])
    op.create_index("ix_message_created_at", "messages", ["created_at"])

    op.create_table(
        "tasks",
        sa.Column(
            "id",
            sa.BigInteger(),
            sa.Identity(always=False),
            nullable=False,
            comment="Small number that the database assigns.",
        ),
        _reference("user_id", "User whose task it is."),
        sa.Column("title", sa.Text(), nullable=False, comment="What is to be done; not blank."),
        sa.Column("description", sa.Text(), nullable=True, comment="More about it, or null."),
        sa.Column(
            "completed",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="Whether it is done.",
        ),
        _timestamp("created_at", "When the row was written."),
        _timestamp("updated_at", "When the row was last changed."),
        sa.PrimaryKeyConstraint("id", name="pk_tasks"),
        _cascade("user_id", "users.id", "fk_tasks_user_id_users"),
        sa.CheckConstraint(r"title ~ '\S'", name="ck_tasks_title_not_blank"),
        comment="Things to do, with a number short enough to say in a chat.",
    )
    op.create_index("ix_task_user_id", "tasks", ["user_id"])
    op.create_index("ix_task_completed", "tasks", ["completed"])
    op.create_index("ix_task_user_completed", "tasks", ["user_id", "completed"])


def downgrade(op: Operations) -> None:
    """Drop the four tables."""
    for table in ("tasks", "messages", "conversations", "users"):
        op.drop_table(table)


def _uuid_key() -> sa.Column[object]:
    return sa.Column(
        "id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False, comment="Random UUID."
    )


def _reference(name: str, comment: str) -> sa.Column[object]:
    return sa.Column(name, sa.Uuid(), nullable=False, comment=comment)


def _timestamp(name: str, comment: str) -> sa.Column[object]:
    return sa.Column(
        name, sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False, comment=comment
    )


def _cascade(column: str, target: str, name: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [target], name=name, ondelete="CASCADE")
