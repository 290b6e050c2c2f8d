"""Sessions of therapy, and what is written in them.

Not to be mixed up with a session of SQLAlchemy, or a message to the assistant: those are todo_schema's.
"""

import uuid
from datetime import datetime

from sqlalchemy import DateTime, Text, func
from sqlmodel import Field, Relationship, SQLModel

from todo_schema import User


class Session(SQLModel, table=True):
    __tablename__ = "therapy_sessions"

    id: uuid.UUID = Field(default_factory=uuid.uuid4, primary_key=True)
    therapist_id: uuid.UUID = Field(foreign_key="users.id", ondelete="CASCADE", index=True)
    patient_id: uuid.UUID = Field(foreign_key="users.id", ondelete="CASCADE", index=True)
    starts_at: datetime = Field(sa_type=DateTime(timezone=True))

    therapist: User = Relationship(sa_relationship_kwargs={"foreign_keys": "Session.therapist_id"})
    patient: User = Relationship(sa_relationship_kwargs={"foreign_keys": "Session.patient_id"})
    messages: list["Message"] = Relationship(back_populates="session", passive_deletes="all")


class Message(SQLModel, table=True):
    __tablename__ = "peer_messages"

    id: uuid.UUID = Field(default_factory=uuid.uuid4, primary_key=True)
    session_id: uuid.UUID = Field(foreign_key="therapy_sessions.id", ondelete="CASCADE", index=True)
    author_id: uuid.UUID = Field(foreign_key="users.id", ondelete="CASCADE", index=True)
    body: str = Field(sa_type=Text)
    sent_at: datetime = Field(
        default=None, sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": func.now()}
    )

    session: Session = Relationship(back_populates="messages")
    author: User = Relationship()
