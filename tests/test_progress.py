"""What is told while a person waits: to a callback, and to the log of a service."""

import json
from pathlib import Path

import pytest

from tests.support.online import revision_file
from tests.support.packages import throwaway_package
from tests.support.processes import run_python
from tests.support.revisions import NEXT
from tests.support.servers import execute
from todo_schema import Progress, upgrade
from todo_schema.compatibility import HEAD

ROWS = 200
# A row takes 10 ms: the build lasts long enough to be looked at.
SLOW = f"""
CREATE FUNCTION slowly(bigint) RETURNS bigint LANGUAGE plpgsql IMMUTABLE
    AS $$ BEGIN PERFORM pg_sleep(0.01); RETURN $1; END $$;
INSERT INTO users (email) VALUES ('a@example.com');
INSERT INTO tasks (user_id, title) SELECT id, 'x' FROM users, generate_series(1, {ROWS});
"""
INDEX = 'operations.create_index(op, "ix_tasks_slowly", "tasks", ["slowly(id)"])'
FILL = r"""
operations.add_column(op, "tasks", sa.Column("note", sa.Text()))
operations.backfill(op, "tasks", {"note": "slowly(id)::text"}, where="note IS NULL", batch=20)
operations.add_check(op, "ck_tasks_note", "tasks", r"note ~ '\d'")
"""

PROGRAM = """
import asyncio, json, logging, sys
import todo_schema, todo_schema.work

todo_schema.work._LOG_EVERY = 0.0
told, logged = [], []

class Handler(logging.Handler):
    def emit(self, record):
        logged.append([record.levelname, record.getMessage(), getattr(record, "todo_schema", None)])

logging.getLogger("todo_schema").addHandler(Handler())
logging.getLogger("todo_schema").setLevel("INFO")

def listen(progress):
    told.append(progress.facts())
    if sys.argv[3] == "fails":
        raise LookupError("a listener that fails")

if sys.argv[2] == "psycopg":
    report = todo_schema.upgrade(sys.argv[1], progress=listen)
else:
    report = asyncio.run(todo_schema.upgrade_async(sys.argv[1], progress=listen))
print(json.dumps([told, logged, report.as_dict()]))
"""


@pytest.fixture
def slow(upgraded_database: str) -> str:
    execute(upgraded_database, SLOW)
    execute(upgraded_database, "ANALYZE tasks")
    return upgraded_database


def told_of(folder: Path, url: str, body: str, driver: str = "psycopg", listener: str = "works"):
    package = throwaway_package(folder, revision_file(NEXT, HEAD, body))
    done = run_python(PROGRAM, url, driver, listener, pythonpath=package)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_an_index_build_tells_how_far_it_has_come(slow: str, tmp_path: Path, driver: str):
    told, logged, _ = told_of(tmp_path, slow, INDEX, driver)
    building = [facts for facts in told if facts["event"] == "building" and facts["total"]]
    assert building
    assert {facts["revision"] for facts in building} == {NEXT}
    assert all(0 <= facts["done"] <= facts["total"] for facts in building)
    assert building[0]["text"].startswith(f"{NEXT} create index ix_tasks_slowly on tasks: building index")
    # A program that reads the log gets the same facts as a callback.
    structured = [facts for level, _, facts in logged if facts is not None]
    assert building[0] in structured


def test_a_backfill_tells_rows_rate_and_what_remains(slow: str, tmp_path: Path):
    told, logged, report = told_of(tmp_path, slow, FILL)
    filling = [facts for facts in told if facts["event"] == "backfilling" and facts["rate"]]
    assert filling
    for facts in filling:
        assert (facts["unit"], facts["total"]) == ("rows", ROWS)
        assert facts["seconds_left"] == pytest.approx(max(ROWS - facts["done"], 0) / facts["rate"])
    assert [facts["done"] for facts in filling] == sorted(facts["done"] for facts in filling)
    assert [facts["text"] for facts in told if facts["event"] == "validating"] == [
        f"{NEXT} validate ck_tasks_note of tasks"
    ]
    assert [facts["event"] for facts in told][:1] == ["applying"]
    assert told[-1]["event"] == "applied"
    assert [message for level, message, _ in logged if message.startswith(f"applying {NEXT} took")]
    assert report["version_after"] == int(NEXT)


def test_a_listener_that_fails_stops_nothing(slow: str, tmp_path: Path):
    told, logged, report = told_of(tmp_path, slow, FILL.replace("slowly(id)", "id"), listener="fails")
    assert report["after"] == "current"
    assert len(told) > 3
    assert any(level == "WARNING" and "progress callback failed" in message for level, message, _ in logged)


def test_where_there_is_nothing_to_do_nothing_is_told(upgraded_database: str):
    told: list[Progress] = []
    assert str(upgrade(upgraded_database, progress=told.append)).count("\n") == 0
    assert told == []
