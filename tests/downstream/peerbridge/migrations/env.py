"""Alembic for PeerBridge, on psycopg; the service itself is async."""

from logging.config import fileConfig

import peerbridge.models  # noqa: F401  # fills SQLModel.metadata
from alembic import context
from peerbridge.database import sync_url
from sqlalchemy import create_engine, pool
from sqlmodel import SQLModel

import todo_schema

if context.config.config_file_name is not None:
    fileConfig(context.config.config_file_name, disable_existing_loggers=False)

OPTIONS = {"target_metadata": SQLModel.metadata, "include_object": todo_schema.include_object}


def run_migrations_offline() -> None:
    """Write the migrations as a script: `alembic upgrade head --sql`."""
    context.configure(url=sync_url(), literal_binds=True, dialect_opts={"paramstyle": "named"}, **OPTIONS)
    with context.begin_transaction():
        context.run_migrations()


def run_migrations_online() -> None:
    """Run the migrations."""
    engine = create_engine(sync_url(), poolclass=pool.NullPool)
    with engine.connect() as connection:
        context.configure(connection=connection, **OPTIONS)
        with context.begin_transaction():
            context.run_migrations()


if context.is_offline_mode():
    run_migrations_offline()
else:
    run_migrations_online()
