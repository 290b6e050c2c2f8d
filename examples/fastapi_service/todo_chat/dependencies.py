"""What the environment says, and what routes ask for: a session, and who is asking."""

import os
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Header, HTTPException
from sqlmodel.ext.asyncio.session import AsyncSession

from todo_schema import session_factory

if not (url := os.environ.get("DATABASE_URL")):
    raise RuntimeError("DATABASE_URL is not set: postgresql://user:password@host/database")

# Opens nothing before its first use.
sessions = session_factory(
    url,
    service="todo-chat",  # as `todo-schema clients` and pg_stat_activity call it
    schema=os.environ.get("DATABASE_SCHEMA") or None,  # the connection's own, usually public
    pooler={"1": True, "0": False}.get(os.environ.get("DATABASE_POOLER", "")),  # None finds out
)


async def current_user(x_user_id: Annotated[UUID | None, Header()] = None) -> UUID:
    """Believe the header. It stands for real authentication: a token that somebody has signed."""
    if x_user_id is None:
        raise HTTPException(401, "the header X-User-Id is missing")
    return x_user_id


# What a route does not commit is rolled back.
SessionDep = Annotated[AsyncSession, Depends(sessions.get_session)]
UserId = Annotated[UUID, Depends(current_user)]
