"""The table of our own."""

from sqlalchemy import BigInteger, ForeignKeyConstraint, Index
from sqlmodel import Field, SQLModel


class Note(SQLModel, table=True):
    """What somebody wrote on a task."""

    __tablename__ = "notes"
    __table_args__ = (
        ForeignKeyConstraint(["task_id"], ["tasks.id"], name="fk_notes_task", ondelete="CASCADE"),
        Index("ix_notes_task", "task_id", "id"),
    )

    id: int | None = Field(default=None, primary_key=True)
    task_id: int = Field(sa_type=BigInteger)
    text: str
