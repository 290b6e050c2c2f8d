"""Down from the head to what 0.1.0 made, revision by revision, with rows; and the rows that revisions fail on."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.catalog_dump import dump, unordered
from tests.support.old_services import assert_kept, busy, go_on
from tests.support.online import facts
from tests.support.releases import Rows, contents, within
from tests.support.revisions import CONTRACTS, REVISIONS
from tests.support.servers import Server, execute
from tests.support.states import version, with_package
from todo_schema import (
    PreflightError,
    State,
    TablesReferencedError,
    catalog,
    check,
    contract,
    downgrade,
    history,
    status,
    upgrade,
)

# A row for each thing that the head can hold and the baseline cannot, beside rows that use none of it.
FILLED = """
INSERT INTO users (id, email) VALUES
    ('11111111-1111-4111-8111-111111111111', 'ann@example.com'),
    (todo_schema_uuid7(), 'Ben@example.com'),
    (todo_schema_uuid7(), repeat('b', 308) || '@example.com');
INSERT INTO conversations (user_id, title) SELECT id, NULL FROM users UNION ALL SELECT id, 'Shopping' FROM users;
INSERT INTO messages (conversation_id, user_id, role, content, payload)
    SELECT id, user_id, role, 'Buy ' || n, CASE WHEN n > 1 THEN jsonb_build_object('calls', jsonb_build_array(n)) END
    FROM conversations, generate_series(1, 3) AS n, unnest(ARRAY['user', 'assistant', 'tool', 'system']) AS role;
INSERT INTO tasks (user_id, title, description, completed, due_at, priority)
    SELECT id, repeat('t', 1020) || n, CASE WHEN n > 1 THEN 'more' END, n % 2 = 0,
        CASE WHEN n > 2 THEN now() + interval '1 day' END, n FROM users, generate_series(0, 9) AS n;
UPDATE tasks SET completed = NOT completed WHERE priority IN (3, 4)
"""
ADDED = {
    "012": ("messages", "payload"),
    "013": ("conversations", "title"),
    "014": ("tasks", "due_at"),
    "015": ("tasks", "priority"),
    "016": ("tasks", "completed_at"),
}
DOCSTRINGS = {revision.revision: revision.details for revision in history()}


@pytest.fixture
def old_database(server: Server, old_package: Path) -> Iterator[str]:
    """A database that 0.1.0 made."""
    url = server.create_database()
    with_package(old_package, "t.upgrade(url)", url)
    yield url
    server.drop_database(url)


def columns(rows: Rows) -> set[tuple[str, str]]:
    return {(table, name) for table, found in rows.items() for row in found for name in row}


def test_each_revision_is_undone_to_the_catalogue_before_it_and_no_more_is_lost_than_it_says(
    each_server: Server, old_package: Path
):
    made_by_old, url = (each_server.create_database() for _ in range(2))
    with_package(old_package, "t.upgrade(url)", made_by_old)
    upgrade(url)
    contract(url)
    execute(url, FILLED)
    rows = contents(url)
    assert all(any(row[column] is not None for row in rows[table]) for table, column in ADDED.values())
    downgrade(url, to="c000")
    assert facts(url) == catalog.expected(int(REVISIONS[-1]))
    assert contents(url) == rows
    for undone, below in zip(REVISIONS[:0:-1], REVISIONS[-2::-1], strict=True):
        assert [step.revision for step in downgrade(url, to=below).applied] == [undone]
        assert facts(url) == catalog.expected(int(below)), undone
        left = contents(url)
        # Lost is what the docstring says, and nothing else.
        assert columns(rows) - columns(left) == ({ADDED[undone]} if undone in ADDED else set())
        assert left == within(left, rows)
        rows = left
    assert version(url) == ["001"]
    assert unordered(dump(url)) == unordered(dump(made_by_old))
    assert with_package(old_package, "print(t.check(url, deep=True))", url) == "current\n"
    upgrade(url)
    assert [step.revision for step in contract(url).applied] == list(CONTRACTS)
    assert check(url, deep=True) is State.CURRENT
    assert within(rows, contents(url)) == rows


def test_a_step_down_says_what_it_loses_in_every_revision():
    assert {revision for revision, said in DOCSTRINGS.items() if "Going back: loses every" in said} == {
        *ADDED
    }
    others = set(DOCSTRINGS) - {*ADDED, "001"}
    assert {revision for revision in others if "Going back: loses nothing" in DOCSTRINGS[revision]} == others
    assert others >= set(CONTRACTS)


# Rows that revisions would fail on


BY_CASE = "INSERT INTO users (email) VALUES ('Ann@example.com'), ('ann@example.com'), ('ben@example.com')"


def test_addresses_that_differ_by_case_are_named_before_anything_is_changed_and_the_old_release_goes_on(
    old_database: str, old_package: Path
):
    execute(old_database, BY_CASE)
    before = dump(old_database)
    with pytest.raises(PreflightError) as caught:
        upgrade(old_database)
    (violation,) = caught.value.violations
    assert (violation.revision, violation.count) == ("009", 2)
    asked = "SELECT id::text FROM users WHERE lower(email) = 'ann@example.com'"
    assert {*violation.sample} == {key for (key,) in execute(old_database, asked)}
    assert (version(old_database), dump(old_database)) == (["001"], before)
    execute(old_database, "INSERT INTO conversations (user_id) SELECT id FROM users, generate_series(1, 10)")
    execute(
        old_database,
        "INSERT INTO tasks (user_id, title) SELECT id, 'Buy milk' FROM users, generate_series(1, 10)",
    )
    with busy(old_package, old_database, "old-1", 1) as service:
        go_on(service)
        assert_kept(old_database, [service.stop()])
    assert with_package(old_package, "print(t.check(url, deep=True))", old_database) == "current\n"
    execute(old_database, "UPDATE users SET email = 'other@example.com' WHERE email = 'Ann@example.com'")
    upgrade(old_database)
    assert check(old_database, deep=True) is State.CURRENT


OF_ANOTHER = """
INSERT INTO users (id, email) VALUES
    ('11111111-1111-4111-8111-111111111111', 'ann@example.com'),
    ('22222222-2222-4222-8222-222222222222', 'ben@example.com');
INSERT INTO conversations (id, user_id)
    VALUES ('33333333-3333-4333-8333-333333333333', '11111111-1111-4111-8111-111111111111');
INSERT INTO messages (id, conversation_id, user_id, role, content) VALUES
    ('44444444-4444-4444-8444-444444444444', '33333333-3333-4333-8333-333333333333',
        '22222222-2222-4222-8222-222222222222', 'user', 'Not mine.'),
    ('55555555-5555-4555-8555-555555555555', '33333333-3333-4333-8333-333333333333',
        '11111111-1111-4111-8111-111111111111', 'user', 'Mine.')
"""
TOO_LONG = """
INSERT INTO users (id, email) VALUES ('11111111-1111-4111-8111-111111111111', repeat('a', 321));
INSERT INTO tasks (user_id, title, description)
    SELECT id, repeat('t', 1025), repeat('d', 16385) FROM users, generate_series(1, 2);
INSERT INTO conversations (user_id) SELECT id FROM users;
INSERT INTO messages (conversation_id, user_id, role, content)
    SELECT id, user_id, 'user', repeat('m', 10485761) FROM conversations
"""


@pytest.mark.parametrize(
    ("revision", "bad", "found", "cure"),
    [
        (
            "005",
            OF_ANOTHER,
            {"the user of a message is not its conversation's": 1},
            "UPDATE messages m SET user_id = c.user_id FROM conversations c WHERE c.id = m.conversation_id",
        ),
        (
            "011",
            TOO_LONG,
            {
                "email of users longer than 320 characters": 1,
                "title of tasks longer than 1024 characters": 2,
                "description of tasks longer than 16384 characters": 2,
                "content of messages longer than 10485760 characters": 1,
            },
            """
UPDATE users SET email = left(email, 320); UPDATE messages SET content = left(content, 10485760);
UPDATE tasks SET title = left(title, 1024), description = left(description, 16384)
""",
        ),
    ],
    ids=["005", "011"],
)
def test_rows_that_a_deferred_revision_fails_on_stop_no_boot_and_are_named(
    old_database: str,
    caplog: pytest.LogCaptureFixture,
    revision: str,
    bad: str,
    found: dict[str, int],
    cure: str,
):
    execute(old_database, bad)
    with caplog.at_level(logging.WARNING, logger="todo_schema"):
        report = upgrade(old_database)
    assert report.after is State.CURRENT
    assert [left.revision for left in report.deferred] == [revision]
    (warning,) = [record.getMessage() for record in caplog.records]
    assert warning.startswith(f"revision {revision} is left for later: found: rows in schema public")
    assert all(rule in warning for rule in found)
    with pytest.raises(PreflightError) as caught:
        upgrade(old_database, deferred="only")
    assert {violation.rule: violation.count for violation in caught.value.violations} == found
    assert {violation.revision for violation in caught.value.violations} == {revision}
    assert [left.revision for left in status(old_database).deferred] == [revision]
    execute(old_database, cure)
    assert [step.revision for step in upgrade(old_database, deferred="only").applied] == [revision]
    assert status(old_database).deferred == ()
    assert check(old_database, deep=True) is State.CURRENT


def test_tables_that_a_service_refers_to_are_not_dropped_and_nothing_is_undone(upgraded_database: str):
    execute(
        upgraded_database,
        """CREATE TABLE "Ac count" (user_id uuid REFERENCES users); CREATE TABLE copy (task bigint REFERENCES tasks);
        CREATE VIEW mail AS SELECT email FROM users; CREATE MATERIALIZED VIEW talks AS SELECT id FROM conversations""",
    )
    before = dump(upgraded_database)
    with pytest.raises(TablesReferencedError) as refused:
        downgrade(upgraded_database, to="base")
    assert dump(upgraded_database) == before
    for name in ('"Ac count"', "copy", "view mail", "view talks"):
        assert name in refused.value.found
    downgrade(upgraded_database, to=1)
    _, cure = refused.value.cure.split("or: ")
    execute(upgraded_database, cure)
    assert downgrade(upgraded_database, to="base").after is State.EMPTY
