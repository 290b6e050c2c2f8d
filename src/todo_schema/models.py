"""The four entities, and the tables of our own bookkeeping.

Everything that a revision creates is declared here, with every constraint and index by name, so that a
service's `alembic revision --autogenerate` finds nothing of ours to add or to drop.

There is no `from __future__ import annotations` here: SQLModel reads the annotations as objects.
"""

import uuid
from datetime import datetime, timedelta
from typing import Any, ClassVar

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    DateTime,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    Interval,
    PrimaryKeyConstraint,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel


class TodoBase(SQLModel, registry=registry(metadata=SQLModel.metadata)):
    """Base of our entities: a class registry of our own over SQLModel's shared MetaData.

    The shared MetaData lets a service write `Field(foreign_key="users.id")`; the registry of our own lets it
    have a class named `Message` too. A relationship to one of our entities names the class, not a string.
    """

    # The database writes the timestamps; RETURNING brings them back with the INSERT or UPDATE itself, so that
    # reading `updated_at` afterwards never needs a query (which an AsyncSession could not make: MissingGreenlet).
    __mapper_args__: ClassVar[dict[str, Any]] = {"eager_defaults": True}


def _uuid_key(comment: str) -> Any:
    return Field(
        default_factory=uuid.uuid4,
        sa_type=Uuid,
        primary_key=True,
        sa_column_kwargs={"server_default": text("gen_random_uuid()"), "comment": comment},
    )


def _reference(comment: str) -> Any:
    return Field(sa_type=Uuid, nullable=False, sa_column_kwargs={"comment": comment})


def _text(comment: str) -> Any:
    return Field(sa_type=Text, nullable=False, sa_column_kwargs={"comment": comment})


def _timestamp(comment: str, **column: Any) -> Any:
    """Declare a timestamptz that the database sets: `None` in Python means "not written yet"."""
    return Field(
        default=None,
        sa_type=DateTime(timezone=True),
        nullable=False,
        sa_column_kwargs={"server_default": func.now(), "comment": comment, **column},
    )


class User(TodoBase, table=True):
    """A person who talks to the assistant; the owner of everything else.

    Attributes:
        id: Random UUID; the database makes one where the client sends none.
        email: The address that the person signs in with. Unique.
        created_at: When the row was written, UTC.
        updated_at: When the row was last changed through the ORM, UTC.

    """

    __tablename__ = "users"
    __table_args__ = (
        PrimaryKeyConstraint("id", name="pk_users"),
        CheckConstraint(r"email ~ '\S'", name="ck_users_email_not_blank"),
        Index("ix_users_email", "email", unique=True),
        {"comment": "People who talk to the assistant; the owners of everything else."},
    )

    id: uuid.UUID = _uuid_key("Random UUID.")
    email: str = _text("Address that the person signs in with; unique.")
    created_at: datetime = _timestamp("When the row was written.")
    updated_at: datetime = _timestamp("When the row was last changed.", onupdate=func.now())


class Conversation(TodoBase, table=True):
    """A thread of messages between one user and the assistant.

    Attributes:
        id: Random UUID; the database makes one where the client sends none.
        user_id: The user that the conversation belongs to. Deleting the user deletes it.
        created_at: When the row was written, UTC.
        updated_at: When the row was last changed through the ORM, UTC.

    """

    __tablename__ = "conversations"
    __table_args__ = (
        PrimaryKeyConstraint("id", name="pk_conversations"),
        ForeignKeyConstraint(
            ["user_id"], ["users.id"], name="fk_conversations_user_id_users", ondelete="CASCADE"
        ),
        Index("ix_conversation_user_id", "user_id"),
        {"comment": "Threads of messages between one user and the assistant."},
    )

    id: uuid.UUID = _uuid_key("Random UUID.")
    user_id: uuid.UUID = _reference("User that the conversation belongs to.")
    created_at: datetime = _timestamp("When the row was written.")
    updated_at: datetime = _timestamp("When the row was last changed.", onupdate=func.now())


class Message(TodoBase, table=True):
    """One turn of a conversation. Messages are written once and not changed.

    Attributes:
        id: Random UUID; the database makes one where the client sends none.
        conversation_id: The conversation that the message is part of. Deleting it deletes the message.
        user_id: The user whose conversation it is, also for what the assistant said.
        role: Who speaks: `user`, `assistant`, `system` or `tool`.
        content: What was said.
        created_at: When the row was written, UTC.

    """

    __tablename__ = "messages"
    __table_args__ = (
        PrimaryKeyConstraint("id", name="pk_messages"),
        ForeignKeyConstraint(
            ["conversation_id"],
            ["conversations.id"],
            name="fk_messages_conversation_id_conversations",
            ondelete="CASCADE",
        ),
        ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_messages_user_id_users", ondelete="CASCADE"),
        # A text with a CHECK, not an enum: a new label would make older SQLAlchemy code raise as it reads.
        CheckConstraint("role IN ('user', 'assistant', 'system', 'tool')", name="ck_messages_role_known"),
        Index("ix_message_conversation_id", "conversation_id"),
        Index("ix_message_user_id", "user_id"),
        Index("ix_message_created_at", "created_at"),
        {"comment": "Turns of the conversations; written once and not changed."},
    )

    id: uuid.UUID = _uuid_key("Random UUID.")
    conversation_id: uuid.UUID = _reference("Conversation that the message is part of.")
    user_id: uuid.UUID = _reference("User whose conversation it is, also for what the assistant said.")
    role: str = _text("Who speaks: user, assistant, system or tool.")
    content: str = _text("What was said.")
    created_at: datetime = _timestamp("When the row was written.")


class Task(TodoBase, table=True):
    """A thing to do, with a number short enough to say in a chat.

    Attributes:
        id: A small number that the database assigns: "task 12 is done".
        user_id: The user whose task it is. Deleting the user deletes it.
        title: What is to be done; not blank.
        description: More about it, or None.
        completed: Whether it is done.
        created_at: When the row was written, UTC.
        updated_at: When the row was last changed through the ORM, UTC.

    """

    __tablename__ = "tasks"
    __table_args__ = (
        PrimaryKeyConstraint("id", name="pk_tasks"),
        ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_tasks_user_id_users", ondelete="CASCADE"),
        CheckConstraint(r"title ~ '\S'", name="ck_tasks_title_not_blank"),
        Index("ix_task_user_id", "user_id"),
        Index("ix_task_completed", "completed"),
        Index("ix_task_user_completed", "user_id", "completed"),
        {"comment": "Things to do, with a number short enough to say in a chat."},
    )

    id: int | None = Field(
        default=None,
        sa_type=BigInteger,
        primary_key=True,
        sa_column_args=[Identity(always=False)],
        sa_column_kwargs={"comment": "Small number that the database assigns."},
    )
    user_id: uuid.UUID = _reference("User whose task it is.")
    title: str = _text("What is to be done; not blank.")
    description: str | None = Field(
        default=None, sa_type=Text, sa_column_kwargs={"comment": "More about it, or null."}
    )
    completed: bool = Field(
        default=False,
        sa_type=Boolean,
        nullable=False,
        sa_column_kwargs={"server_default": text("false"), "comment": "Whether it is done."},
    )
    created_at: datetime = _timestamp("When the row was written.")
    updated_at: datetime = _timestamp("When the row was last changed.", onupdate=func.now())


class SchemaVersion(TodoBase, table=True):
    """Which revisions this database is at: one row for each line of revisions.

    Attributes:
        version_num: The newest revision applied, `001`.

    """

    __tablename__ = "todo_schema_version"
    __table_args__ = (
        PrimaryKeyConstraint("version_num", name="pk_todo_schema_version"),
        {"comment": "Revision of todo_schema that this database is at; kept by the package."},
    )

    version_num: str = Field(
        sa_type=Text, primary_key=True, sa_column_kwargs={"comment": "Newest revision applied."}
    )


class SchemaHistory(TodoBase, table=True):
    """One row for each revision that was applied, undone or recorded, and for each part of one that has several.

    Rows are only ever added; that of a backfill tells how far it has come.

    Attributes:
        id: Order of the rows.
        revision: The revision, `001`; `base` where everything was undone.
        line: `expand` or `contract`.
        ordinal: The revision's number in its line; 0 for `base`.
        action: `upgrade`, `downgrade`, `stamp` or `adopt`; and what `unfinished` names.
        floor: The oldest schema version whose package may use the database since then.
        package_version: The version of todo_schema that did it.
        checksum: SHA-256 of the revision file with newlines normalised; None for `base`.
        applied_at: When, UTC.
        duration: How long it took.
        host: The machine that did it.
        role: The database role that did it.
        application_name: The name that its connection carried.

    """

    __tablename__ = "todo_schema_history"
    __table_args__ = (
        PrimaryKeyConstraint("id", name="pk_todo_schema_history"),
        CheckConstraint("line IN ('expand', 'contract')", name="ck_todo_schema_history_line_known"),
        CheckConstraint("floor >= 1", name="ck_todo_schema_history_floor_positive"),
        # `action` has none: a later package may do what this one has no word for.
        {"comment": "Revisions of todo_schema as they were applied here; only ever added to."},
    )

    id: int | None = Field(
        default=None,
        sa_type=BigInteger,
        primary_key=True,
        sa_column_args=[Identity(always=False)],
        sa_column_kwargs={"comment": "Order of the rows."},
    )
    revision: str = _text("Revision, or base where everything was undone.")
    line: str = _text("Line of revisions: expand or contract.")
    ordinal: int = Field(
        sa_type=Integer, nullable=False, sa_column_kwargs={"comment": "Number of the revision in its line."}
    )
    action: str = _text("What was done: upgrade, downgrade, stamp or adopt.")
    floor: int = Field(
        sa_type=Integer,
        nullable=False,
        sa_column_kwargs={"comment": "Oldest schema version whose package may use the database since then."},
    )
    package_version: str = _text("Version of the package that did it.")
    checksum: str | None = Field(
        default=None, sa_type=Text, sa_column_kwargs={"comment": "SHA-256 of the revision file."}
    )
    applied_at: datetime = _timestamp("When.", server_default=text("clock_timestamp()"))
    duration: timedelta = Field(
        sa_type=Interval, nullable=False, sa_column_kwargs={"comment": "How long it took."}
    )
    host: str = _text("Machine that did it.")
    role: str = Field(
        default=None,
        sa_type=Text,
        nullable=False,
        sa_column_kwargs={"server_default": text("CURRENT_USER"), "comment": "Database role that did it."},
    )
    application_name: str = _text("Name that its connection carried.")
