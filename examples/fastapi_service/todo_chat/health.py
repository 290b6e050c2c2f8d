"""Whether the process lives, and whether it can be given requests."""

import asyncio

from fastapi import APIRouter, Response
from pydantic import BaseModel

from todo_chat.dependencies import sessions
from todo_schema import SCHEMA_VERSION, TodoSchemaError, __version__, status_async

router = APIRouter(tags=["health"])


class Readiness(BaseModel):
    """How the database stands to the todo_schema of this replica: `ahead` is newer, and all right."""

    ready: bool
    state: str
    found: int | None = None
    needed: int = SCHEMA_VERSION
    package: str = __version__
    detail: str | None = None


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """Answer. Without the database: to restart a process does not mend that one."""
    return {"status": "alive"}


@router.get("/readyz", responses={503: {"model": Readiness}})
async def readyz(response: Response) -> Readiness:
    """Say whether this replica can use the database as it is now."""
    try:
        async with asyncio.timeout(5):
            found = await status_async(sessions.engine)
    except (TodoSchemaError, TimeoutError) as error:
        answer = Readiness(ready=False, state="unknown", detail=getattr(error, "found", "no answer in 5 s"))
    else:
        answer = Readiness(ready=found.usable, state=found.state, found=found.database_version)
    response.status_code = 200 if answer.ready else 503
    return answer
