"""Who is signed in."""

import uuid
from datetime import datetime

from sqlalchemy import DateTime, func, text
from sqlmodel import Field, Relationship, SQLModel

from todo_schema import User


class AuthSession(SQLModel, table=True):
    __tablename__ = "auth_sessions"

    id: uuid.UUID = Field(default_factory=uuid.uuid4, primary_key=True)
    user_id: uuid.UUID = Field(foreign_key="users.id", ondelete="CASCADE", index=True)
    refresh_token: str = Field(unique=True)  # hashed
    expires_at: datetime = Field(sa_type=DateTime(timezone=True))
    is_revoked: bool = Field(default=False, sa_column_kwargs={"server_default": text("false")})
    created_at: datetime = Field(
        default=None, sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": func.now()}
    )

    user: User = Relationship()
