"""The instrument for stalls sees what it has to see: who waits, for how long, and what fails."""

import time
from collections.abc import Iterator
from typing import LiteralString

import psycopg
import pytest

from tests.support.big_table import Filled, fill
from tests.support.load import load
from tests.support.servers import Server, execute

HELD = 0.8  # seconds
SEEN = 700  # milliseconds; a session that rests for a few between its operations cannot miss so much


@pytest.fixture(scope="module")
def filled(server: Server, template: str) -> str:
    """The url of a database with some thousand rows, to be copied; nobody may connect to it."""
    url = server.create_database(template=template)
    assert fill(url, 6_000) == Filled(users=40, conversations=400, messages=6_000, tasks=2_000)
    return url


@pytest.fixture
def busy(server: Server, filled: str) -> Iterator[str]:
    """The url of a copy of it."""
    url = server.create_database(template=filled)
    yield url
    server.drop_database(url)


def count(url: str, rows: LiteralString) -> int:
    return int(execute(url, f"SELECT count(*) FROM {rows}")[0][0])


def test_the_same_numbers_fill_the_tables_with_the_same_rows(
    server: Server, template: str, filled: str
) -> None:
    again = server.create_database(template=template)
    fill(again, 6_000)
    digest = "SELECT md5(string_agg(t::text, '\n' ORDER BY t::text)) FROM {} AS t"
    for table in ("users", "conversations", "messages", "tasks"):
        assert execute(again, digest.format(table)) == execute(filled, digest.format(table))
    orphans = (
        "messages AS m LEFT JOIN conversations AS c ON (c.id, c.user_id) = (m.conversation_id, m.user_id)"
    )
    assert count(filled, f"{orphans} WHERE c.id IS NULL") == 0
    server.drop_database(again)


def test_on_a_quiet_database_everybody_works_and_nothing_fails(busy: str) -> None:
    with load(busy) as running:
        time.sleep(0.5)
    result = running.result
    print(result)
    assert result.errors == []
    assert min(result.reads, result.writes) > 0
    assert all(slow.ended for slow in result.slowest)
    written = [
        count(busy, "messages") - 6_000,
        count(busy, "tasks") - 2_000,
        count(busy, "tasks WHERE updated_at > created_at"),
    ]
    assert min(written) > 0
    # Each of the two who write has done each thing once before the others were there.
    assert sum(written) <= result.writes + 2 * 3


def test_a_lock_that_nobody_passes_stalls_those_who_read_and_those_who_write(busy: str) -> None:
    with psycopg.connect(busy) as other, load(busy) as running:
        other.execute("LOCK TABLE messages IN ACCESS EXCLUSIVE MODE")
        time.sleep(HELD)
        other.rollback()
        time.sleep(0.1)
    result = running.result
    assert min(result.longest_read_ms, result.longest_write_ms) >= SEEN
    stalled = [slow for slow in result.slowest if slow.milliseconds >= SEEN]
    assert {slow.name for slow in stalled} == {"newest_messages", "append_message"}
    assert all(slow.ended for slow in stalled)
    assert result.errors == []


def test_a_lock_that_readers_pass_stalls_those_who_write_alone_even_to_the_end(busy: str) -> None:
    with psycopg.connect(busy) as other, load(busy) as running:
        other.execute("LOCK TABLE messages IN SHARE MODE")
        time.sleep(HELD)
    result = running.result
    assert result.longest_write_ms >= SEEN > result.longest_read_ms
    assert {slow.name for slow in result.slowest if not slow.ended} == {"append_message"}
    assert result.errors == []


def test_what_fails_is_told(busy: str) -> None:
    with load(busy) as running:
        execute(busy, "ALTER TABLE tasks DROP COLUMN description")
        time.sleep(0.2)
    errors = running.result.errors
    assert {error.partition(":")[0] for error in errors} == {
        "read open_tasks",
        "write add_task",
        "write toggle_task",
    }
    assert all("description" in error or "cached statement plan" in error for error in errors)


def test_a_session_that_cannot_work_is_told_before_anything_is_measured(busy: str) -> None:
    execute(busy, "DROP TABLE tasks")
    with pytest.raises(RuntimeError, match=r"the load did not begin: .*tasks"), load(busy):
        pass
