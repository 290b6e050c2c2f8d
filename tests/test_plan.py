"""What `plan` says of each pending step: parts, locks, sizes, need; and what is said elsewhere of what was left."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import contracting, packages
from tests.support.catalog_dump import dump
from tests.support.commands import call_of, on_a_terminal
from tests.support.contracting import Asked, everything
from tests.support.online import AFTER, revision_file
from tests.support.psql import apply, psql
from tests.support.revisions import NEXT, NEXT_VERSION
from tests.support.servers import Server, execute
from tests.support.ways import asyncpg, psycopg
from todo_schema import upgrade
from todo_schema.compatibility import HEAD
from todo_schema.exits import Exit

COST = "Newest messages stay slow."
INDEX = "ix_messages_newest"
BUILD = f'operations.create_index(op, "{INDEX}", "messages", ["conversation_id", "created_at DESC"])'
DROP = f'operations.drop_index(op, "{INDEX}", "messages")'
NOTE = """
operations.add_column(op, "tasks", sa.Column("note", sa.Text()))
operations.backfill(op, "tasks", {"note": "title"}, where="note IS NULL")
operations.add_check(op, "ck_tasks_note_short", "tasks", "length(note) < 1000")
"""
NO_NOTE = """
operations.drop_constraint(op, "ck_tasks_note_short", "tasks")
operations.drop_column(op, "tasks", "note")
"""
FILES = revision_file(NEXT, HEAD, BUILD, DROP, deferred=COST) | revision_file(AFTER, NEXT, NOTE, NO_NOTE)


@pytest.fixture(scope="module")
def package(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package with a deferred index after the head, and then a column with a backfill and a CHECK."""
    folder = packages.throwaway_package(tmp_path_factory.mktemp("plan"), FILES)
    packages.write_catalogues(folder, server)
    return folder


@pytest.fixture(scope="module")
def asked(package: Path) -> Iterator[Asked]:
    with contracting.asked(package) as running:
        yield running


@pytest.fixture
def filled(upgraded_database: str) -> str:
    """A database at the head, with a thousand tasks of one user, counted."""
    execute(
        upgraded_database,
        "INSERT INTO users (email) VALUES ('a@example.com'); "
        "INSERT INTO tasks (user_id, title) SELECT id, 'x' FROM users, generate_series(1, 1000)",
    )
    execute(upgraded_database, "ANALYZE tasks")
    return upgraded_database


@pytest.mark.parametrize("call", [psycopg, asyncpg], ids=["psycopg", "asyncpg"])
def test_each_step_says_its_parts_its_locks_its_need_and_how_large_its_tables_are(
    filled: str, asked: Asked, call
):
    before = everything(filled)
    (plan,) = asked(call, filled, "plan")
    assert everything(filled) == before
    index, note = plan["steps"]
    assert (index["revision"], index["deferred"], note["deferred"]) == (NEXT, COST, None)
    assert index["parts"] == [
        {
            "about": f"create index {INDEX} on messages",
            "kind": "concurrent",
            "locks": ["SHARE UPDATE EXCLUSIVE on messages"],
            "scans": ["messages"],
            "rewrites": [],
            "known": True,
        }
    ]
    assert [(part["kind"], part["locks"], part["scans"]) for part in note["parts"]] == [
        ("transaction", ["ACCESS EXCLUSIVE on tasks"], []),
        ("backfill", ["ROW EXCLUSIVE on tasks"], ["tasks"]),
        ("transaction", ["ACCESS EXCLUSIVE on tasks"], []),
        ("validation", ["SHARE UPDATE EXCLUSIVE on tasks"], ["tasks"]),
    ]
    ((table),) = note["tables"]
    ((size,),) = execute(filled, "SELECT pg_total_relation_size('tasks')")
    assert table == {"table": "tasks", "rows": 1000, "bytes": size}
    assert "CREATE INDEX CONCURRENTLY" in index["sql"]


def test_the_command_says_it_for_a_person_and_status_what_was_left(filled: str, package: Path):
    plan, done, status, again, only, nothing, as_json = call_of(
        package,
        filled,
        *("plan", "upgrade --skip-deferred", "status", "plan", "upgrade --deferred-only"),
        *("upgrade --deferred-only", "status --json"),
    )
    assert f"\n  {NEXT} Revision {NEXT} of a test (deferred; left undone: {COST})\n" in plan.stdout
    assert "\n    tasks: about 1,000 rows, " in plan.stdout
    assert "\n    older packages: do not see it.\n" in plan.stdout
    assert f"\n  left for later: {NEXT} Revision {NEXT} of a test. Left: {COST}\n" in done.stdout
    assert f"{NEXT} deferred: {COST}\n" in done.stderr
    assert f"\ndeferred  {NEXT} Revision {NEXT} of a test. Left: {COST}\n" in status.stdout
    assert "\ndiffers" not in status.stdout
    assert again.stdout.startswith(
        "current: nothing to apply\ntodo-schema upgrade --deferred-only would finish:\n"
    )
    assert only.stdout.startswith(f"schema {NEXT_VERSION + 1}\n  {NEXT} Revision ")
    assert nothing.stdout == f"schema {NEXT_VERSION + 1} already: nothing to do\n"
    assert json.loads(as_json.stdout)["deferred"] == []
    assert all(answer.exit_code == Exit.OK for answer in (plan, done, status, again, only, nothing))


def test_the_two_options_for_deferred_revisions_exclude_each_other(filled: str, package: Path):
    (refused,) = call_of(package, filled, "upgrade --skip-deferred --deferred-only")
    assert refused.exit_code == Exit.USAGE
    assert "exclude each other" in refused.stderr


def test_on_a_terminal_a_bar_shows_how_far_a_backfill_has_come(filled: str, package: Path):
    _, out, shown = on_a_terminal("upgrade", "--url", filled, columns=160, package=package)
    assert out.startswith(f"schema {HEAD.lstrip('0')} -> {NEXT_VERSION + 1}")
    assert "1000 rows changed" in shown
    assert "100%" in shown


def test_the_script_leads_over_several_parts_up_and_down(database: str, filled: str, asked: Asked):
    (script,) = asked(psycopg, None, ("sql", {"to": AFTER}))
    apply(database, script)
    assert asked(psycopg, database, ("check", {"deep": True})) == ["current"]
    assert asked(psycopg, filled, "upgrade")[0]["version_after"] == NEXT_VERSION + 1
    assert dump(database) == dump(filled)
    (back,) = asked(psycopg, filled, ("sql", {"to": HEAD}))
    apply(filled, back)
    execute(filled, "DELETE FROM tasks")
    assert upgrade(filled).applied == ()
    settings = "SHOW search_path; SHOW statement_timeout; SHOW lock_timeout;"
    assert psql(filled, f"{asked(psycopg, filled, ('sql', {'to': AFTER}))[0]}\n{settings}").stdout.endswith(
        psql(filled, settings).stdout
    )
    apply(filled, back)
    other = psql(filled, back)
    assert f"this script starts from revision {AFTER}, and the database is at {HEAD}" in other.stderr


def test_the_script_fills_rows_that_are_there_batch_by_batch(filled: str, asked: Asked):
    (script,) = asked(psycopg, filled, ("sql", {"to": AFTER}))
    apply(filled, script)
    assert execute(filled, "SELECT count(*), count(note), count(DISTINCT xmin::text) FROM tasks") == [
        (1000, 1000, 1)
    ]
    apply(filled, asked(psycopg, filled, ("sql", {"to": HEAD}))[0])
    apply(filled, script.replace("LIMIT 1000", "LIMIT 300"))
    assert execute(filled, "SELECT count(note), count(DISTINCT xmin::text) FROM tasks") == [(1000, 4)]


def test_the_script_finishes_what_was_left_for_later(filled: str, asked: Asked):
    (left,) = asked(psycopg, filled, ("upgrade", {"deferred": "skip"}))
    assert [revision["revision"] for revision in left["deferred"]] == [NEXT]
    script, back = asked(psycopg, filled, ("sql", {"to": AFTER}), ("sql", {"to": HEAD}))
    assert "which was left for later" not in back
    apply(filled, script)
    assert asked(psycopg, filled, ("check", {"deep": True}), "upgrade")[1]["deferred"] == []
    assert execute(filled, f"SELECT indisvalid FROM pg_index WHERE indexrelid = '{INDEX}'::regclass") == [
        (True,)
    ]
    assert f"revision {NEXT} is deferred no longer" in psql(filled, script).stderr
    assert "nothing to apply" in asked(psycopg, filled, ("sql", {"to": AFTER}))[0]


def test_a_script_that_died_is_run_again_and_stops_at_an_invalid_index(filled: str, asked: Asked):
    (script,) = asked(psycopg, filled, ("sql", {"to": NEXT}))
    execute(filled, f"CREATE INDEX {INDEX} ON messages (conversation_id, created_at DESC)")
    execute(filled, f"UPDATE pg_index SET indisvalid = false WHERE indexrelid = '{INDEX}'::regclass")
    refused = psql(filled, script)
    assert f"index {INDEX} is there and invalid" in refused.stderr
    assert f'DROP INDEX CONCURRENTLY "public"."{INDEX}"; and run the script again' in refused.stderr
    execute(filled, f"DROP INDEX {INDEX}")
    apply(filled, script)
    apply(filled, "SELECT 1")
    assert asked(psycopg, filled, ("upgrade", {"deferred": "skip"}))[0]["version_before"] == NEXT_VERSION
