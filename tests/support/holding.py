"""Ways to stop one side of an interleaving at a chosen moment, while the other side goes on."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event

import psycopg

from tests.support.proxy import Moment
from tests.support.servers import execute
from tests.support.waiting import wait_for

_PATIENCE = 60  # seconds


class Hold:
    """Holds a proxy's client, once, at one moment of one statement, known by its number or by a part of its text.

    `reached` is set when it is held; it is held until `go` is set.
    """

    def __init__(self, statement: int | str, moment: Moment) -> None:
        """Wait for that moment."""
        self.statement = statement
        self.moment = moment
        self.reached = Event()
        self.go = Event()

    def __call__(self, _connection: int, number: int, sql: str, moment: Moment) -> None:
        """Be a proxy's `on_statement`."""
        is_it = self.statement in sql if isinstance(self.statement, str) else self.statement == number
        if is_it and moment == self.moment and not self.reached.is_set():
            self.reached.set()
            assert self.go.wait(_PATIENCE), "held for ever"


# Where the connect message of a session factory can be stopped on the server.
BEFORE_THE_LEASE = 1
BEFORE_THE_FLOOR = 2

# In front of pg_catalog in the search_path: what the message names without a schema is found here first.
_GATES = f"""
CREATE SCHEMA gates;
CREATE FUNCTION gates.pass(gate int) RETURNS boolean LANGUAGE plpgsql SET lock_timeout = 0 AS $$
BEGIN
    PERFORM pg_advisory_lock_shared(4711, gate);
    PERFORM pg_advisory_unlock_shared(4711, gate);
    RETURN true;
END $$;
CREATE FUNCTION gates.pg_try_advisory_lock_shared(class int, object int) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    RETURN gates.pass({BEFORE_THE_LEASE}) AND pg_catalog.pg_try_advisory_lock_shared(class, object);
END $$;
CREATE VIEW gates.todo_schema_history AS
    SELECT * FROM public.todo_schema_history WHERE gates.pass({BEFORE_THE_FLOOR});
DO $$ BEGIN
    EXECUTE format('ALTER DATABASE %I SET search_path = gates, pg_catalog, public', current_database());
END $$
"""


def build_gates(url: str) -> None:
    """Put a gate in front of the lease and one in front of the floor, for all that connect to a database."""
    execute(url, _GATES)


@contextmanager
def gate_shut(url: str, gate: int) -> Iterator[None]:
    """Keep everybody from passing a gate during the block."""
    with psycopg.connect(url, autocommit=True) as keeper:
        keeper.execute("SELECT pg_advisory_lock(4711, %s)", [gate])
        yield


def wait_at_gate(url: str) -> None:
    """Wait until somebody stands before a gate that is shut."""
    wait_for(
        lambda: execute(
            url,
            "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'",
        )
    )
