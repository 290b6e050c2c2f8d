"""What is wrong with a request, or with the database, as answers to a client."""

import json
import logging

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DBAPIError, InternalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from todo_schema import TodoSchemaError

log = logging.getLogger("uvicorn.error")

# By the first characters of https://www.postgresql.org/docs/current/errcodes-appendix.html
_ANSWERS = {
    "22": (422, "the database cannot hold such a value"),
    "23503": (401, "there is no user with the id in X-User-Id"),
    "23505": (409, "there is one already"),
    "23514": (422, "the database has a rule against it"),
    "08": (503, "the database is not available"),
    "57P": (503, "the database is not available"),
}


async def refused(_request: Request, error: DBAPIError) -> Response:
    """Answer by what the server said, and name its rule: `ck_tasks_title_not_blank` tells what was wrong."""
    state = getattr(error.orig, "sqlstate", None) or ""
    # An internal error that is not the server's: asyncpg's word for an answer that breaks off.
    if error.connection_invalidated or (isinstance(error, InternalError) and not state):
        state = "08"
    for states, (status, detail) in _ANSWERS.items():
        if state.startswith(states):
            cause = error.orig and error.orig.__cause__  # asyncpg's own error
            return _answer(status, detail=detail, rule=getattr(cause, "constraint_name", None))
    raise error


async def unavailable(_request: Request, error: Exception) -> Response:
    """Say that it may go another time, or with another replica; the log says why."""
    log.warning("503: %s: %s", type(error).__name__, error)
    return _answer(503, detail="the database is not available")


async def invalid(_request: Request, error: RequestValidationError) -> Response:
    """Say what is wrong, without what was sent: that may be 10 MB, or NaN, which no answer can hold."""
    return _answer(422, detail=[{key: e[key] for key in ("type", "loc", "msg")} for e in error.errors()])


def handle_problems(app: FastAPI) -> None:
    """Have what routes and sessions raise answered."""
    app.add_exception_handler(RequestValidationError, invalid)  # type: ignore[arg-type]
    app.add_exception_handler(DBAPIError, refused)  # type: ignore[arg-type]
    # Nobody listens; the pool is exhausted; todo_schema does not let this package in any more.
    for kind in (OSError, PoolTimeoutError, TodoSchemaError):
        app.add_exception_handler(kind, unavailable)


def _answer(status: int, **facts: object) -> Response:
    # ASCII: a name that was sent may be half a character.
    body = json.dumps({name: fact for name, fact in facts.items() if fact is not None})
    return Response(body, status, media_type="application/json")
