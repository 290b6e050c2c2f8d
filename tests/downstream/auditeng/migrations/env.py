"""AuditEng's migration environment: Alembic's async template, less its comments."""

import asyncio
import os
from functools import partial
from logging.config import fileConfig

from alembic import context
from auditeng.models import TODO_SCHEMA, Base
from sqlalchemy import pool
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import async_engine_from_config

import todo_schema

config = context.config

if config.config_file_name is not None:
    fileConfig(config.config_file_name, disable_existing_loggers=False)

if url := os.environ.get("DATABASE_URL"):
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))

target_metadata = Base.metadata

# Our `users` and `tasks` in `public` are ours; those in the schema of todo_schema are not.
include_object = partial(todo_schema.include_object, schema=TODO_SCHEMA)


def run_migrations_offline() -> None:
    """Write the SQL script; `todo-schema sql --schema todo` writes what has to be run before it."""
    context.configure(
        url=config.get_main_option("sqlalchemy.url"),
        target_metadata=target_metadata,
        include_object=include_object,
        literal_binds=True,
        dialect_opts={"paramstyle": "named"},
    )
    with context.begin_transaction():
        context.run_migrations()


def do_run_migrations(connection: Connection) -> None:
    """Bring todo_schema's tables up to date, which ours refer to, and then run our own revisions."""
    todo_schema.upgrade(connection, schema=TODO_SCHEMA)
    context.configure(connection=connection, target_metadata=target_metadata, include_object=include_object)
    with context.begin_transaction():
        context.run_migrations()


async def run_async_migrations() -> None:
    """Connect, and run the migrations on that connection."""
    connectable = async_engine_from_config(
        config.get_section(config.config_ini_section, {}),
        prefix="sqlalchemy.",
        poolclass=pool.NullPool,
    )
    async with connectable.connect() as connection:
        await connection.run_sync(do_run_migrations)
    await connectable.dispose()


if context.is_offline_mode():
    run_migrations_offline()
else:
    asyncio.run(run_async_migrations())
