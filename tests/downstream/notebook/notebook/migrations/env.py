"""Alembic's environment: `migrate` gives the connection."""

from alembic import context
from notebook.models import SQLModel

context.configure(connection=context.config.attributes["connection"], target_metadata=SQLModel.metadata)
with context.begin_transaction():
    context.run_migrations()
