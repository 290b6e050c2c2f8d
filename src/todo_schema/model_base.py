"""What the declarations of all our tables share.

There is no `from __future__ import annotations` here: SQLModel reads the annotations as objects.
"""

from typing import Any, ClassVar

from sqlalchemy import DateTime, Text, Uuid, func, text
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

# Of uuid_utils this module alone makes `uuid.UUID`s, which drivers and type checkers know.
from uuid_utils.compat import uuid7


class TodoBase(SQLModel, registry=registry(metadata=SQLModel.metadata)):
    """Base of our entities: a class registry of our own over SQLModel's shared MetaData.

    The shared MetaData lets a service write `Field(foreign_key="users.id")`; the registry of our own lets it
    have a class named `Message` too. A relationship to one of our entities names the class, not a string.
    """

    # The database writes the timestamps; RETURNING brings them back with the INSERT or UPDATE itself, so that
    # reading `updated_at` afterwards never needs a query (which an AsyncSession could not make: MissingGreenlet).
    __mapper_args__: ClassVar[dict[str, Any]] = {"eager_defaults": True}


def uuid_key() -> Any:
    """Declare a key of version 7, in the order of time: made in Python, or by the database where none is sent."""
    return Field(
        default_factory=uuid7,
        sa_type=Uuid,
        primary_key=True,
        sa_column_kwargs={
            "server_default": text("todo_schema_uuid7()"),
            # Without it a flush of several rows, whose default the database has too, is a statement for each.
            "insert_sentinel": True,
            "comment": "UUID of version 7; of version 4 in rows of before.",
        },
    )


def reference(comment: str) -> Any:
    """Declare what refers to a user or a conversation."""
    return Field(sa_type=Uuid, nullable=False, sa_column_kwargs={"comment": comment})


def text_column(comment: str) -> Any:
    """Declare a text that has to be there."""
    return Field(sa_type=Text, nullable=False, sa_column_kwargs={"comment": comment})


def optional(type_: Any, comment: str, **column: Any) -> Any:
    """Declare what may be null."""
    return Field(default=None, sa_type=type_, sa_column_kwargs={"comment": comment, **column})


def timestamp(comment: str, **column: Any) -> Any:
    """Declare a timestamptz that the database sets: `None` in Python means "not written yet"."""
    return Field(
        default=None,
        sa_type=DateTime(timezone=True),
        nullable=False,
        sa_column_kwargs={"server_default": func.now(), "comment": comment, **column},
    )


def changed_at() -> Any:
    """Declare when a row was last changed. The ORM sets it, which costs less than the trigger that would."""
    return timestamp("When the row was last changed.", onupdate=func.clock_timestamp())
