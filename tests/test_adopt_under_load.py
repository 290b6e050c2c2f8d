"""Adoption of a big database while the chatbot that made it goes on: nobody meets an error, and no row is lost."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial

import psycopg
import pytest

from tests.support import old_services
from tests.support.big_table import fill
from tests.support.chatbots import TABLES, copied, files, in_utc, rows_there
from tests.support.old_services import Busy, assert_kept, go_on, stop
from tests.support.servers import Server, database_name, execute
from tests.support.thorough import series
from tests.support.waiting import wait_for
from todo_schema import adopt, bookkeeping, check, upgrade

MESSAGES = series(200_000, 1_000_000)
CHATBOTS = 3
# Milliseconds that a chatbot waits for a lock before it gives up with an error: who queues behind a try of ours waits
# until that gives up, or has its locks, which then takes a moment however many rows there are. The rest is for a
# machine whose processors are all busy.
PATIENCE = bookkeeping.FIRST_LOCK_TIMEOUT_MS + 300
# Seconds that a chatbot rests after each operation, so that the processors are not busy with it alone.
PAUSE = 0.01

# What people write who know of no other way.
NAIVELY = "ALTER TABLE messages ALTER created_at TYPE timestamptz USING created_at AT TIME ZONE 'UTC'"
# What asyncpg makes of "cached plan must not change result type".
OUTDATED = "cached statement plan is invalid"

chatting = partial(old_services.busy, None, program="tests.support.old_chatbot")


@pytest.fixture(scope="module")
def filled(server: Server, chatbot_template: str) -> str:
    """A database of the chatbot with many messages, to be copied; nobody may connect to it."""
    url = in_utc(server.create_database(template=chatbot_template))
    fill(url, MESSAGES, tasks=MESSAGES // 10)
    return url


@pytest.fixture
def big(server: Server, filled: str) -> Iterator[str]:
    with copied(server, filled) as url:
        execute(url, f"ALTER DATABASE {database_name(url)} SET lock_timeout = {PATIENCE}")
        yield url


@pytest.fixture
def chatbots_at_work(big: str) -> Iterator[Sequence[Busy]]:
    with ExitStack() as running:
        services = [
            running.enter_context(chatting(big, f"old-{number}", number, PAUSE)) for number in range(CHATBOTS)
        ]
        go_on(*services, rounds=3)
        yield services


def said_by(url: str, name: str) -> int:
    """Return how many messages there are of a chatbot."""
    return int(execute(url, "SELECT count(*) FROM messages WHERE content LIKE %s", (f"{name}/%",))[0][0])


def assert_said_when(url: str) -> None:
    """Assert that each message of a chatbot is of the moment that it says."""
    wrong = f"""SELECT * FROM messages WHERE content ~ '{old_services.OURS}'
        AND extract(epoch FROM created_at) <> extract(epoch FROM split_part(content, ' at ', 2)::timestamp)"""
    assert execute(url, wrong) == []


def test_chatbots_go_on_while_their_database_is_adopted_and_upgraded(
    big: str, chatbots_at_work: Sequence[Busy], capsys: pytest.CaptureFixture[str]
):
    before, there = files(big), rows_there(big)
    adopted = adopt(big, apply=True)
    after = files(big)
    go_on(*chatbots_at_work, rounds=3)
    upgrade(big)
    go_on(*chatbots_at_work, rounds=3)
    outcomes = stop(*chatbots_at_work)
    with capsys.disabled():
        slowest = old_services.longest(outcomes)
        rounds = sum(outcome.rounds for outcome in outcomes)
        print(
            f"\n{MESSAGES:,} messages, {rounds} rounds, slowest {slowest.name}: {slowest.milliseconds:.0f} ms"
        )
    assert adopted.answer == "adopted"
    assert after == before
    assert not any(change.rewrites for change in adopted.changes)
    assert_kept(big, outcomes)
    assert_said_when(big)
    assert rows_there(big) == there
    check(big, deep=True)
    ((newest, following),) = execute(
        big,
        "SELECT (SELECT max(id) FROM tasks), nextval(pg_get_serial_sequence('tasks', 'id'))",
    )
    assert following > newest
    assert newest > there["tasks"][0]


def test_what_writes_a_table_anew_costs_them_errors_which_is_the_control(
    big: str, chatbots_at_work: Sequence[Busy]
):
    before = files(big)
    with psycopg.connect(big) as naive:
        naive.execute("SET lock_timeout = 0")
        naive.execute(NAIVELY)
        # Of these rows it takes about a second; a fast machine is as slow with some more of them.
        naive.execute("SELECT pg_sleep(%s)", (2 * PATIENCE / 1000,))
    assert any("lock timeout" in error for outcome in stop(*chatbots_at_work) for error in outcome.errors)
    after = files(big)
    assert [table for table in TABLES if after[table] != before[table]] == ["messages"]


def test_wider_keys_write_their_table_anew_and_no_other(chatbot_database: str):
    fill(chatbot_database, 1000)
    before, there = files(chatbot_database), rows_there(chatbot_database)
    adopted = adopt(chatbot_database, apply=True, widen_keys=True)
    after = files(chatbot_database)
    assert [table for table in TABLES if after[table] != before[table]] == ["tasks"]
    assert {table for change in adopted.changes for table in change.rewrites} == {"tasks"}
    assert rows_there(chatbot_database) == there
    upgrade(chatbot_database)


def test_what_has_its_statements_prepared_gets_one_error_for_each_and_goes_on(chatbot_database: str):
    fill(chatbot_database, 1000)
    with chatting(chatbot_database, "old-1", 1, PAUSE, "prepared") as chatbot:
        go_on(chatbot, rounds=5)
        adopted = adopt(chatbot_database, apply=True)
        # Two of each round stay.
        enough = said_by(chatbot_database, "old-1") + 40
        wait_for(lambda: said_by(chatbot_database, "old-1") >= enough)
        outcome = chatbot.stop()
    operations = [error.partition(": ")[0] for error in outcome.errors]
    assert operations
    assert len(operations) == len(set(operations))
    assert all(OUTDATED in error for error in outcome.errors), outcome.errors
    assert any(OUTDATED in note for note in adopted.notes)
    assert_kept(chatbot_database, [outcome._replace(errors=[])])


def test_psycopg_in_autocommit_gets_that_error_until_it_connects_anew(chatbot_database: str):
    fill(chatbot_database, 1000)

    def ask() -> bool:
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT * FROM messages LIMIT 1", prepare=True)
        except psycopg.errors.FeatureNotSupported:
            return False
        return True

    with psycopg.connect(chatbot_database, autocommit=True) as connection:
        assert ask()
        (note,) = (note for note in adopt(chatbot_database, apply=True).notes if OUTDATED in note)
        assert [ask() for _ in range(3)] == [False] * 3
    with psycopg.connect(chatbot_database, autocommit=True) as connection:
        assert ask()
    assert "psycopg in autocommit" in note
