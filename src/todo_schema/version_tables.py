"""The tables of our own bookkeeping: which revisions a database is at, and how it came there.

There is no `from __future__ import annotations` here: SQLModel reads the annotations as objects.
"""

from datetime import datetime, timedelta

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Identity,
    Integer,
    Interval,
    PrimaryKeyConstraint,
    Text,
    text,
)
from sqlmodel import Field

from todo_schema.model_base import TodoBase, text_column, timestamp


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
    revision: str = text_column("Revision, or base where everything was undone.")
    line: str = text_column("Line of revisions: expand or contract.")
    ordinal: int = Field(
        sa_type=Integer, nullable=False, sa_column_kwargs={"comment": "Number of the revision in its line."}
    )
    action: str = text_column("What was done: upgrade, downgrade, stamp or adopt.")
    floor: int = Field(
        sa_type=Integer,
        nullable=False,
        sa_column_kwargs={"comment": "Oldest schema version whose package may use the database since then."},
    )
    package_version: str = text_column("Version of the package that did it.")
    checksum: str | None = Field(
        default=None, sa_type=Text, sa_column_kwargs={"comment": "SHA-256 of the revision file."}
    )
    applied_at: datetime = timestamp("When.", server_default=text("clock_timestamp()"))
    duration: timedelta = Field(
        sa_type=Interval, nullable=False, sa_column_kwargs={"comment": "How long it took."}
    )
    host: str = text_column("Machine that did it.")
    role: str = Field(
        default=None,
        sa_type=Text,
        nullable=False,
        sa_column_kwargs={"server_default": text("CURRENT_USER"), "comment": "Database role that did it."},
    )
    application_name: str = text_column("Name that its connection carried.")
