"""Services of 0.1.0, as released, live through the migration to this package's schema, and can be rolled back to."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import psycopg
import pytest
from benchmarks.dataset import fill

from tests.support.old_services import OLD, Busy, assert_kept, busy, go_on, rows_there, stop
from tests.support.processes import SOURCE
from tests.support.revisions import CONTRACTS, REVISIONS
from tests.support.servers import Server
from tests.support.states import with_package
from tests.support.waiting import wait_for
from todo_schema import (
    SCHEMA_VERSION,
    ContractBlockedError,
    Progress,
    State,
    check,
    clients,
    contract,
    downgrade,
    history,
    status,
    upgrade,
)

# Of the data set of three million messages.
SCALE = 0.005
# Seconds. Where the story is told, and not how much a service can do, the processors are for all.
PAUSE = 0.01
DEFERRED = [revision.revision for revision in history() if revision.deferred]

Start = Callable[..., Busy]


@pytest.fixture(scope="module")
def filled(server: Server, old_package: Path) -> str:
    """A database that 0.1.0 made, with rows of some years; it is to be copied."""
    url = server.create_database()
    with_package(old_package, "t.upgrade(url)", url)
    fill(url, SCALE)
    return url


@pytest.fixture
def old_database(server: Server, filled: str) -> Iterator[str]:
    url = server.create_database(template=filled)
    yield url
    server.drop_database(url)


@pytest.fixture
def start(old_database: str) -> Iterator[Start]:
    """Starts services on the database: `start(package, name, number, pause)`."""
    with ExitStack() as running:
        yield lambda package, name, number, pause=0.0: running.enter_context(
            busy(package, old_database, name, number, pause)
        )


def gone(url: str, *services: Busy) -> None:
    """Wait until the server has noticed that services have left."""
    names = {service.name for service in services}
    wait_for(lambda: not names & {client.service for client in clients(url).clients})


@pytest.mark.parametrize("form", ["run", "skip"])
def test_services_of_the_old_release_at_full_speed_do_not_notice_the_migration(
    old_database: str, old_package: Path, start: Start, form: Literal["run", "skip"]
):
    before = rows_there(old_database)
    services = [start(old_package, f"old-{number}", number) for number in range(2)]
    assert {service.boot.version for service in services} == {OLD}
    go_on(*services)
    report = upgrade(old_database, deferred=form)
    assert (report.version_before, report.version_after) == (1, SCHEMA_VERSION)
    if form == "skip":
        assert [left.revision for left in report.deferred] == DEFERRED
        # One that boots half-way finds what it needs.
        services.append(start(old_package, "old-2", 2))
        go_on(*services)
        upgrade(old_database, deferred="only")
    assert status(old_database).deferred == ()
    go_on(*services)
    outcomes = stop(*services)
    assert_kept(old_database, outcomes)
    assert rows_there(old_database) == before
    assert check(old_database, deep=True) is State.CURRENT


# What the rules of the old release refuse, and which kind of rule it is.
REFUSED = {
    "a message of no conversation": (
        """INSERT INTO messages (conversation_id, user_id, role, content)
            SELECT gen_random_uuid(), id, 'user', 'New.' FROM users WHERE email = 'new@example.com'""",
        "foreign key",
    ),
    "a message of no user": (
        """INSERT INTO messages (conversation_id, user_id, role, content)
            SELECT id, gen_random_uuid(), 'user', 'New.' FROM conversations LIMIT 1""",
        "foreign key",
    ),
    "a conversation of no user": (
        "INSERT INTO conversations (user_id) VALUES (gen_random_uuid())",
        "foreign key",
    ),
    "a second user of the address": ("INSERT INTO users (email) VALUES ('new@example.com')", "unique"),
    "a role that nobody has": ("UPDATE messages SET role = 'robot' WHERE content = 'New.'", "check"),
}
WRITTEN = """
WITH someone AS (INSERT INTO users (email) VALUES ('new@example.com') RETURNING id),
    talk AS (INSERT INTO conversations (user_id) SELECT id FROM someone RETURNING id, user_id),
    task AS (INSERT INTO tasks (user_id, title) SELECT id, 'New' FROM someone)
INSERT INTO messages (conversation_id, user_id, role, content) SELECT id, user_id, 'user', 'New.' FROM talk
"""
LEFT = "SELECT content FROM messages WHERE content = 'New.' UNION ALL SELECT title FROM tasks WHERE title = 'New'"


def assert_rules(url: str) -> None:
    """Assert that a client of the old release can do what it did, and is refused what it was; leave nothing."""
    with psycopg.connect(url) as connection:
        connection.execute("SET lock_timeout = '10s'")
        connection.execute(WRITTEN)
        for rule, (statement, kind) in REFUSED.items():
            with pytest.raises(psycopg.errors.IntegrityError, match=kind), connection.transaction():
                pytest.fail(f"{rule} was let in: {connection.execute(statement)}")
        assert sorted(connection.execute(LEFT).fetchall()) == [("New",), ("New.",)]
        with connection.transaction(force_rollback=True):
            connection.execute(
                "DELETE FROM conversations WHERE user_id IN (SELECT id FROM users WHERE email = 'new@example.com')"
            )
            assert connection.execute(LEFT).fetchall() == [("New",)]
        connection.execute("DELETE FROM users WHERE email = 'new@example.com'")
        assert connection.execute(LEFT).fetchall() == []
        connection.rollback()


def test_the_rules_of_the_old_release_hold_at_each_moment_between_two_parts_up_and_down(old_database: str):
    seen: list[tuple[str, str]] = []
    broken: list[str] = []

    def look(progress: Progress) -> None:
        seen.append((progress.event, progress.revision))
        try:
            assert_rules(old_database)
        except BaseException as error:  # the caller of a listener passes over what it raises
            broken.append(f"{progress}: {type(error).__name__}: {error}")

    upgrade(old_database, progress=look)
    downgrade(old_database, to=1, progress=look)
    assert broken == []
    assert {revision for event, revision in seen if event == "applied"} == {*REVISIONS[1:]}
    assert [event for event, _ in seen].count("applied") == 2 * len(REVISIONS[1:])


def test_a_rollback_to_the_old_release_works_and_the_contract_step_waits_until_it_has_left(
    old_database: str, old_package: Path, start: Start
):
    upgrade(old_database)
    old = [start(old_package, "old-1", 1, PAUSE)]
    new = [start(SOURCE, f"new-{number}", number, PAUSE) for number in (2, 3)]
    go_on(*old, *new)
    outcomes = stop(*new)
    old.append(start(old_package, "old-4", 4, PAUSE))
    assert old[-1].boot.said == (
        f"schema {SCHEMA_VERSION}, newer than this package and still compatible: nothing to do"
    )
    go_on(*old)
    gone(old_database, *new)
    with pytest.raises(ContractBlockedError) as blocked:
        contract(old_database)
    assert {client.service for client in blocked.value.clients} == {service.name for service in old}
    assert all(f"\n  {service.name}: schema 1, " in str(blocked.value) for service in old)
    go_on(*old)
    outcomes += stop(*old)
    gone(old_database, *old)
    assert [step.revision for step in contract(old_database).applied] == list(CONTRACTS)
    assert check(old_database, deep=True) is State.CURRENT
    assert start(old_package, "old-5", 5, PAUSE).boot.refused == "SchemaTooNewError"
    downgrade(old_database, to="c000")
    again = start(old_package, "old-6", 6, PAUSE)
    go_on(again)
    # The whole way back under its feet.
    downgrade(old_database, to=1)
    go_on(again)
    outcomes += stop(again)
    assert_kept(old_database, outcomes)
    assert with_package(old_package, "print(t.check(url, deep=True))", old_database) == "current\n"
