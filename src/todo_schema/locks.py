"""The migration lock: a transaction on a connection of its own that holds an advisory lock.

Why in this form (each measured against its alternatives):

- The lock is *tried*, again and again from fresh transactions, never waited for in a statement: the
  snapshot of a waiting statement and a `CREATE INDEX CONCURRENTLY` wait for each other until one is killed.
- It belongs to a transaction, never to a session: behind a pooler in transaction mode two clients would get
  the same session's lock, and it would stay after both had gone.
- Its statements go by the simple protocol: a portal left open would keep a snapshot as well.
"""

import random
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from todo_schema.errors import MigrationLockedError
from todo_schema.quoting import identifier, literal
from todo_schema.wire import WITHOUT_TIMEOUTS, Wire

# The first half of the lock's key, "TODO" in ASCII; the second half is the schema of the installation.
# Every version of this package uses the same key, for ever.
LOCK_CLASS = 0x544F444F

_FIRST_PAUSE = 0.025  # seconds
_LONGEST_PAUSE = 1.0


class Session(NamedTuple):
    """Somebody else's connection: its process id, and what is known of it."""

    pid: str
    text: str


def lock_key(schema: str) -> int:
    """Return the second half of the advisory lock's key, a signed 32-bit number."""
    unsigned = zlib.crc32(schema.encode())
    return unsigned - 2**32 if unsigned >= 2**31 else unsigned


def try_lock_query(schema: str) -> str:
    """Return the statement that tries the lock; its command tag says one row where it succeeded."""
    return f"SELECT WHERE pg_try_advisory_xact_lock({LOCK_CLASS}, {lock_key(schema)})"


def acquire(
    wire: Wire,
    schema: str,
    *,
    timeout: float,
    sleep: Callable[[float], None],
    is_done: Callable[[], bool],
    waiting: Callable[[str], None],
) -> bool:
    """Take the migration lock on this connection, and keep it until `release` or until the connection ends.

    Args:
        wire: The guard's connection, in autocommit.
        schema: The schema of the installation.
        timeout: How long to wait at most, in seconds.
        sleep: Pauses for so many seconds.
        is_done: Asked before each further try; True ends the wait without the lock, since the holder did the work.
        waiting: Told once who holds the lock.

    Returns:
        True with the lock, False where `is_done` made it unnecessary.

    Raises:
        MigrationLockedError: Somebody else held it all the time. The message names them.

    """
    deadline = time.monotonic() + timeout
    pause = _FIRST_PAUSE
    first = True
    while not _try(wire, schema):
        if first:
            waiting(named(holders(wire, schema)))
            first = False
        left = deadline - time.monotonic()
        if left <= 0:
            found = holders(wire, schema)
            raise MigrationLockedError(
                f"the migration lock of schema {schema} was held for {timeout:g} s by {named(found)}",
                "the lock, to migrate alone",
                f"wait for that process and call again, give a longer timeout, or, if it hangs: {ended(found)}",
            )
        # Jitter keeps replicas that started together from knocking together.
        sleep(min(left, pause * random.uniform(0.5, 1.5)))  # noqa: S311  # not a secret
        pause = min(pause * 2, _LONGEST_PAUSE)
        if is_done():
            return False
    return True


def release(wire: Wire) -> None:
    """Give the lock back. A guard whose connection was lost has lost the lock already."""
    with suppress(Exception):
        wire.run("ROLLBACK")


def _try(wire: Wire, schema: str) -> bool:
    # READ COMMITTED whatever the role's default is: a snapshot for the whole transaction would make
    # CREATE INDEX CONCURRENTLY wait for the guard for ever.
    # The guard idles while the work is done elsewhere; no timeout of the host may end it meanwhile.
    wire.run(f"BEGIN ISOLATION LEVEL READ COMMITTED; {WITHOUT_TIMEOUTS}")
    if wire.run(try_lock_query(schema)) == 1:
        return True
    wire.run("ROLLBACK")
    return False


def named(found: list[Session]) -> str:
    """Return the sessions as a person reads them."""
    return ", ".join(session.text for session in found) or "a session that cannot be seen, or has just ended"


def ended(found: list[Session]) -> str:
    """Return the statements that end the sessions."""
    return " ".join(f"SELECT pg_terminate_backend({session.pid});" for session in found) or "call again"


def holders(wire: Wire, schema: str) -> list[Session]:
    """Name the sessions that hold the migration lock: pid, application_name, since when."""
    rows = wire.fetch(f"""
        SELECT a.pid, a.application_name, a.usename::text, a.client_addr::text, a.xact_start::text
        FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
        WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2
          AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND l.classid = {LOCK_CLASS} AND l.objid = {lock_key(schema) % 2**32}""")
    return [_session(row) for row in rows]


def table_holders(
    wire: Wire, schema: str | None, tables: frozenset[str], *, even_from_readers: bool = False
) -> list[Session]:
    """Name the other sessions that hold a lock on one of these tables.

    Args:
        wire: A connection whose transaction, if any, has not failed.
        schema: The schema of the tables; None looks them up in the search_path.
        tables: The tables.
        even_from_readers: Name only those that keep readers off, or will: readers queue behind who waits for that.

    """
    home = f"{identifier(schema)}." if schema is not None else ""
    names = ", ".join(literal(f"{home}{identifier(table)}") for table in sorted(tables))
    chosen = "l.mode = 'AccessExclusiveLock'" if even_from_readers else "l.granted"
    rows = wire.fetch(f"""
        SELECT DISTINCT a.pid, a.application_name, a.usename::text, a.client_addr::text, a.xact_start::text
        FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
        WHERE l.locktype = 'relation' AND {chosen} AND l.pid <> pg_backend_pid()
          AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND l.relation IN (SELECT to_regclass(name) FROM unnest(array[{names}]) AS name)""")
    return [_session(row) for row in rows]


def _session(row: tuple[object, ...]) -> Session:
    pid, application_name, role, address, since = row
    return Session(
        str(pid),
        f"pid {pid} ({application_name or 'no application_name'}, role {role}, "
        f"from {address or 'a local socket'}, since {since or 'a time that this role may not see'})",
    )
