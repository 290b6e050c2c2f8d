"""Appending to a conversation: what it writes, what it refuses, and what it leaves as it was."""

import asyncio
import math
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import reduce
from typing import Annotated

import httpx
import pytest
from fastapi import Depends, FastAPI
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import event, text
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from tests.support.servers import Server, execute
from tests.support.talks import new_talk, said
from tests.support.waiting import wait_for
from todo_schema import (
    Conversation,
    ConversationNotFoundError,
    Message,
    MessageCreate,
    SessionFactory,
    User,
    append_messages,
    messages_after,
    session_factory,
    upgrade_async,
)

WAITING = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
DEEP = reduce(lambda inner, _: [inner], range(100_000), [])


@pytest.fixture
async def factory(upgraded_database: str) -> AsyncIterator[SessionFactory]:
    async with session_factory(upgraded_database) as made:
        yield made


@pytest.fixture
async def talk(factory: SessionFactory) -> Conversation:
    return await new_talk(factory)


async def contents(factory: SessionFactory, talk: Conversation) -> list[str]:
    async with factory() as session:
        found = await session.exec(messages_after(talk.user_id, talk.id, limit=1000))
        return [message.content for message in found]


@contextmanager
def statements(factory: SessionFactory) -> Iterator[list[str]]:
    """What is sent to the server in the block, without BEGIN and COMMIT."""
    sent: list[str] = []

    def note(connection, cursor, statement, parameters, context, executemany):
        sent.append(statement)

    engine = factory.engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(engine, "before_cursor_execute", note)


async def test_messages_are_returned_and_read_back_in_the_order_given(factory, talk):
    asked = [
        MessageCreate(role="user", content="Buy milk."),
        MessageCreate(role="assistant", content="", payload={"tool_calls": [{"id": 1, "text": "\\u0000"}]}),
        MessageCreate(role="tool", content="done", payload={}),
        MessageCreate(role="system", content="ß" * 10_485_760),
    ]
    async with factory.begin() as session:
        written = await append_messages(session, talk.user_id, talk.id, iter(asked))
    async with factory() as session:
        found = (await session.exec(messages_after(talk.user_id, talk.id))).all()
        # No payload is null, and not the null of JSON.
        absent = messages_after(talk.user_id, talk.id).where(col(Message.payload).is_(None))
        assert len((await session.exec(absent)).all()) == 2
    for messages in (written, found):
        assert [(m.role, m.content, m.payload) for m in messages] == [
            (m.role, m.content, m.payload) for m in asked
        ]
        assert {(m.user_id, m.conversation_id) for m in messages} == {(talk.user_id, talk.id)}
    assert [(m.id, m.created_at) for m in written] == [(m.id, m.created_at) for m in found]
    assert [m.id.version for m in written] == [7] * 4


async def test_messages_of_the_same_time_stay_in_the_order_given(factory, talk, upgraded_database, server):
    # No clock is so coarse: this one stands still.
    server.execute("ALTER TABLE messages ALTER created_at SET DEFAULT '2026-01-01 12:00Z'", upgraded_database)
    asked = [str(number) for number in range(999)]
    async with factory.begin() as session:
        written = await append_messages(session, talk.user_id, talk.id, said(*asked[:500]))
        written += await append_messages(session, talk.user_id, talk.id, said(*asked[500:]))
    assert len({message.created_at for message in written}) == 1
    assert await contents(factory, talk) == asked


@pytest.mark.parametrize("wrap", [lambda inner: [inner], lambda inner: {"a": inner}], ids=["list", "object"])
def test_a_payload_that_no_answer_could_hold_is_refused_before_it_is_stored(wrap):
    """Pydantic writes 255 levels and no more: one message would make the history of its conversation unreadable."""

    def nested(levels):
        return {"a": reduce(lambda inner, _: wrap(inner), range(levels - 1), 1)}

    deepest = MessageCreate(role="tool", content="x", payload=nested(200))
    assert TypeAdapter(dict[str, list[MessageCreate]]).dump_json({"items": [deepest]})
    with pytest.raises(ValidationError, match="deeper than 200 levels"):
        MessageCreate(role="tool", content="x", payload=nested(201))
    MessageCreate(role="tool", content="x", payload={"flat": [{}] * 1000, "text": "[" * 1000})


@pytest.mark.parametrize("number", [1, 2, 1000])
async def test_two_statements_append_any_number_of_messages(factory, talk, number):
    async with factory.begin() as session:
        await session.exec(text("SELECT 1"))  # a new connection asks a few things
        with statements(factory) as sent:
            await append_messages(session, talk.user_id, talk.id, said(*["Buy milk."] * number))
    assert [statement.split()[0] for statement in sent] == ["UPDATE", "INSERT"]


async def test_what_was_written_is_read_without_another_query(factory, talk):
    async with factory.begin() as session:
        written = await append_messages(session, talk.user_id, talk.id, said("Hi", "Hello"))
        with statements(factory) as sent:
            first, second = written
            assert talk.created_at < first.created_at < second.created_at
        assert sent == []


async def test_no_messages_append_nothing_move_nothing_and_ask_nothing(factory, talk):
    async with factory.begin() as session:
        with statements(factory) as sent:
            assert await append_messages(session, talk.user_id, talk.id, []) == []
            assert await append_messages(session, uuid.uuid4(), uuid.uuid4(), ()) == []
            assert await append_messages(session, talk.user_id, talk.id, iter(())) == []
    assert sent == []
    async with factory() as session:
        assert (await session.get_one(Conversation, talk.id)).updated_at == talk.updated_at


async def test_the_caller_commits(factory, talk):
    async with factory() as session:
        await append_messages(session, talk.user_id, talk.id, said("Hi"))
    assert await contents(factory, talk) == []


async def test_the_conversation_moves_to_when_it_was_appended_to(factory, talk):
    async with factory.begin() as session:
        (message,) = await append_messages(session, talk.user_id, talk.id, said("Hi"))
    async with factory() as session:
        moved = await session.get_one(Conversation, talk.id)
    assert talk.updated_at < moved.updated_at < message.created_at


async def test_who_began_first_and_waited_for_another_writer_moves_the_conversation_behind_that_one(
    factory, talk, upgraded_database
):
    async with factory() as first, factory() as second:
        loaded = await second.get_one(Conversation, talk.id)  # its transaction begins
        await append_messages(first, talk.user_id, talk.id, said("first"))
        appending = asyncio.create_task(append_messages(second, talk.user_id, talk.id, said("second")))
        await asyncio.to_thread(wait_for, lambda: execute(upgraded_database, WAITING))
        (late,) = await append_messages(first, talk.user_id, talk.id, said("first again"))
        assert not appending.done()
        await first.commit()
        (message,) = await appending
        assert late.created_at < loaded.updated_at < message.created_at
        assert late.id < message.id
        await second.commit()
    assert await contents(factory, talk) == ["first", "first again", "second"]


async def test_a_conversation_in_the_session_has_its_new_time_at_once(factory, talk):
    async with factory.begin() as session:
        loaded = await session.get_one(Conversation, talk.id)
        before = loaded.updated_at
        await append_messages(session, talk.user_id, talk.id, said("Hi"))
        assert loaded.updated_at > before
        assert not session.dirty
        moved = loaded.updated_at
        await session.refresh(loaded)
        assert loaded.updated_at == moved


async def test_a_conversation_that_is_expired_stays_so(factory, talk):
    async with factory.begin() as session:
        loaded = await session.get_one(Conversation, talk.id)
        session.expire(loaded)
        await append_messages(session, talk.user_id, talk.id, said("Hi"))
        assert await session.get(Conversation, talk.id) is loaded
        assert loaded.title is None
        assert loaded.updated_at > talk.updated_at


@pytest.mark.parametrize("autoflush", [True, False])
async def test_a_conversation_that_is_pending_in_the_same_session_is_appended_to(factory, autoflush):
    async with factory(autoflush=autoflush) as session, session.begin():
        session.add(user := User(email="ada@example.com"))
        session.add(talk := Conversation(user_id=user.id, user=user))
        await append_messages(session, user.id, talk.id, said("Hi"))
    assert await contents(factory, talk) == ["Hi"]


async def test_a_change_of_the_conversation_that_is_pending_is_kept(factory, talk):
    async with factory.begin() as session:
        loaded = await session.get_one(Conversation, talk.id)
        loaded.title = "Shopping"
        await append_messages(session, talk.user_id, talk.id, said("Hi"))
        assert loaded.title == "Shopping"
    async with factory() as session:
        assert (await session.get_one(Conversation, talk.id)).title == "Shopping"


async def test_no_such_conversation_is_an_error_that_writes_nothing_and_breaks_no_transaction(factory, talk):
    nobodys = uuid.uuid4()
    async with factory.begin() as session:
        with pytest.raises(ConversationNotFoundError) as caught:
            await append_messages(session, talk.user_id, nobodys, said("Hi"))
        assert not session.new
        await append_messages(session, talk.user_id, talk.id, said("Hello"))
    assert str(caught.value).startswith(f"found: no conversation {nobodys} of user {talk.user_id}\nneeded: ")
    async with factory() as session:
        assert [message.content for message in await session.exec(select(Message))] == ["Hello"]


async def test_another_users_conversation_is_not_found_and_not_moved(factory, talk):
    stranger = await new_talk(factory)
    async with factory.begin() as session:
        with pytest.raises(ConversationNotFoundError):
            await append_messages(session, stranger.user_id, talk.id, said("Hi"))
    async with factory() as session:
        assert (await session.get_one(Conversation, talk.id)).updated_at == talk.updated_at


async def test_a_named_schema_is_appended_to_whatever_the_search_path_says(server: Server):
    url = server.create_database()
    server.execute("CREATE SCHEMA todo", url)
    await upgrade_async(url)
    await upgrade_async(url, schema="todo")
    async with session_factory(url, schema="todo") as factory:
        talk = await new_talk(factory)
        async with factory.begin() as session:
            loaded = await session.get_one(Conversation, talk.id)
            await append_messages(session, talk.user_id, talk.id, said("Hi", "Hello"))
            assert loaded.updated_at > talk.updated_at
        assert await contents(factory, talk) == ["Hi", "Hello"]
    assert server.execute("SELECT count(*) FROM todo.messages", url) == [(2,)]
    assert server.execute("SELECT count(*) FROM public.messages", url) == [(0,)]
    server.drop_database(url)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"role": "robot", "content": "Hi"}, "role"),
        ({"role": "user", "content": "x" * 10_485_761}, "content"),
        ({"role": "user", "content": "a\0b"}, "content"),
        ({"role": "user", "content": "Hi", "payload": []}, "payload"),
        ({"role": "user", "content": "Hi", "payload": {"a": "b\0"}}, "payload"),
        ({"role": "user", "content": "Hi", "payload": {"\\\0": 1}}, "payload"),
        ({"role": "user", "content": "Hi", "payload": {"a": math.nan}}, "payload"),
        ({"role": "user", "content": "Hi", "payload": {"a": uuid.UUID(int=1)}}, "payload"),
        ({"role": "user", "content": "Hi", "payload": {"a": "\ud83d"}}, "payload"),
        ({"role": "user", "content": "Hi", "payload": {"a": DEEP}}, "payload"),
        ({"role": "user", "content": "Hi", "created_at": "2026-01-01T12:00:00Z"}, "created_at"),
    ],
)
def test_what_the_database_would_refuse_or_drop_is_refused_by_the_name_of_its_field(fields, named):
    with pytest.raises(ValidationError) as caught:
        MessageCreate(**fields)
    assert [error["loc"] for error in caught.value.errors()] == [(named,)]


async def test_what_is_no_message_create_is_told_and_what_lacks_a_field_moves_nothing(factory, talk):
    for wrong in ({"role": "user", "content": "x"}, Message(role="user", content="x")):
        async with factory() as session:
            with pytest.raises(TypeError, match=f"type {type(wrong).__name__}\\b.*\n.*MessageCreate"):
                await append_messages(session, talk.user_id, talk.id, [wrong])
    async with factory.begin() as session:
        with statements(factory) as sent, pytest.raises(AttributeError, match="content"):
            unchecked = MessageCreate.model_construct(role="user")
            await append_messages(session, talk.user_id, talk.id, [*said("Hi"), unchecked])
    assert sent == []


async def test_fastapi_takes_messages_as_a_body_and_answers_422_for_what_is_wrong(factory, talk):
    app = FastAPI()

    @app.post("/messages")
    async def append(
        messages: list[MessageCreate], session: Annotated[AsyncSession, Depends(factory.get_session)]
    ) -> list[Message]:
        written = await append_messages(session, talk.user_id, talk.id, messages)
        await session.commit()
        return written

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
        right = {"role": "user", "content": "Hi", "payload": {"a": [1]}}
        answer = await client.post("/messages", json=[right])
        assert answer.status_code == 200, answer.text
        assert [(m["content"], m["payload"]) for m in answer.json()] == [("Hi", {"a": [1]})]
        robot = {"role": "robot", "content": "Hi"}
        for wrong in (robot, {"role": "user", "content": "a\0"}, {"role": "user"}):
            assert (await client.post("/messages", json=[wrong])).status_code == 422
    assert await contents(factory, talk) == ["Hi"]
