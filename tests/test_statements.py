"""The statements that a service reads with: their pages, and the plans that PostgreSQL makes of them."""

import re
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import psycopg
import pytest
from psycopg import sql
from sqlalchemy.dialects.postgresql import asyncpg

from tests.support.servers import Server
from todo_schema import (
    Conversation,
    Message,
    SessionFactory,
    Task,
    User,
    messages_after,
    newest_conversations,
    newest_messages,
    newest_tasks,
    session_factory,
    user_by_email,
)

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SOME = uuid.UUID(int=7)

# Two users with a long conversation, 300 short ones and 2,000 tasks each, between what 3,000 others have. Ten rows at
# a time were written in the same microsecond.
FILL = """
    INSERT INTO users (id, email)
        SELECT md5('user ' || u)::uuid, 'User' || u || '@Example.com' FROM generate_series(1, 3000) AS u;
    INSERT INTO conversations (id, user_id, updated_at)
        SELECT md5('talk ' || u || ' ' || c)::uuid, md5('user ' || u)::uuid,
            timestamptz '2026-01-01 12:00Z' + c / 10 * interval '1 microsecond'
        FROM generate_series(1, 3000) AS u, generate_series(1, CASE WHEN u <= 2 THEN 301 ELSE 2 END) AS c;
    INSERT INTO messages (id, conversation_id, user_id, role, content, created_at)
        SELECT md5('message ' || u || ' ' || c || ' ' || m)::uuid, md5('talk ' || u || ' ' || c)::uuid,
            md5('user ' || u)::uuid, 'user', 'Buy milk.',
            timestamptz '2026-01-01 12:00Z' + m / 10 * interval '1 microsecond'
        FROM generate_series(1, 500) AS u, generate_series(1, CASE WHEN u <= 2 THEN 301 ELSE 2 END) AS c,
            generate_series(1, CASE WHEN u <= 2 AND c = 1 THEN 2000 ELSE 10 END) AS m;
    INSERT INTO tasks (user_id, title, completed, created_at)
        SELECT md5('user ' || u)::uuid, 'Buy milk', t % 5 > 0,
            timestamptz '2026-01-01 12:00Z' + t / 10 * interval '1 microsecond'
        FROM generate_series(1, 500) AS u, generate_series(1, CASE WHEN u <= 2 THEN 2000 ELSE 10 END) AS t;
    ANALYZE users, conversations, messages, tasks;
"""


class Filled(NamedTuple):
    """A filled database, and the user and the conversation with most rows in it."""

    url: str
    user: uuid.UUID
    talk: uuid.UUID


@pytest.fixture(scope="module")
def filled(server: Server, template: str) -> Iterator[Filled]:
    url = server.create_database(template=template)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(FILL)
        keys = connection.execute("SELECT md5('user 1')::uuid, md5('talk 1 1')::uuid").fetchone()
        assert keys
    yield Filled(url, *keys)
    server.drop_database(url)


@pytest.fixture
async def factory(filled: Filled) -> AsyncIterator[SessionFactory]:
    async with session_factory(filled.url) as made:
        yield made


def rows(filled: Filled, query: str) -> list[Any]:
    with psycopg.connect(filled.url) as connection:
        return [
            row[0] for row in connection.execute(query.encode(), {"user": filled.user, "talk": filled.talk})
        ]


async def paged(factory: SessionFactory, page: Callable[[Any], Any], time: str = "created_at") -> list[Any]:
    """Every key, page after page, until one is empty."""
    keys: list[Any] = []
    cursor = None
    async with factory() as session:
        while found := (await session.exec(page(cursor))).all():
            assert found[0].id not in keys[-1:]
            keys += [entity.id for entity in found]
            cursor = (getattr(found[-1], time), found[-1].id)
    return keys


# Pages that end within ten rows of the same time, and at their edge.
@pytest.mark.parametrize("limit", [7, 10, 333, 1000])
async def test_pages_back_show_every_message_once_newest_first(factory, filled, limit):
    user, talk = filled.user, filled.talk
    keys = await paged(factory, lambda before: newest_messages(user, talk, before=before, limit=limit))
    assert len(keys) == 2000
    assert keys == rows(
        filled, "SELECT id FROM messages WHERE conversation_id = %(talk)s ORDER BY created_at DESC, id DESC"
    )


@pytest.mark.parametrize("limit", [7, 10, 333, 1000])
async def test_pages_forth_show_every_message_once_oldest_first(factory, filled, limit):
    user, talk = filled.user, filled.talk
    keys = await paged(factory, lambda after: messages_after(user, talk, after=after, limit=limit))
    assert len(keys) == 2000
    assert keys == rows(
        filled, "SELECT id FROM messages WHERE conversation_id = %(talk)s ORDER BY created_at, id"
    )


@pytest.mark.parametrize("open_only", [False, True])
async def test_pages_of_tasks_show_every_one_once_newest_first(factory, filled, open_only):
    keys = await paged(
        factory, lambda before: newest_tasks(filled.user, open_only=open_only, before=before, limit=97)
    )
    assert len(keys) == (400 if open_only else 2000)
    condition = "AND NOT completed" if open_only else ""
    assert keys == rows(
        filled, f"SELECT id FROM tasks WHERE user_id = %(user)s {condition} ORDER BY created_at DESC, id DESC"
    )


async def test_pages_of_conversations_show_every_one_once_by_the_last_activity(factory, filled):
    keys = await paged(
        factory, lambda before: newest_conversations(filled.user, before=before, limit=7), "updated_at"
    )
    assert len(keys) == 301
    assert keys == rows(
        filled, "SELECT id FROM conversations WHERE user_id = %(user)s ORDER BY updated_at DESC, id DESC"
    )


async def test_the_first_page_has_as_many_rows_as_the_signature_says(factory, filled):
    async with factory() as session:
        for statement, size in [
            (newest_messages(filled.user, filled.talk), 50),
            (messages_after(filled.user, filled.talk), 50),
            (newest_tasks(filled.user), 50),
            (newest_conversations(filled.user), 20),
        ]:
            assert len((await session.exec(statement)).all()) == size


async def test_another_users_conversation_is_empty(factory, filled):
    async with factory() as session:
        for statement in (newest_messages(SOME, filled.talk), messages_after(SOME, filled.talk)):
            assert (await session.exec(statement)).all() == []


@pytest.mark.parametrize("written", ["User7@Example.com", "user7@example.com", "USER7@EXAMPLE.COM"])
async def test_a_user_is_found_by_the_address_however_its_letters_are_written(factory, filled, written):
    async with factory() as session:
        found = (await session.exec(user_by_email(written))).one()
        assert found.email == "User7@Example.com"
        assert (await session.exec(user_by_email(f"x{written}"))).one_or_none() is None


@pytest.mark.parametrize("written", ["User7@Example.com\0", "\0", "user7@example.com\ud83d", "\udc80"])
async def test_a_text_that_the_database_cannot_hold_is_nobodys_address(factory, filled, written):
    async with factory() as session:
        assert (await session.exec(user_by_email(written))).one_or_none() is None
        # The transaction goes on.
        assert (await session.exec(user_by_email("user7@example.com"))).one()


def plan(filled: Filled, statement: Any, mode: str) -> str:
    """What PostgreSQL does, with its own decision for the values at hand, or the one for any."""
    compiled = statement.compile(dialect=asyncpg.dialect())
    values = [sql.Literal(compiled.params[name]) for name in compiled.positiontup]
    asked = sql.SQL("EXPLAIN EXECUTE asked ({})").format(sql.SQL(", ").join(values))
    with psycopg.connect(filled.url, autocommit=True) as connection:
        connection.execute(f"SET plan_cache_mode = force_{mode}_plan".encode())
        connection.execute(f"PREPARE asked AS {compiled}".encode())
        return "\n".join(line for (line,) in connection.execute(asked))


AT = NOON + timedelta(microseconds=100)
SERVED = {
    "newest messages": (lambda f: newest_messages(f.user, f.talk), "ix_messages_conversation_created"),
    "older messages": (
        lambda f: newest_messages(f.user, f.talk, before=(AT, SOME)),
        "ix_messages_conversation_created",
    ),
    "first messages": (
        lambda f: messages_after(f.user, f.talk),
        "Backward using ix_messages_conversation_created",
    ),
    "newer messages": (
        lambda f: messages_after(f.user, f.talk, after=(AT, SOME)),
        "Backward using ix_messages_conversation_created",
    ),
    "newest tasks": (lambda f: newest_tasks(f.user), "ix_tasks_user_created"),
    "older tasks": (lambda f: newest_tasks(f.user, before=(AT, 7)), "ix_tasks_user_created"),
    "open tasks": (lambda f: newest_tasks(f.user, open_only=True), "ix_tasks_user_created_open"),
    "older open tasks": (
        lambda f: newest_tasks(f.user, open_only=True, before=(AT, 7)),
        "ix_tasks_user_created_open",
    ),
}


@pytest.mark.parametrize("mode", ["custom", "generic"])
@pytest.mark.parametrize("name", SERVED)
def test_a_page_is_read_from_its_index_in_order_and_nothing_is_sorted(filled, name, mode):
    statement, index = SERVED[name]
    found = plan(filled, statement(filled), mode)
    assert re.search(rf"Index Scan (?:using )?{index} on", found), found
    assert "Sort" not in found
    if name.startswith(("older", "newer")):
        assert re.search(r"Index Cond: .*ROW\(created_at, id\) [<>] ROW\(", found), found


@pytest.mark.parametrize("mode", ["custom", "generic"])
def test_the_conversations_of_a_user_and_a_user_by_address_are_read_from_their_indexes(filled, mode):
    assert "uq_conversations_user_id_id" in plan(filled, newest_conversations(filled.user), mode)
    assert "ix_users_email_lower" in plan(filled, user_by_email("User7@Example.com"), mode)


PAGES = [
    lambda **options: newest_messages(SOME, SOME, **options),
    lambda **options: newest_tasks(SOME, **options),
    lambda **options: newest_conversations(SOME, **options),
    lambda before=None, **options: messages_after(SOME, SOME, after=before, **options),
]


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("limit", [0, -1, 1001, True, 10.0, 2.5, "10", None])
def test_a_limit_is_a_whole_number_from_1_to_1000(page, limit):
    said = re.escape(f"found: limit={limit!r}\nneeded: an int from 1 to 1000\ncure: ")
    with pytest.raises(ValueError, match=said):
        page(limit=limit)
    page(limit=1)
    page(limit=1000)


@pytest.mark.parametrize("page", PAGES)
def test_a_cursor_has_a_time_zone_and_a_key(page):
    naive = NOON.replace(tzinfo=None)
    for cursor in [(naive, SOME), (None, SOME), (NOON, None)]:
        with pytest.raises(
            ValueError, match=r"found: the cursor .*\nneeded: a time with its time zone, and a key"
        ):
            page(before=cursor)
    page(before=(NOON, SOME))


def test_every_statement_for_a_users_rows_names_the_user():
    statements = {
        Message: [newest_messages(SOME, SOME), messages_after(SOME, SOME, after=(NOON, SOME))],
        Task: [newest_tasks(SOME), newest_tasks(SOME, open_only=True, before=(NOON, 7))],
        Conversation: [newest_conversations(SOME)],
    }
    for entity, of_it in statements.items():
        for statement in of_it:
            assert f"{entity.__tablename__}.user_id = " in str(statement)


async def test_a_statement_can_be_added_to(factory, filled):
    async with factory() as session:
        only = newest_tasks(filled.user).where(Task.completed == True)  # noqa: E712  # as SQL
        assert [task.completed for task in await session.exec(only)] == [True] * 50


async def test_a_page_is_the_same_in_a_named_schema(server: Server):
    from todo_schema import upgrade_async

    url = server.create_database()
    server.execute("CREATE SCHEMA todo", url)
    await upgrade_async(url, schema="todo")
    async with session_factory(url, schema="todo") as factory:
        async with factory.begin() as session:
            session.add(user := User(email="ada@example.com"))
            await session.flush()
            session.add_all(Task(user_id=user.id, title=f"Task {number}") for number in range(3))
        found = await paged(factory, lambda before: newest_tasks(user.id, before=before, limit=1))
    assert len(found) == 3
    assert found == sorted(found, reverse=True)
    server.drop_database(url)
