"""Columns that many tables have."""

from typing import Any

from sqlalchemy import DateTime, func
from sqlmodel import Field


def timestamp(*, index: bool = False, **column: Any) -> Any:
    """Declare a timestamptz that is the time at which the row is written."""
    return Field(
        default=None,
        sa_type=DateTime(timezone=True),
        nullable=False,
        index=index,
        sa_column_kwargs={"server_default": func.now(), **column},
    )
