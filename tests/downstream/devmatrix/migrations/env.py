"""Alembic for DevMatrix: the shared schema first, on the same connection, then our own revisions."""

from logging.config import fileConfig

from alembic import context
from devmatrix.database import engine
from devmatrix.models import Base

import todo_schema

if context.config.config_file_name is not None:
    fileConfig(context.config.config_file_name, disable_existing_loggers=False)

OPTIONS = {
    "target_metadata": Base.metadata,
    "include_object": todo_schema.include_object,
    "transaction_per_migration": True,
}

if context.is_offline_mode():
    context.configure(dialect_name="postgresql", literal_binds=True, **OPTIONS)
    with context.begin_transaction():
        context.run_migrations()
else:
    with engine().connect() as connection:
        todo_schema.upgrade(connection)
        context.configure(connection=connection, **OPTIONS)
        with context.begin_transaction():
            context.run_migrations()
