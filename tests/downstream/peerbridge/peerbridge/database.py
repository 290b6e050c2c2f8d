"""Where the database is: one variable, `DATABASE_URL=postgresql+asyncpg://…`, for the service and for Alembic."""

import os

from sqlalchemy import URL, make_url

from todo_schema import SessionFactory, session_factory


def async_url() -> str:
    """The URL as it is set."""
    return os.environ["DATABASE_URL"]


def sync_url() -> URL:
    """The same database for Alembic, which runs on psycopg."""
    return make_url(async_url()).set(drivername="postgresql+psycopg")


def sessions() -> SessionFactory:
    """The sessions of the service."""
    return session_factory(async_url(), service="peerbridge")
