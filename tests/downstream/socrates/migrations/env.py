"""Socrates' migration environment: the section of alembic.ini says which of the two databases is meant."""

from alembic import context
from socrates import auth, specs
from socrates.databases import url_of
from sqlalchemy import NullPool, create_engine

import todo_schema

metadata = {"auth": auth.User.metadata, "specs": specs.SpecsBase.metadata}
name = context.config.config_ini_section
options = {"target_metadata": metadata[name], "include_object": todo_schema.include_object}

if context.is_offline_mode():
    context.configure(url=url_of(name), literal_binds=True, **options)
    with context.begin_transaction():
        context.run_migrations()
else:
    engine = create_engine(url_of(name), poolclass=NullPool)
    with engine.connect() as connection:
        context.configure(connection=connection, **options)
        with context.begin_transaction():
            context.run_migrations()
