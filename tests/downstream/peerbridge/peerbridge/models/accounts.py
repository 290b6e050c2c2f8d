"""What PeerBridge knows of a user, beside the address."""

import enum
import uuid
from datetime import datetime

from sqlalchemy import DateTime, Enum, Text, func, text
from sqlmodel import Field, Relationship, SQLModel

from todo_schema import User


class Role(enum.StrEnum):
    therapist = "therapist"
    patient = "patient"
    admin = "admin"


class Account(SQLModel, table=True):
    __tablename__ = "accounts"

    user_id: uuid.UUID = Field(primary_key=True, foreign_key="users.id", ondelete="CASCADE")
    hashed_password: str = Field(sa_type=Text)
    full_name: str = Field(max_length=255)
    name: str | None = Field(default=None, max_length=255)
    role: Role = Field(default=Role.patient, sa_type=Enum(Role, name="account_role"))
    is_active: bool = Field(default=True, sa_column_kwargs={"server_default": text("true")})
    created_at: datetime = Field(
        default=None, sa_type=DateTime(timezone=True), sa_column_kwargs={"server_default": func.now()}
    )
    updated_at: datetime = Field(
        default=None,
        sa_type=DateTime(timezone=True),
        sa_column_kwargs={"server_default": func.now(), "onupdate": func.now()},
    )

    user: User = Relationship()
