"""One run of a change: where, until when, and who listens."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sqlalchemy import Connection

from todo_schema import bookkeeping, catalog, inspection
from todo_schema.connections import Database
from todo_schema.drivers import TransactionWire, autocommit
from todo_schema.errors import MigrationLockedError
from todo_schema.inspection import Found
from todo_schema.reports import Listener, Progress, tell

_log = logging.getLogger("todo_schema")

# Of what goes on for long the log has a line only so often.
_GOING_ON = frozenset({"backfilling", "building", "retrying", "waiting"})
_LOG_EVERY = 10.0  # seconds

# A session waits between two tries, and while a revision file thinks; the setting exists since PostgreSQL 14.
NEVER_IDLE = (
    "SELECT set_config('idle_session_timeout', '0', false) "
    "WHERE current_setting('server_version_num')::int >= 140000"
)


@dataclass
class Work:
    """One run: where, until when, and who listens.

    Attributes:
        database: The database.
        schema: The schema of the installation.
        timeout: How long to wait for locks, in seconds.
        deadline: When to give up for want of a lock, on `time.monotonic`'s clock.
        listener: Told what happens.

    """

    database: Database
    schema: str
    timeout: float
    deadline: float
    listener: Listener
    _logged: dict[str, float] = field(default_factory=dict, init=False)

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Open the connection that does the work; the guard's own only guards."""
        with self.database.connection() as connection:
            with autocommit(connection) as wire:
                if not self.database.is_pooled(wire):
                    wire.run(NEVER_IDLE)
            yield connection

    def read(self, connection: Connection) -> Found:
        """Read what the database holds now."""
        with self.reading(connection) as wire:
            return inspection.read(wire, self.schema)

    def catalog(self, connection: Connection) -> catalog.Catalog:
        """Read the tables as they are now."""
        with self.reading(connection) as wire:
            return catalog.read(wire, self.schema)

    @contextmanager
    def reading(self, connection: Connection, *, read_only: bool = False) -> Iterator[TransactionWire]:
        """Open a transaction to read in, which sees one moment."""
        wire = TransactionWire(connection)
        with connection.begin():
            # Version and tables of one moment.
            wire.run(f"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ{', READ ONLY' if read_only else ''}")
            wire.run(bookkeeping.settings_statement(self.schema))
            yield wire

    def tell(self, progress: Progress) -> None:
        """Tell the listener and the log, but the log only now and then of one thing that goes on."""
        tell(self.listener, progress)
        if progress.event == "applied":
            return  # whoever did it says so
        since = time.monotonic() - self._logged.get(progress.event, -_LOG_EVERY)
        if progress.event in _GOING_ON and since < _LOG_EVERY:
            return
        self._logged[progress.event] = time.monotonic()
        _log.info("%s", progress, extra={"todo_schema": progress.facts()})

    def go_on(self) -> None:
        """Count the wait for locks anew, after a part that may have taken any time."""
        self.deadline = time.monotonic() + self.timeout

    def look_again(self) -> None:
        """Go on after the guard was lost and somebody else changed the version: nothing of ours was committed.

        Raises:
            MigrationLockedError: That went on until the deadline.

        """
        if time.monotonic() >= self.deadline:
            raise MigrationLockedError(
                f"the version in schema {self.schema} was changed by others again and again",
                "the version to stay as it is for the time of a step",
                "see who writes to todo_schema_version, and call again",
            )
