"""The service: what happens at its boot and at its end, and what it is made of."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from todo_chat import conversations, health, tasks, users
from todo_chat.dependencies import sessions
from todo_chat.problems import handle_problems
from todo_schema import upgrade_async

log = logging.getLogger("uvicorn.error")


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    """Bring the tables up to date, from every replica at every boot; at the end close the connections.

    What upgrade_async raises, such as SchemaTooNewError, ends the boot: found, needed and cure are in the log.
    """
    async with sessions:
        # The engine knows the URL, the schema and the pooler. The database may come up later than we do.
        log.info("database: %s", await upgrade_async(sessions.engine, connect_retry=30))
        yield


app = FastAPI(title="todo-chat", lifespan=lifespan)
for part in (health, users, conversations, tasks):
    app.include_router(part.router)
handle_problems(app)
