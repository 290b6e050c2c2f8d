"""`wait`: until somebody else has upgraded the database, blocking and as a coroutine."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from todo_schema.answers import check_database
from todo_schema.changes import DEFAULT_TIMEOUT
from todo_schema.connections import blocking, in_greenlet, in_loop
from todo_schema.errors import (
    DatabaseUnreachableError,
    InsufficientPrivilegeError,
    MigrationLockedError,
    SchemaNotFoundError,
    SchemaOutdatedError,
    TodoSchemaError,
    UnversionedSchemaError,
)
from todo_schema.reports import Progress, ignore, tell

if TYPE_CHECKING:
    from todo_schema.compatibility import State
    from todo_schema.connections import Address, AsyncAddress, Database
    from todo_schema.reports import Listener

# What another process's upgrade puts right. The right to read may be granted just after the tables are made.
_PASSING = (
    DatabaseUnreachableError,
    InsufficientPrivilegeError,
    MigrationLockedError,
    SchemaNotFoundError,
    SchemaOutdatedError,
    UnversionedSchemaError,
)

_FIRST_PAUSE = 0.1  # seconds
_LONGEST_PAUSE = 1.0


def wait(
    url: Address,
    *,
    schema: str | None = None,
    timeout: float = DEFAULT_TIMEOUT,
    pooler: bool | None = None,
    progress: Listener | None = None,
) -> State:
    """Wait until this package can work with the database: somebody else upgrades it. Changes nothing.

    For services whose role may not change tables, and for init containers. It waits for the server to come up,
    for the tables to be made, and for the right to read the version.

    Args:
        url: As for `upgrade`.
        schema: As for `upgrade`.
        timeout: How long to wait, in seconds. The last look may take longer by as much as the server keeps it waiting:
            the connect timeout of the URL (10 s unless it says otherwise), or 7 s for a lock.
        pooler: As for `upgrade`.
        progress: Called with a `Progress` whenever what it waits for changes.

    Returns:
        `current`, or `ahead`: newer and compatible.

    Raises:
        SchemaTooNewError: The database has dropped what this package needs: raised at once, waiting cannot help.
        SchemaOutdatedError: It was still empty or older at the end of the timeout.
        DatabaseUnreachableError: Nobody answered before the end of the timeout.
        TodoSchemaError: Whatever else `check` raises: at once, where waiting cannot help.

    """
    database = blocking(url, schema=schema, pooler=pooler)
    del url
    return _wait(database, timeout, progress or ignore)


async def wait_async(
    url: AsyncAddress,
    *,
    schema: str | None = None,
    timeout: float = DEFAULT_TIMEOUT,  # noqa: ASYNC109  # as for `wait`; asyncio.timeout works as well
    pooler: bool | None = None,
    progress: Listener | None = None,
) -> State:
    """Do what `wait` does in a running event loop."""
    database = in_loop(url, schema=schema, pooler=pooler)
    del url
    return await in_greenlet(lambda: _wait(database, timeout, progress or ignore))


def _wait(database: Database, timeout: float, progress: Listener) -> State:
    deadline = time.monotonic() + timeout
    pause = _FIRST_PAUSE
    told = ""
    while True:
        problem: TodoSchemaError
        try:
            return check_database(database)
        except _PASSING as error:
            problem = error
        left = deadline - time.monotonic()
        if left <= 0:
            raise problem
        if problem.found != told:
            told = problem.found
            said = f"waiting: found {problem.found}; needed {problem.needed}"
            tell(progress, Progress("waiting", "", said))
        database.sleep(min(pause, left))
        pause = min(pause * 2, _LONGEST_PAUSE)
