"""AuditEng's connections: one pool, from which its own sessions and those on todo_schema's tables come."""

import os

from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from auditeng.models import TODO_SCHEMA
from todo_schema import session_factory

engine = create_async_engine(os.environ["DATABASE_URL"])

# For AuditEng's own tables, in `public`.
sessions = async_sessionmaker(engine, expire_on_commit=False)

# For todo_schema's, and only for these: a table without a schema is looked for in `todo`.
chat_sessions = session_factory(engine, schema=TODO_SCHEMA)
