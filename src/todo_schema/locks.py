"""The migration lock: a transaction on a connection of its own that holds an advisory lock.

Why in this form (each measured against its alternatives):

- The lock is *tried*, again and again from fresh transactions, never waited for in a statement: the
  snapshot of a waiting statement and a `CREATE INDEX CONCURRENTLY` wait for each other until one is killed.
- It belongs to a transaction, never to a session: behind a pooler in transaction mode two clients would get
  the same session's lock, and it would stay after both had gone.
- Its statements go by the simple protocol: a portal left open would keep a snapshot as well.
"""

import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from todo_schema.backoff import pauses
from todo_schema.errors import MigrationLockedError
from todo_schema.quoting import identifier, literal
from todo_schema.wire import WITHOUT_TIMEOUTS, Wire

# The first half of the migration lock's key, "TODO" in ASCII; the second half is the schema of the installation.
# Every version of this package uses the same key, for ever.
LOCK_CLASS = 0x544F444F
# That of the lock of whoever carries out deferred revisions, "TODD": no migration waits for it.
DEFERRED_CLASS = 0x544F4444

_NAMES = {LOCK_CLASS: "migration lock", DEFERRED_CLASS: "lock of deferred revisions"}

_FIRST_PAUSE = 0.025  # seconds
_LONGEST_PAUSE = 1.0


# What carries out deferred revisions says so by this at the end of its name: whoever needs its lock may cancel it.
DEFERRED_NAME = " (deferred)"

_COLUMNS = """a.pid, a.application_name, a.usename::text, a.client_addr::text, a.xact_start::text, a.state,
               extract(epoch FROM clock_timestamp() - a.xact_start)::int"""


class Session(NamedTuple):
    """Somebody else's connection: its process id, and what is known of it."""

    pid: str
    text: str
    gives_way: bool = False
    # Autovacuum has no role. What needs its lock makes it give way, by waiting for as long as `deadlock_timeout`.
    is_autovacuum: bool = False


def lock_key(schema: str) -> int:
    """Return the second half of the advisory lock's key, a signed 32-bit number."""
    unsigned = zlib.crc32(schema.encode())
    return unsigned - 2**32 if unsigned >= 2**31 else unsigned


def try_lock_query(schema: str, lock_class: int = LOCK_CLASS) -> str:
    """Return the statement that tries the lock; its command tag says one row where it succeeded."""
    return f"SELECT WHERE pg_try_advisory_xact_lock({lock_class}, {lock_key(schema)})"


def acquire(
    wire: Wire,
    schema: str,
    *,
    timeout: float,
    sleep: Callable[[float], None],
    is_done: Callable[[], bool],
    waiting: Callable[[str], None],
    lock_class: int = LOCK_CLASS,
) -> bool:
    """Take the migration lock on this connection, and keep it until `release` or until the connection ends.

    Args:
        wire: The guard's connection, in autocommit.
        schema: The schema of the installation.
        timeout: How long to wait at most, in seconds.
        sleep: Pauses for so many seconds.
        is_done: Asked before each further try; True ends the wait without the lock, since the holder did the work.
        waiting: Told once who holds the lock.
        lock_class: The lock of deferred work instead.

    Returns:
        True with the lock, False where `is_done` made it unnecessary.

    Raises:
        MigrationLockedError: Somebody else held it all the time. The message names them.

    """
    deadline = time.monotonic() + timeout
    waits = pauses(_FIRST_PAUSE, _LONGEST_PAUSE)
    first = True
    while not _try(wire, schema, lock_class):
        if first:
            waiting(named(holders(wire, schema, lock_class)))
            first = False
        left = deadline - time.monotonic()
        if left <= 0:
            found = holders(wire, schema, lock_class)
            raise MigrationLockedError(
                f"the {_NAMES[lock_class]} of schema {schema} was held for {timeout:g} s by {named(found)}",
                "the lock, to migrate alone",
                f"wait for that process and call again, give a longer timeout, or, if it hangs: {ended(found)}",
            )
        sleep(min(left, next(waits)))
        if is_done():
            return False
    return True


def release(wire: Wire) -> None:
    """Give the lock back. A guard whose connection was lost has lost the lock already."""
    with suppress(Exception):
        wire.run("ROLLBACK")


def take_too(
    wire: Wire, schema: str, *, lock_class: int, deadline: float, sleep: Callable[[float], None]
) -> None:
    """Take another lock in the transaction that holds the migration lock already. It is given back with that one.

    Raises:
        MigrationLockedError: Somebody else held it until the deadline. The message names them.

    """
    waits = pauses(_FIRST_PAUSE, _LONGEST_PAUSE)
    while wire.run(try_lock_query(schema, lock_class)) != 1:
        if time.monotonic() >= deadline:
            found = holders(wire, schema, lock_class)
            raise MigrationLockedError(
                f"the {_NAMES[lock_class]} of schema {schema} was held by {named(found)}",
                "that lock, since what is to be done builds on deferred revisions or undoes them",
                f"wait for that process and call again, give a longer timeout, or, if it hangs: {ended(found)}",
            )
        sleep(next(waits))


def _try(wire: Wire, schema: str, lock_class: int) -> bool:
    # READ COMMITTED whatever the role's default is: a snapshot for the whole transaction would make
    # CREATE INDEX CONCURRENTLY wait for the guard for ever.
    # The guard idles while the work is done elsewhere; no timeout of the host may end it meanwhile.
    wire.run(f"BEGIN ISOLATION LEVEL READ COMMITTED; {WITHOUT_TIMEOUTS}")
    if wire.run(try_lock_query(schema, lock_class)) == 1:
        return True
    wire.run("ROLLBACK")
    return False


def named(found: list[Session]) -> str:
    """Return the sessions as a person reads them."""
    return ", ".join(session.text for session in found) or "a session that cannot be seen, or has just ended"


def ended(found: list[Session]) -> str:
    """Return the statements that end the sessions."""
    return " ".join(f"SELECT pg_terminate_backend({session.pid});" for session in found) or "call again"


def holders(wire: Wire, schema: str, lock_class: int = LOCK_CLASS) -> list[Session]:
    """Name the sessions that hold the migration lock, or that of deferred work."""
    rows = wire.fetch(f"""
        SELECT {_COLUMNS}
        FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
        WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2
          AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND l.classid = {lock_class} AND l.objid = {lock_key(schema) % 2**32}""")
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
        SELECT DISTINCT {_COLUMNS}
        FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
        WHERE l.locktype = 'relation' AND {chosen} AND l.pid <> pg_backend_pid()
          AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND l.relation IN (SELECT to_regclass(name) FROM unnest(array[{names}]) AS name)""")
    return [_session(row) for row in rows]


def builders(wire: Wire, schema: str, table: str) -> list[Session]:
    """Name the other sessions that may be building an index of a table concurrently: they hold this lock all along.

    Autovacuum holds the same, and builds nothing.
    """
    rows = wire.fetch(f"""
        SELECT {_COLUMNS}
        FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
        WHERE l.locktype = 'relation' AND l.granted AND l.mode = 'ShareUpdateExclusiveLock'
          AND l.pid <> pg_backend_pid() AND a.usesysid IS NOT NULL
          AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND l.relation = to_regclass({literal(f"{identifier(schema)}.{identifier(table)}")})""")
    return [_session(row) for row in rows]


def blockers(wire: Wire, pid: int) -> list[Session]:
    """Name the sessions that another session waits for at this moment."""
    rows = wire.fetch(f"""
        SELECT {_COLUMNS}
        FROM unnest(pg_blocking_pids({pid})) AS blocking (pid) JOIN pg_stat_activity a ON a.pid = blocking.pid""")
    return [_session(row) for row in rows]


def _session(row: tuple[object, ...]) -> Session:
    pid, application_name, role, address, since, state, age = row
    known = f"{state} for {age} s, since {since}" if state and since else f"since {since}" if since else None
    return Session(
        str(pid),
        f"pid {pid} ({'autovacuum' if role is None else application_name or 'no application_name'}, role {role}, "
        f"from {address or 'a local socket'}, {known or 'since a time that this role may not see'})",
        str(application_name).startswith("todo-schema ") and str(application_name).endswith(DEFERRED_NAME),
        role is None,
    )
