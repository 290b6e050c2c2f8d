"""Database models of the todo chatbot."""

import uuid
from datetime import datetime

from sqlalchemy import DateTime
from sqlmodel import Field, SQLModel


class User(SQLModel, table=True):
    """A person who talks to the bot."""

    __tablename__ = "users"

    id: uuid.UUID = Field(default_factory=uuid.uuid4, primary_key=True, index=True, unique=True)
    email: str = Field(unique=True, index=True, max_length=255)
    created_at: datetime = Field(default_factory=datetime.utcnow, sa_type=DateTime)
    updated_at: datetime = Field(default_factory=datetime.utcnow, sa_type=DateTime)


class Conversation(SQLModel, table=True):
    """A chat session of a user."""

    __tablename__ = "conversations"

    id: uuid.UUID = Field(default_factory=uuid.uuid4, primary_key=True)
    user_id: uuid.UUID = Field(foreign_key="users.id", ondelete="CASCADE")
    created_at: datetime = Field(default_factory=datetime.utcnow, sa_type=DateTime)
    updated_at: datetime = Field(default_factory=datetime.utcnow, sa_type=DateTime)


class Message(SQLModel, table=True):
    """One turn of a conversation."""

    __tablename__ = "messages"

    id: uuid.UUID = Field(default_factory=uuid.uuid4, primary_key=True)
    conversation_id: uuid.UUID = Field(foreign_key="conversations.id", ondelete="CASCADE")
    user_id: uuid.UUID = Field(foreign_key="users.id", ondelete="CASCADE")
    role: str = Field(max_length=20)
    content: str
    created_at: datetime = Field(default_factory=datetime.utcnow, sa_type=DateTime)


class Task(SQLModel, table=True):
    """A todo item; its number is short enough to say in a chat."""

    __tablename__ = "tasks"

    id: int | None = Field(default=None, primary_key=True)
    user_id: uuid.UUID = Field(foreign_key="users.id", ondelete="CASCADE")
    title: str = Field(max_length=500)
    description: str | None = None
    completed: bool = False
    created_at: datetime = Field(default_factory=datetime.utcnow, sa_type=DateTime)
    updated_at: datetime = Field(default_factory=datetime.utcnow, sa_type=DateTime)
