"""Runs the migrations of the todo chatbot on psycopg, whatever driver DATABASE_URL names."""

import os

import models  # noqa: F401  # fills the metadata
from alembic import context
from sqlalchemy import engine_from_config, pool
from sqlmodel import SQLModel

config = context.config
url = os.environ["DATABASE_URL"].replace("postgresql+asyncpg://", "postgresql://")
config.set_main_option(
    "sqlalchemy.url", url.replace("postgresql://", "postgresql+psycopg://", 1).replace("%", "%%")
)


def run_migrations_online() -> None:
    connectable = engine_from_config(
        config.get_section(config.config_ini_section, {}), prefix="sqlalchemy.", poolclass=pool.NullPool
    )
    with connectable.connect() as connection:
        context.configure(connection=connection, target_metadata=SQLModel.metadata)
        with context.begin_transaction():
            context.run_migrations()


run_migrations_online()
