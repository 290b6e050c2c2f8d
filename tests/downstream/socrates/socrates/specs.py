"""The tables in `socrates_specs`: a MetaData of their own, so that neither history sees the other's tables."""

import uuid
from datetime import datetime

from sqlalchemy import CheckConstraint, DateTime, Text, func
from sqlalchemy.orm import registry
from sqlmodel import Field, Relationship, SQLModel

from socrates.columns import timestamp


class SpecsBase(SQLModel, registry=registry()):
    """Base of what is in the second database."""


class Project(SpecsBase, table=True):
    """What somebody wants to build. `user_id` is a user's in the other database: no key can hold it."""

    __tablename__ = "projects"
    __table_args__ = (CheckConstraint("maturity_score BETWEEN 0 AND 100", name="ck_projects_maturity_score"),)

    id: uuid.UUID = Field(default_factory=uuid.uuid4, primary_key=True)
    user_id: uuid.UUID = Field(index=True)
    name: str = Field(max_length=255)
    description: str | None = Field(default=None, sa_type=Text)
    current_phase: str = Field(
        default="discovery", max_length=20, index=True, sa_column_kwargs={"server_default": "discovery"}
    )
    maturity_score: int = Field(default=0, index=True, sa_column_kwargs={"server_default": "0"})
    status: str = Field(
        default="active", max_length=20, index=True, sa_column_kwargs={"server_default": "active"}
    )
    created_at: datetime | None = timestamp()
    updated_at: datetime | None = timestamp(onupdate=func.now())


class Session(SpecsBase, table=True):
    """One sitting in which Socrates asks about a project."""

    __tablename__ = "sessions"

    id: uuid.UUID = Field(default_factory=uuid.uuid4, primary_key=True)
    project_id: uuid.UUID = Field(foreign_key="projects.id", ondelete="CASCADE", index=True)
    # The conversation in the other database.
    conversation_id: uuid.UUID | None = None
    mode: str = Field(default="socratic", max_length=20, sa_column_kwargs={"server_default": "socratic"})
    status: str = Field(
        default="active", max_length=20, index=True, sa_column_kwargs={"server_default": "active"}
    )
    started_at: datetime | None = timestamp(index=True)
    ended_at: datetime | None = Field(default=None, sa_type=DateTime(timezone=True))
    created_at: datetime | None = timestamp()
    updated_at: datetime | None = timestamp(onupdate=func.now())

    project: Project = Relationship()
