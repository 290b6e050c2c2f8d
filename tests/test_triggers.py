"""The times that the database keeps of a row, whoever writes: psql, a bulk update, an upsert, the ORM."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, LiteralString, cast
from uuid import UUID

import psycopg
import pytest
from sqlmodel import Session, create_engine, select

from tests.support.servers import Server, execute
from tests.support.waiting import wait_for
from todo_schema import Task, downgrade, upgrade

ANN = UUID(int=1)
OLD = "2001-01-01 00:00:00+00"
GIVEN = "2002-02-02 00:00:00+00"
ROWS_OF_OLD = f"""
INSERT INTO users (id, email, updated_at) VALUES ('{ANN}', 'ann@example.com', '{OLD}');
INSERT INTO conversations (user_id, updated_at) SELECT id, '{OLD}' FROM users;
INSERT INTO tasks (user_id, title, updated_at) VALUES ('{ANN}', 'one', '{OLD}'), ('{ANN}', 'two', '{OLD}')"""


@pytest.fixture(scope="module")
def filled(each_server: Server) -> Iterator[str]:
    """A database at the head with old rows; nobody may connect to it."""
    url = each_server.create_database()
    upgrade(url)
    execute(url, ROWS_OF_OLD)
    yield url
    each_server.drop_database(url)


@pytest.fixture
def url(each_server: Server, filled: str) -> Iterator[str]:
    """A copy of it for one test."""
    made = each_server.create_database(template=filled)
    yield made
    each_server.drop_database(made)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_what_a_revision_fills_in_does_not_move_it(url: str):
    fill = "SELECT set_config('todo_schema.backfill', 'on', true); UPDATE tasks SET priority = 1"
    execute(url, f"BEGIN; {fill}; COMMIT")
    assert execute(url, "SELECT DISTINCT priority, updated_at FROM tasks") == [(1, at(OLD))]


def clock(url: str) -> datetime:
    """The time of the server; nothing that it writes later is of a moment before."""
    ((now,),) = execute(url, "SELECT clock_timestamp()")
    return now


def updated(url: str, table: str = "tasks") -> list[datetime]:
    return [moment for (moment,) in execute(url, f"SELECT updated_at FROM {table} ORDER BY id")]


UPSERT = f"""INSERT INTO tasks (id, user_id, title) VALUES (1, '{ANN}', 'a'), (2, '{ANN}', 'b')
    ON CONFLICT (id) DO UPDATE SET"""

# The table, a statement that does not name `updated_at`, and how many of its rows that changes.
TOUCHING = {
    "an update of a user": ("users", "UPDATE users SET email = 'ben@example.com'", 1),
    "an update of a conversation": ("conversations", "UPDATE conversations SET title = 'plans'", 1),
    "an update of a task": ("tasks", "UPDATE tasks SET title = 'x' WHERE id = 1", 1),
    "an update of many": ("tasks", "UPDATE tasks SET completed = true", 2),
    "an update of all columns but that": (
        "tasks",
        "UPDATE tasks SET (title, completed, due_at, priority) = ('x', true, now(), 9) WHERE id = 1",
        1,
    ),
    "an upsert": ("tasks", f"{UPSERT} title = excluded.title", 2),
    "an upsert that sets it to what it is": (
        "tasks",
        f"{UPSERT} title = 'x', updated_at = tasks.updated_at",
        2,
    ),
    "an update from another table": (
        "tasks",
        "UPDATE tasks SET title = email FROM users WHERE users.id = user_id AND tasks.id = 2",
        1,
    ),
    "a merge": (
        "tasks",
        "MERGE INTO tasks USING users u ON user_id = u.id WHEN MATCHED AND title = 'one' THEN UPDATE SET title = 'm'",
        1,
    ),
}


@pytest.mark.parametrize("writer", TOUCHING)
def test_updated_at_moves_with_every_kind_of_change_whoever_writes(
    each_server: Server, url: str, writer: str
):
    if writer == "a merge" and each_server.version < 150000:
        pytest.skip("PostgreSQL 15 is the first that merges")
    table, statement, rows = TOUCHING[writer]
    before = clock(url)
    execute(url, statement)
    after = clock(url)
    moved = [moment for moment in updated(url, table) if moment != at(OLD)]
    assert len(moved) == rows
    assert all(before <= moment <= after for moment in moved)


@pytest.mark.parametrize(
    "statement",
    [
        f"UPDATE tasks SET title = 'x', updated_at = '{GIVEN}' WHERE id = 1",
        f"{UPSERT} title = 'x', updated_at = '{GIVEN}' WHERE tasks.id = 1",
    ],
)
def test_a_writer_that_sets_updated_at_keeps_its_value(url: str, statement: str):
    execute(url, statement)
    assert updated(url) == [at(GIVEN), at(OLD)]


def test_each_change_of_one_transaction_moves_updated_at(url: str):
    with psycopg.connect(url) as connection:
        seen = []
        for title in ("a", "b", "c"):
            change = "UPDATE tasks SET title = %s WHERE id = 1 RETURNING updated_at"
            seen += connection.execute(change, (title,)).fetchall()
    assert seen == sorted(set(seen))


# Raw SQL, and what our models and append_messages send.
@pytest.mark.parametrize("sets", ["title = 'x'", "title = 'x', updated_at = clock_timestamp()"])
def test_who_began_earlier_and_waited_for_the_row_does_not_set_updated_at_back(url: str, sets: str):
    change = cast("LiteralString", f"UPDATE tasks SET {sets} WHERE id = 1 RETURNING updated_at")
    with (
        ThreadPoolExecutor(1) as threads,
        psycopg.connect(url) as early,
        psycopg.connect(url) as late,
    ):
        early.execute("SELECT now()")
        late.execute("SELECT FROM tasks WHERE id = 1 FOR UPDATE")
        waiting = threads.submit(lambda: early.execute(change).fetchall())
        blocked = (
            f"SELECT FROM pg_stat_activity WHERE pid = {early.info.backend_pid} AND wait_event_type = 'Lock'"
        )
        wait_for(lambda: execute(url, blocked))
        ((first,),) = late.execute(change).fetchall()
        late.commit()
        ((second,),) = waiting.result()
    assert second > first
    assert updated(url)[0] == second


# How the task is at first, what is done to it, and what becomes of `completed_at`: "now" is the moment of that, "was"
# what it was before.
OPEN, DONE = "", f"completed = true, completed_at = '{OLD}'"
COMPLETING = {
    "completing it": (OPEN, "completed = true", "now"),
    "completing it with a time": (OPEN, f"completed = true, completed_at = '{GIVEN}'", GIVEN),
    "setting the time of an open one": (OPEN, f"completed_at = '{GIVEN}'", None),
    "changing an open one": (OPEN, "title = 'x'", None),
    "reopening it": (DONE, "completed = false", None),
    "reopening it with a time": (DONE, f"completed = false, completed_at = '{GIVEN}'", None),
    "reopening it with the time that it has": (DONE, "completed = false, completed_at = completed_at", None),
    "completing it again while it is done": (DONE, "completed = true", "was"),
    "changing a done one": (DONE, "title = 'x', due_at = now()", "was"),
    "correcting its time": (DONE, f"completed_at = '{GIVEN}'", GIVEN),
    "clearing its time": (DONE, "completed_at = NULL", None),
}


@pytest.mark.parametrize("change", COMPLETING)
def test_completed_at_says_when_a_task_was_done_after_every_kind_of_change(url: str, change: str):
    first, then, wanted = COMPLETING[change]
    execute(url, f"UPDATE tasks SET {first} WHERE id = 1" if first else "SELECT")
    before = clock(url)
    execute(url, f"UPDATE tasks SET {then} WHERE id = 1")
    ((found, other),) = execute(
        url, "SELECT t.completed_at, o.completed_at FROM tasks t, tasks o WHERE t.id = 1 AND o.id = 2"
    )
    assert other is None
    if wanted == "now":
        assert before <= found <= clock(url)
    else:
        assert found == (wanted and at({"was": OLD}.get(wanted, wanted)))


def test_a_task_that_is_completed_again_has_the_later_time(url: str):
    seen = []
    for completed in ("true", "false", "true"):
        seen += execute(
            url,
            f"UPDATE tasks SET completed = {completed} WHERE id = 1 RETURNING completed_at, clock_timestamp()",
        )
    (first, after_first), (none, _), (last, _) = seen
    assert none is None
    assert first <= after_first < last


INSERTS: dict[str, tuple[str, str | None]] = {
    "open": ("false, NULL", None),
    "open with a time": (f"false, '{GIVEN}'", None),
    "done": ("true, NULL", "now"),
    "done with a time": (f"true, '{GIVEN}'", GIVEN),
}


def by_insert(url: str, values: str) -> None:
    execute(
        url,
        f"INSERT INTO tasks (id, user_id, title, completed, completed_at) VALUES (3, '{ANN}', 'x', {values})",
    )


def by_copy(url: str, values: str) -> None:
    row = values.replace("NULL", r"\N").replace("'", "").replace(", ", "\t")
    copying = "COPY tasks (id, user_id, title, completed, completed_at) FROM STDIN"
    with psycopg.connect(url) as connection, connection.cursor().copy(copying) as copy:
        copy.write(f"3\t{ANN}\tx\t{row}\n")


@pytest.mark.parametrize("write", [by_insert, by_copy])
@pytest.mark.parametrize("row", INSERTS)
def test_a_new_task_has_completed_at_only_if_it_is_done(
    url: str, write: Callable[[str, str], None], row: str
):
    values, wanted = INSERTS[row]
    before = clock(url)
    write(url, values)
    ((found,),) = execute(url, "SELECT completed_at FROM tasks WHERE id = 3")
    if wanted == "now":
        assert before <= found <= clock(url)
    else:
        assert found == (wanted and at(wanted))


def test_an_upsert_that_sends_what_is_done_keeps_when_it_was(url: str):
    upsert = f"""INSERT INTO tasks (id, user_id, title, completed) VALUES (1, '{ANN}', 'x', true)
        ON CONFLICT (id) DO UPDATE SET title = excluded.title, completed = excluded.completed"""
    seen: list[Any] = []
    for _ in range(2):
        execute(url, upsert)
        seen += execute(url, "SELECT completed_at FROM tasks WHERE id = 1")
    assert seen[0] == seen[1] != (None,)


def test_a_task_that_was_done_before_there_was_completed_at_has_none_until_somebody_says_it(url: str):
    downgrade(url, to=15)
    execute(url, "UPDATE tasks SET completed = true")
    upgrade(url)
    seen = []
    for change in (
        "title = 'x'",
        "completed = true",
        f"completed_at = '{GIVEN}'",
        "completed = false",
        "completed = true",
    ):
        seen += execute(url, f"UPDATE tasks SET {change} WHERE id = 1 RETURNING completed_at")
    unrelated, again, said, reopened, done = [moment for (moment,) in seen]
    assert (unrelated, again, said, reopened) == (None, None, at(GIVEN), None)
    assert done is not None
    assert execute(url, "SELECT completed_at FROM tasks WHERE id = 2") == [(None,)]


def test_the_models_read_back_what_the_triggers_wrote(url: str):
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with Session(engine) as session:
        new = Task(user_id=ANN, title="x", completed=True)
        session.add(new)
        task = session.exec(select(Task).where(Task.id == 1)).one()
        task.completed = True
        session.flush()
        assert new.completed_at >= new.created_at
        assert task.completed_at > at(OLD)
        task.completed = False
        session.flush()
        assert task.completed_at is None
        session.commit()
    engine.dispose()
