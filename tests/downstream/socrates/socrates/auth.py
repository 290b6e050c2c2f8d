"""The tables in `socrates_auth`, beside those of todo_schema, whose users they refer to."""

import uuid
from datetime import datetime

from sqlalchemy import DateTime, text
from sqlmodel import Field, Relationship, SQLModel

from socrates.columns import timestamp
from todo_schema import User as ChatUser


class User(SQLModel, table=True):
    """What a user signs in with. Whoever talks is todo_schema's User."""

    __tablename__ = "accounts"

    user_id: uuid.UUID = Field(foreign_key="users.id", ondelete="CASCADE", primary_key=True)
    hashed_password: str = Field(max_length=255)
    is_active: bool = Field(default=True, sa_column_kwargs={"server_default": text("true")})
    is_verified: bool = Field(default=False, sa_column_kwargs={"server_default": text("false")})
    status: str = Field(default="active", max_length=20, sa_column_kwargs={"server_default": "active"})
    role: str = Field(default="user", max_length=20, sa_column_kwargs={"server_default": "user"})
    created_at: datetime | None = timestamp()
    updated_at: datetime | None = timestamp()

    person: ChatUser = Relationship()


class RefreshToken(SQLModel, table=True):
    """A token that a new access token is given for."""

    __tablename__ = "refresh_tokens"

    id: uuid.UUID = Field(default_factory=uuid.uuid4, primary_key=True)
    user_id: uuid.UUID = Field(foreign_key="users.id", ondelete="CASCADE", index=True)
    token: str = Field(max_length=500, unique=True, index=True)
    expires_at: datetime = Field(sa_type=DateTime(timezone=True), index=True)
    is_revoked: bool = Field(default=False, sa_column_kwargs={"server_default": text("false")})
    created_at: datetime | None = timestamp()

    person: ChatUser = Relationship()
