"""Gives values to the rows that are there already: by key, in batches, each a transaction of its own.

Where a batch ended is written in the transaction of the batch itself, so that a run that died goes on after the last
one that was committed: none is lost and none is done twice.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from todo_schema import bookkeeping, locks, watching
from todo_schema.backoff import pauses
from todo_schema.compatibility import HISTORY_TABLE
from todo_schema.driver_errors import DEADLOCK_DETECTED, LOCK_NOT_AVAILABLE, sqlstate
from todo_schema.errors import MigrationLockedError, SchemaDriftError
from todo_schema.parts import BY_A_REVISION, Backfill, do_statement, upper_query
from todo_schema.quoting import identifier, literal
from todo_schema.reports import Progress
from todo_schema.unfinished import PartRow, part_action, part_of
from todo_schema.wire import Wire
from todo_schema.work import Work

_AIM = 0.1  # seconds a batch
_SMALLEST, _LARGEST = 10, 100_000  # keys
LOCK_TIMEOUT_MS = 200
_LAG_BYTES = 64 << 20
# A standby that has stopped for good must not stop us for good.
_LONGEST_YIELD = 60.0  # seconds
_REPORT_EVERY = 0.5
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
_IN_THE_WAY = {LOCK_NOT_AVAILABLE, DEADLOCK_DETECTED}

T = TypeVar("T")


@dataclass(frozen=True)
class Place:
    """Whose part the backfill is, for its row of the history and for messages."""

    revision: str
    number: int
    count: int
    downward: bool


class TakenOverError(Exception):
    """The row of the history says what this run did not write: another process goes on with the backfill."""


def fill(work: Work, wire: Wire, part: Backfill, place: Place, row: PartRow) -> int:
    """Carry out a backfill from where it is. Returns the number of rows changed in all.

    Args:
        work: The run. Its timeout bounds the wait for one batch's locks.
        wire: A connection in autocommit.
        part: What is to be done.
        place: Whose part it is.
        row: The part's row of the history, which says how far it has come.

    Raises:
        TakenOverError: Another process goes on with it.
        MigrationLockedError: Rows were locked by others all the time.
        Exception: Whatever the server says; the batches that were committed stay.

    """
    home = f"{identifier(work.schema)}."
    key = identifier(part.key)
    table = f"{home}{identifier(part.table)}"

    def ask(query: str) -> tuple[object, ...]:
        (told,) = _patiently(work, wire, place, lambda: wire.fetch(query))
        return told

    kind, total, always, stop = ask(f"""
        SELECT format_type(a.atttypid, -1), c.reltuples::bigint, a.attnotnull,
               (SELECT {_as_text(key)} FROM {table} ORDER BY {key} DESC LIMIT 1)
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = {literal(part.key)}
        WHERE c.oid = to_regclass({literal(table)})""")
    if not always:
        raise SchemaDriftError(
            f"column {part.key} of {part.table}, which may be null",
            "a key that leads to every row: unique, never null, and with an index",
            "name the primary key as the key of the backfill",
        )
    report = _Report(work, part, place, int(str(total)), row.rows)
    batch = part.batch
    # Of a text key the first may be empty; as long as nothing has been changed that is the beginning too.
    last = row.key if row.key or row.rows else None
    yields = True
    while stop is not None:
        after = f"{key} > {literal(last)}::{kind}" if last is not None else "true"
        ends = f"{literal(str(stop))}::{kind}"
        uppers = upper_query(part, home, after, ends, batch)
        upper, lag = ask(f"SELECT {_as_text(f'({uppers})')}, {_lag_query()}")
        if upper is None:
            break
        if yields and int(str(lag)) > _LAG_BYTES:
            yields = _let_standbys_come(work, wire, place)
        bounds = f"({after}) AND {key} <= {literal(str(upper))}::{kind}"
        started = time.monotonic()
        _commit(work, wire, place, row, str(upper), part.update(home, bounds))
        took = time.monotonic() - started
        # Not from what was written just now: another process may have gone on from there already.
        row = part_of(ask(_row_query(work.schema, row.id)))
        if row.done:
            raise TakenOverError
        last = row.key
        report.batch(batch, row.rows)
        batch = resized(batch, took)
    return row.rows


def _as_text(value: str) -> str:
    """Return SQL for a value as text that means the same whatever DateStyle and TimeZone it is read back with."""
    return f"to_json({value}) #>> '{{}}'"


def resized(batch: int, took: float) -> int:
    """Return how many keys the next batch takes, for it to last about 100 ms: at most doubled, at least halved."""
    wanted = int(batch * _AIM / max(took, 0.001))
    return max(_SMALLEST, min(max(wanted, batch // 2), batch * 2, _LARGEST))


def _commit(work: Work, wire: Wire, place: Place, row: PartRow, upper: str, update: str) -> None:
    """Do one batch, and write down that it is done, together. Lets go and tries again where rows are locked."""
    table = f"{identifier(work.schema)}.{HISTORY_TABLE}"
    told = part_action(place.number, place.count, downward=place.downward, rows=0, key=upper)
    position = literal(told.removesuffix("0 rows"))
    body = f"""PERFORM FROM {table} WHERE id = {row.id} AND action = {literal(row.action)} FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'taken over' USING ERRCODE = '{_TAKEN_OVER}';
    END IF;
    {BY_A_REVISION};
    {update};
    GET DIAGNOSTICS todo_rows = ROW_COUNT;
    UPDATE {table} SET applied_at = clock_timestamp(),
        action = {position} || ({row.rows} + todo_rows) || ' rows' WHERE id = {row.id};"""
    block = do_statement(body, declare="todo_rows bigint;")
    # A row that another session has changed meanwhile is looked at again, whatever isolation the role prefers.
    begin = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED"
    settings = bookkeeping.settings_statement(work.schema, LOCK_TIMEOUT_MS)
    try:
        _patiently(work, wire, place, lambda: wire.run(f"{begin}; {settings}; {block}"))
    except Exception as error:
        if sqlstate(error) == _TAKEN_OVER:
            raise TakenOverError from error
        raise


def _patiently(work: Work, wire: Wire, place: Place, do: Callable[[], T]) -> T:
    """Do something that needs locks; let go, and try again, for as long as others hold them."""
    deadline = time.monotonic() + work.timeout
    try:
        return do()
    except Exception as error:
        if sqlstate(error) not in _IN_THE_WAY:
            raise
    waits = pauses(_FIRST_PAUSE, _LONGEST_PAUSE)
    ((pid,),) = wire.fetch("SELECT pg_backend_pid()")
    with watching.blockers(work, int(str(pid))) as seen:
        while True:
            found = list(seen.values())
            work.tell(
                Progress("retrying", place.revision, f"{place.revision} waits for {locks.named(found)}")
            )
            work.database.sleep(next(waits))
            seen.clear()
            try:
                return do()
            except Exception as error:
                if sqlstate(error) not in _IN_THE_WAY:
                    raise
                if time.monotonic() >= deadline:
                    raise _blocked(place, list(seen.values())) from error


def _blocked(place: Place, blockers: list[locks.Session]) -> MigrationLockedError:
    return MigrationLockedError(
        f"rows of a batch of revision {place.revision} were locked by {locks.named(blockers)}",
        f"these locks for at most {LOCK_TIMEOUT_MS / 1000:g} s at a time; the batches before it stay",
        f"let that session finish and call again, which goes on from this batch, or: {locks.ended(blockers)}",
    )


_TAKEN_OVER = "TDS01"


def _row_query(schema: str, row: int) -> str:
    return f"""SELECT id, action FROM {identifier(schema)}.{HISTORY_TABLE} WHERE id = {row}"""


def _lag_query() -> str:
    """Return SQL for how far the slowest standby is behind, in bytes of WAL, as far as this role may see."""
    return """coalesce((SELECT max(pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn)) FROM pg_stat_replication
        WHERE state = 'streaming'), 0)::bigint"""


def _let_standbys_come(work: Work, wire: Wire, place: Place) -> bool:
    """Wait for standbys that are behind; False where one did not come, for which nobody need wait any more."""
    ends = time.monotonic() + _LONGEST_YIELD
    while time.monotonic() < ends:
        ((lag,),) = wire.fetch(f"SELECT {_lag_query()}")
        if int(str(lag)) <= _LAG_BYTES:
            return True
        text = f"{place.revision} lets standbys come, which are {int(str(lag)) >> 20} MiB behind"
        work.tell(Progress("waiting", place.revision, text))
        work.database.sleep(0.5)
    return False


class _Report:
    """Tells how far a backfill has come: keys seen of about as many as the table has, and how fast."""

    def __init__(self, work: Work, part: Backfill, place: Place, total: int, before: int) -> None:
        self._work, self._part, self._place = work, part, place
        self._total = total if total > 0 else None
        self._seen, self._before = before, before
        self._started, self._told = time.monotonic(), 0.0

    def batch(self, keys: int, rows: int) -> None:
        """Count a batch."""
        self._seen += keys
        now = time.monotonic()
        if now - self._told < _REPORT_EVERY:
            return
        self._told = now
        rate = (self._seen - self._before) / max(now - self._started, 0.001)
        text = f"{self._place.revision} {self._part.about}: {rows} rows changed, {rate:.0f} rows/s"
        self._work.tell(
            Progress("backfilling", self._place.revision, text, self._seen, self._total, "rows", rate)
        )
