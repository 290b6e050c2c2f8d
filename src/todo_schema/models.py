"""The four entities.

Everything that a revision creates is declared here, with every constraint and index by name, so that a
service's `alembic revision --autogenerate` finds nothing of ours to add or to drop.

There is no `from __future__ import annotations` here: SQLModel reads the annotations as objects.
"""

import uuid
from datetime import datetime
from typing import Any, cast

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    DateTime,
    FetchedValue,
    ForeignKeyConstraint,
    Identity,
    Index,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, Relationship

from todo_schema import server_side
from todo_schema.model_base import (
    TodoBase,
    changed_at,
    optional,
    reference,
    text_column,
    timestamp,
    uuid_key,
)
from todo_schema.version_tables import SchemaHistory, SchemaVersion

__all__ = ["Conversation", "Message", "SchemaHistory", "SchemaVersion", "Task", "TodoBase", "User"]

# An attribute that was not loaded would be loaded by a query as it is read, which an AsyncSession cannot make there
# (MissingGreenlet): so none of these is. Ask for it: `select(Message).options(joinedload(Message.conversation))`.
_ASKED_FOR = {"lazy": "raise"}


class User(TodoBase, table=True):
    """A person who talks to the assistant; the owner of everything else.

    Attributes:
        id: UUID of version 7, which discloses when it was made; the database makes one where the client sends none.
        email: The address that the person signs in with, at most 320 characters. Unique without regard to case.
        created_at: When the row was written, UTC.
        updated_at: When the row was last changed, UTC; kept by the database, whoever writes.

    """

    __tablename__ = "users"
    __table_args__ = (
        PrimaryKeyConstraint("id", name="pk_users"),
        CheckConstraint(r"email ~ '\S'", name="ck_users_email_not_blank"),
        CheckConstraint("length(email) <= 320", name="ck_users_email_length"),
        {"comment": "People who talk to the assistant; the owners of everything else."},
    )

    id: uuid.UUID = uuid_key()
    email: str = text_column("Address that the person signs in with; unique.")
    created_at: datetime = timestamp("When the row was written.")
    updated_at: datetime = changed_at()


class Conversation(TodoBase, table=True):
    """A thread of messages between one user and the assistant.

    Attributes:
        id: UUID of version 7, which discloses when it was made; the database makes one where the client sends none.
        user_id: The user that the conversation belongs to. Deleting the user deletes it.
        created_at: When the row was written, UTC.
        updated_at: When the row was last changed, UTC; `append_messages` moves it.
        title: What it is about, 1 to 255 characters, or None.
        user: The same user, where it was asked for.

    """

    __tablename__ = "conversations"
    __table_args__ = (
        PrimaryKeyConstraint("id", name="pk_conversations"),
        # What a message refers to; and the index that deleting a user needs.
        UniqueConstraint("user_id", "id", name="uq_conversations_user_id_id"),
        ForeignKeyConstraint(
            ["user_id"], ["users.id"], name="fk_conversations_user_id_users", ondelete="CASCADE"
        ),
        CheckConstraint("length(title) BETWEEN 1 AND 255", name="ck_conversations_title_length"),
        {"comment": "Threads of messages between one user and the assistant."},
    )

    id: uuid.UUID = uuid_key()
    user_id: uuid.UUID = reference("User that the conversation belongs to.")
    created_at: datetime = timestamp("When the row was written.")
    updated_at: datetime = changed_at()
    title: str | None = optional(Text, "What the conversation is about, or null.")

    user: User = Relationship(sa_relationship_kwargs=_ASKED_FOR)


class Message(TodoBase, table=True):
    """One turn of a conversation. Messages are written once and not changed; `append_messages` writes them in order.

    Attributes:
        id: UUID of version 7, which discloses when it was made; the database makes one where the client sends none.
        conversation_id: The conversation that the message is part of. Deleting it deletes the message.
        user_id: The user whose conversation it is, also for what the assistant said.
        role: Who speaks: `user`, `assistant`, `system` or `tool`.
        content: What was said, at most 10,485,760 characters.
        created_at: When the row was written, by the clock of the server, UTC. Never sent by a client.
        payload: Tool calls, attachments and the like, a JSON object; or None.
        conversation: The same conversation, where it was asked for.

    """

    __tablename__ = "messages"
    __table_args__ = (
        PrimaryKeyConstraint("id", name="pk_messages"),
        # The user too: nobody writes into another user's conversation.
        ForeignKeyConstraint(
            ["user_id", "conversation_id"],
            ["conversations.user_id", "conversations.id"],
            name="fk_messages_conversation",
            ondelete="CASCADE",
        ),
        # A text with a CHECK, not an enum: a new label would make older SQLAlchemy code raise as it reads.
        CheckConstraint("role IN ('user', 'assistant', 'system', 'tool')", name="ck_messages_role_known"),
        CheckConstraint("length(content) <= 10485760", name="ck_messages_content_length"),
        CheckConstraint("jsonb_typeof(payload) = 'object'", name="ck_messages_payload_object"),
        {"comment": "Turns of the conversations; written once and not changed."},
    )

    id: uuid.UUID = uuid_key()
    conversation_id: uuid.UUID = reference("Conversation that the message is part of.")
    user_id: uuid.UUID = reference("User whose conversation it is, also for what the assistant said.")
    role: str = text_column("Who speaks: user, assistant, system or tool.")
    content: str = text_column("What was said.")
    created_at: datetime = timestamp("When the row was written.", server_default=text("clock_timestamp()"))
    payload: dict[str, Any] | None = optional(
        JSONB(none_as_null=True), "Tool calls, attachments and the like; or null."
    )

    conversation: Conversation = Relationship(sa_relationship_kwargs=_ASKED_FOR)


class Task(TodoBase, table=True):
    """A thing to do, with a number short enough to say in a chat.

    Attributes:
        id: A small number that the database assigns: "task 12 is done".
        user_id: The user whose task it is. Deleting the user deletes it.
        title: What is to be done; not blank, at most 1,024 characters.
        description: More about it, at most 16,384 characters, or None.
        completed: Whether it is done.
        created_at: When the row was written, UTC.
        updated_at: When the row was last changed, UTC; kept by the database, whoever writes.
        due_at: When it is to be done, UTC, or None.
        priority: 1 is the highest, 9 the lowest; 0 says nothing (RFC 5545, section 3.8.1.9).
        completed_at: When it was done, UTC; kept by the database. None where it is not, or nobody knows.
        user: The same user, where it was asked for.

    """

    __tablename__ = "tasks"
    __table_args__ = (
        PrimaryKeyConstraint("id", name="pk_tasks"),
        ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_tasks_user_id_users", ondelete="CASCADE"),
        CheckConstraint(r"title ~ '\S'", name="ck_tasks_title_not_blank"),
        CheckConstraint("length(title) <= 1024", name="ck_tasks_title_length"),
        CheckConstraint("length(description) <= 16384", name="ck_tasks_description_length"),
        CheckConstraint("priority BETWEEN 0 AND 9", name="ck_tasks_priority_known"),
        {"comment": "Things to do, with a number short enough to say in a chat."},
    )

    id: int | None = Field(
        default=None,
        sa_type=BigInteger,
        primary_key=True,
        sa_column_args=[Identity(always=False)],
        sa_column_kwargs={"comment": "Small number that the database assigns."},
    )
    user_id: uuid.UUID = reference("User whose task it is.")
    title: str = text_column("What is to be done; not blank.")
    description: str | None = optional(Text, "More about it, or null.")
    completed: bool = Field(
        default=False,
        sa_type=Boolean,
        nullable=False,
        sa_column_kwargs={"server_default": text("false"), "comment": "Whether it is done."},
    )
    created_at: datetime = timestamp("When the row was written.")
    updated_at: datetime = changed_at()
    due_at: datetime | None = optional(DateTime(timezone=True), "When it is to be done, or null.")
    priority: int = Field(
        default=0,
        sa_type=SmallInteger,
        nullable=False,
        sa_column_kwargs={
            "server_default": text("0"),
            "comment": "1 is the highest, 9 the lowest; 0 says nothing.",
        },
    )
    completed_at: datetime | None = optional(
        DateTime(timezone=True),
        "When it was done, kept by the database; null where it is not, or nobody knows.",
        # A trigger sets it: RETURNING brings it back.
        server_default=FetchedValue(),
        server_onupdate=FetchedValue(),
    )

    user: User = Relationship(sa_relationship_kwargs=_ASKED_FOR)


_USERS, _CONVERSATIONS, _MESSAGES, _TASKS = (
    cast("Table", entity.__table__)  # type: ignore[union-attr]
    for entity in (User, Conversation, Message, Task)
)

Index("ix_users_email_lower", func.lower(_USERS.c.email), unique=True)
Index(
    "ix_messages_conversation_created",
    _MESSAGES.c.conversation_id,
    _MESSAGES.c.created_at.desc(),
    _MESSAGES.c.id.desc(),
)
_NEWEST_TASKS = (_TASKS.c.user_id, _TASKS.c.created_at.desc(), _TASKS.c.id.desc())
Index("ix_tasks_user_created", *_NEWEST_TASKS)
Index("ix_tasks_user_created_open", *_NEWEST_TASKS, postgresql_where=text("NOT completed"))

for _table in (_USERS, _CONVERSATIONS, _MESSAGES):
    server_side.make_keys(_table)
for _table in (_USERS, _CONVERSATIONS, _TASKS):
    server_side.keep_updated_at(_table)
server_side.keep_completed_at(_TASKS)
server_side.know_the_owner(_MESSAGES)
