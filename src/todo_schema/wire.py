"""Something that sends one statement to the database, whatever driver is behind it, and a transaction on it."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

# In one message with the BEGIN before it, so that not even a timeout of a few milliseconds comes in between.
# `transaction_timeout` exists since PostgreSQL 17.
WITHOUT_TIMEOUTS = (
    "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0; "
    "SELECT set_config('transaction_timeout', '0', true) "
    "WHERE current_setting('server_version_num')::int >= 170000"
)

# A server that has not begun a transaction by then has hung, or is out of reach.
_BEGUN_WITHIN = 10.0  # seconds

# Definitions are compared as text, and psycopg reads no other style of dates.
_PLAIN_OUTPUT = (
    "SET LOCAL standard_conforming_strings = on; SET LOCAL quote_all_identifiers = off; "
    "SET LOCAL datestyle = 'ISO'; SET LOCAL intervalstyle = 'postgres'"
)


class Wire(Protocol):
    """Something that sends one statement to the database."""

    def run(self, sql: str, *, limit: float | None = None) -> int:
        """Execute by the simple protocol; return the number of rows, as the command tag says it.

        A bare connection cancels what takes longer than `limit` seconds.
        """

    def fetch(self, sql: str) -> list[tuple[object, ...]]:
        """Execute and return the rows."""


@contextmanager
def transaction(wire: Wire) -> Iterator[None]:
    """Open a transaction to read in, on a connection that is in none, whatever the role's settings are.

    All of it sees one moment: version and tables go together, also while somebody migrates. No timeout of the
    host's ends it; a lock in the way does, after two seconds.
    """
    begin = f"BEGIN ISOLATION LEVEL REPEATABLE READ; {WITHOUT_TIMEOUTS}; {_PLAIN_OUTPUT}"
    wire.run(f"{begin}; SET LOCAL lock_timeout = '2s'", limit=_BEGUN_WITHIN)
    try:
        yield
    finally:
        with suppress(Exception):
            wire.run("ROLLBACK")
