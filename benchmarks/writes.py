"""What it costs to write: 0.1 beside 0.2, each by its own code, on the same rows."""

import time

from tests.support.servers import execute

from benchmarks import figures, tables
from benchmarks.both_schemas import Both, rows_of
from benchmarks.operating import at_work, in_turns, round_trips
from benchmarks.our_programs import NEW, OLD, our_packages

TRANSACTIONS = 100
ROUNDS = 8
LOADS = 3

OPERATIONS = ("append a turn", "create a task", "complete a task")

# Into the tables as they are, with what they check; the keys and times are the server's.
_LOAD = """
INSERT INTO messages (conversation_id, user_id, role, content)
SELECT id, user_id, 'user', 'Buy milk and bread. ' FROM (SELECT id, user_id FROM conversations ORDER BY md5(id::text))
    AS conversations, generate_series(1, 10) LIMIT %s
"""
_UNLOAD = (
    "DELETE FROM messages WHERE content = 'Buy milk and bread. ' AND created_at > now() - interval '1 hour'"
)


def measure(both: Both) -> str:
    """Return the tables, as Markdown."""
    with our_packages(both) as packages:
        with at_work(packages) as working:
            costs = {name: in_turns(both.server, working, name, TRANSACTIONS, ROUNDS) for name in OPERATIONS}
        trips = {package.name: round_trips(both.server, package, OPERATIONS) for package in packages}
    header = (
        "a transaction",
        *(f"{part}, {version}" for part in ("statements", "round trips") for version in (OLD, NEW)),
        *(f"WAL, B, {version}" for version in (OLD, NEW)),
        *(f"server, {version}" for version in (OLD, NEW)),
        "server (0.1 = 1)",
        *(f"caller, {version}" for version in (OLD, NEW)),
    )
    rows = [
        (
            name,
            *(f"{by[version].statements:.0f}" for version in (OLD, NEW)),
            *(f"{trips[version][name]:.0f}" for version in (OLD, NEW)),
            *(f"{by[version].wal:,.0f}" for version in (OLD, NEW)),
            *(figures.duration(by[version].server_seconds) for version in (OLD, NEW)),
            tables.ratio(by[NEW].server_seconds / by[OLD].server_seconds),
            *(figures.duration(by[version].median) for version in (OLD, NEW)),
        )
        for name, by in costs.items()
    ]
    note = (
        f"{rows_of(both.filled)}. Means of {ROUNDS * TRANSACTIONS} transactions of each version, {TRANSACTIONS} of "
        "one and of the other in turns, each by its own released or checked-out code in a process of its own with "
        "one warm connection of asyncpg; what the caller waits for is a median. 0.1 does without a function what "
        "`append_messages` does: it sets the conversation's `updated_at`, and adds two messages. Statements are "
        "those that pg_stat_statements counts, without `BEGIN` and `COMMIT`; the server's time, a median of the "
        "rounds, includes these, triggers and foreign keys, and planning not; the round trips include them, and "
        "the pool's ping, which takes three. `synchronous_commit` and `full_page_writes` are off, so that neither "
        "the disk nor the last checkpoint counts."
    )
    return "\n\n".join(["## Writes", tables.table(header, rows), note, _loads(both)])


def _loads(both: Both) -> str:
    rows = max(20_000, both.filled.messages // 10)
    measured: dict[str, list[tuple[float, float]]] = {OLD: [], NEW: []}
    for _ in range(LOADS):
        for version, url in ((OLD, both.old), (NEW, both.new)):
            execute(url, "CHECKPOINT")
            measured[version].append(_load(url, rows))
            execute(url, _UNLOAD)
            execute(url, "VACUUM messages")
    best = {version: min(loads) for version, loads in measured.items()}
    ratio = tables.ratio(best[OLD][0] / best[NEW][0])
    header = ("a load of messages", "rows a second", "rows a second (0.1 = 1)", "WAL per row, B")
    lines = [
        (version, f"{rows / seconds:,.0f}", "1.00" if version == OLD else ratio, f"{wal / rows:,.0f}")
        for version, (seconds, wal) in best.items()
    ]
    note = (
        f"The best of {LOADS} loads of {rows:,} rows by one `INSERT … SELECT` into the filled tables, with all "
        "indexes, foreign keys and CHECKs; the keys are the database's defaults."
    )
    return "\n\n".join([tables.table(header, lines), note])


def _load(url: str, rows: int) -> tuple[float, float]:
    start = execute(url, "SELECT pg_current_wal_insert_lsn()")[0][0]
    started = time.perf_counter()
    execute(url, _LOAD, (rows,))
    seconds = time.perf_counter() - started
    return seconds, float(execute(url, "SELECT pg_current_wal_insert_lsn() - %s", (start,))[0][0])
