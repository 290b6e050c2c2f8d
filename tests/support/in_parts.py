"""Revisions of several parts, one of each kind, up and down: what a run leaves, how it dies, and how it goes on."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from tests.support import forker
from tests.support.contracting import Asked, Question, recorded
from tests.support.faults import Fault, moments_of
from tests.support.online import facts, revision_file
from tests.support.packages import BELOW_CONTRACT, CONTRACT
from tests.support.proxy import Moment, Proxy
from tests.support.revisions import CONTRACT_HEAD, CONTRACTS, NEXT, NEXT_VERSION
from tests.support.servers import Server, execute
from tests.support.states import rows
from tests.support.ways import Call
from todo_schema import upgrade
from todo_schema.catalog import Catalog
from todo_schema.compatibility import HEAD

# Shut by whoever holds the advisory lock; nobody waits for that in a lock, which has a timeout.
GATE = """
CREATE OR REPLACE FUNCTION gate(number int, value int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN
    WHILE NOT pg_try_advisory_lock_shared(4711, number) LOOP PERFORM pg_sleep(0.01); END LOOP;
    PERFORM pg_advisory_unlock_shared(4711, number);
    RETURN value;
END $$
"""
# A part of each kind, and on the way back too. Three batches of seventy rows: 10, 20 and 40.
ADD = f"""
op.execute({GATE!r})
op.add_column("tasks", sa.Column("n", sa.Integer(), server_default="0"))
operations.create_index(op, "ix_n", "tasks", ["gate(1, n)"])
operations.add_check(op, "ck_n", "tasks", "gate(2, n) >= 0")
operations.backfill(op, "tasks", {{"n": "n + gate(CASE WHEN id BETWEEN 11 AND 30 THEN 3 ELSE 0 END, 1)"}},
                    where="true", batch=10)
operations.set_not_null(op, "tasks", "n")
operations.add_unique(op, "uq_n", "tasks", ["id", "n"])
op.execute("COMMENT ON COLUMN tasks.n IS 'done'")
"""
REMOVE = """
operations.backfill(op, "tasks", {"title": "title || '+'"}, where="true", batch=10)
operations.drop_index(op, "ix_n", "tasks")
op.drop_column("tasks", "n")
operations.create_index(op, "ix_title", "tasks", ["title"])
operations.drop_index(op, "ix_title", "tasks")
"""
NARROW = """
operations.create_index(op, "ix_narrow", "tasks", ["gate(1, n)"])
operations.backfill(op, "tasks", {"title": "title || '+'"}, where="true", batch=10)
op.drop_column("tasks", "description")
"""
WIDEN = """
op.add_column("tasks", sa.Column("description", sa.Text(), comment="More about it, or null."))
operations.backfill(op, "tasks", {"title": "title || '+'"}, where="true", batch=10)
operations.drop_index(op, "ix_narrow", "tasks")
"""
REVISIONS = revision_file(NEXT, HEAD, ADD, REMOVE) | {
    name: text.replace(f'down_revision = "{NEXT}"', BELOW_CONTRACT)
    for name, text in revision_file(
        CONTRACT, NEXT, NARROW, WIDEN, requires=NEXT_VERSION, floor=NEXT_VERSION
    ).items()
}

SEED = """
INSERT INTO users (email) VALUES ('ada@example.com');
INSERT INTO tasks (user_id, title) SELECT id, 'x' FROM users, generate_series(1, 70)
"""

UP, DOWN = ("upgrade", {}), ("downgrade", {"to": HEAD})
NARROWED, WIDENED = ("contract", {}), ("downgrade", {"to": CONTRACT_HEAD})
WAYS: dict[str, Question] = {"up": UP, "down": DOWN, "contract": NARROWED, "widen": WIDENED}
# This package's own contract steps; the throw-away one alone is left then.
FINISHED: tuple[Question, ...] = (("contract", {"to": CONTRACT_HEAD}),) if CONTRACTS else ()
# What leads from the seeded database to where each way begins.
BEFORE: dict[str, tuple[Question, ...]] = {
    "up": (),
    "down": (UP,),
    "contract": (UP, *FINISHED),
    "widen": (UP, NARROWED),
}
# What only a part that is not done yet may send again.
MARKS = {
    "up": {
        1: "ADD COLUMN",
        2: 'INDEX CONCURRENTLY "ix_n"',
        3: "gate(2, n) >= 0",
        4: 'VALIDATE CONSTRAINT "ck_n"',
        5: "todo_rows",
        7: 'VALIDATE CONSTRAINT "todo_schema_not_null_tasks_n"',
        9: 'INDEX CONCURRENTLY "uq_n"',
    },
    "down": {
        1: "todo_rows",
        2: 'DROP INDEX CONCURRENTLY IF EXISTS "public"."ix_n"',
        3: "DROP COLUMN",
        4: 'INDEX CONCURRENTLY "ix_title"',
    },
}

Ended = tuple[Catalog, list[tuple[Any, ...]], list[tuple[Any, ...]], set[str]]


def seeded(server: Server) -> str:
    url = server.create_database()
    upgrade(url)
    execute(url, SEED)
    return url


def ended(url: str) -> Ended:
    """All that a run leaves: the catalogue, the rows, and what the history and the version table say."""
    tasks = execute(
        url, "SELECT to_jsonb(tasks) - 'created_at' - 'updated_at' - 'user_id' FROM tasks ORDER BY id"
    )
    unfit = execute(url, "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid")
    assert unfit == []
    return facts(url), tasks, rows(url, "revision, line, ordinal, action, floor"), recorded(url)


@contextmanager
def shut(url: str, gate: int) -> Iterator[None]:
    """Keep everybody from passing a gate during the block."""
    with psycopg.connect(url, autocommit=True, application_name="gate") as keeper:
        keeper.execute("SELECT pg_advisory_lock(4711, %s)", [gate])
        yield


def moments_by_kind(
    server: Server, package: Asked, call: Call, url: str, way: str
) -> list[tuple[int, Moment]]:
    """The moments of a run, of statements that begin alike those of the first only."""
    told: dict[int, str] = {}
    with Proxy(server, on_statement=lambda *said: told.update({said[1]: said[2]})) as proxy:
        package(call, proxy.url(url), WAYS[way])
    first = next(number for number, sql in told.items() if "pg_try_advisory" in sql)
    seen: dict[str, int] = {}
    kept = {}
    for number, sql in told.items():
        kind = "".join(sql.split())[:60]
        seen[kind] = seen.get(kind, 0) + 1
        if number > first and seen[kind] == 1:
            kept[number] = sql
    return moments_of(kept)


def dies(
    server: Server, package: Asked, call: Call, url: str, way: str, at: tuple[int | str, Moment], how: str
) -> dict[str, Any]:
    """Start a run whose process is killed, or whose backend is terminated, at one moment; return what became of it."""
    known = threading.Event()
    pids: list[int] = []

    def act(connection: int) -> None:
        known.wait()
        if how == "killed":
            forker.kill(pids[0])
        else:
            server.execute(f"SELECT pg_terminate_backend({proxy.backend_pid(connection)}, 5000)")

    fault = Fault(*at, act)
    with Proxy(server, on_statement=fault) as proxy:
        pids += package.start(call, proxy.url(url), WAYS[way])
        known.set()
        (outcome,) = package.outcomes()
    assert fault.happened, at
    return outcome


def goes_on(
    server: Server, package: Asked, call: Call, url: str, way: str, clean: dict[str, Ended], at: object
) -> None:
    """Assert that the next run does what is left, and that alone."""
    before = [action for (action,) in rows(url, "action")]
    # A process that is gone may have left a session that is still at work.
    with Proxy(server) as proxy:
        (report,) = package(call, proxy.url(url), WAYS[way])
        sent = [sql for _, sql in proxy.statements]
    assert "error" not in report, (at, report)
    assert ended(url) == clean[way], at
    kind = "undo" if way == "down" else "part"
    for number, mark in MARKS.get(way, {}).items():
        if any(re.fullmatch(rf"{kind} {number} of \d+(, \d+ rows)?", action) for action in before):
            assert [sql for sql in sent if mark in sql] == [], (at, number)
