"""What leads from one entity to another: it is there where it was asked for, and never asks by itself."""

import itertools
import uuid
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import IntegrityError, InvalidRequestError
from sqlalchemy.orm import joinedload, selectinload
from sqlmodel import select

from todo_schema import Conversation, Message, SessionFactory, Task, User, session_factory

RELATIONSHIPS = [(Conversation, "user"), (Message, "conversation"), (Task, "user")]


@pytest.fixture
async def factory(upgraded_database: str) -> AsyncIterator[SessionFactory]:
    async with session_factory(upgraded_database) as made:
        yield made


@pytest.fixture
async def message(factory: SessionFactory) -> Message:
    """A message, in a database that has one row of each entity."""
    async with factory.begin() as session:
        user = User(email="ada@example.com")
        talk = Conversation(user_id=user.id, user=user)
        session.add(Task(user_id=user.id, user=user, title="Buy milk"))
        session.add(made := Message(user_id=user.id, conversation=talk, role="user", content="Hi"))
    return made


def note_statements(factory: SessionFactory, sent: list[str]) -> None:
    def note(connection, cursor, statement, parameters, context, executemany):
        sent.append(statement)

    event.listen(factory.engine.sync_engine, "before_cursor_execute", note)


async def one(session, entity, *options):
    return (await session.exec(select(entity).options(*options))).one()


@pytest.mark.parametrize(("entity", "name"), RELATIONSHIPS)
@pytest.mark.parametrize("after", ["loading", "flush", "commit", "rollback", "expire", "refresh", "closing"])
async def test_what_was_not_asked_for_says_so_and_never_asks(factory, message, entity, name, after):
    async with factory(expire_on_commit=after == "commit") as session:
        loaded = await one(session, entity)
        match after:
            case "flush":
                await session.flush()
            case "commit":
                await session.commit()
            case "rollback":
                await session.rollback()
            case "expire":
                session.expire(loaded)
            case "refresh":
                await session.refresh(loaded)
            case "closing":
                await session.close()
        # MissingGreenlet is an InvalidRequestError too; and what is detached says DetachedInstanceError.
        with pytest.raises(InvalidRequestError) as caught:
            getattr(loaded, name)
        assert type(caught.value) is InvalidRequestError
        assert f"'{entity.__name__}.{name}' is not available due to lazy='raise'" in str(caught.value)


@pytest.mark.parametrize(("entity", "name"), RELATIONSHIPS)
async def test_a_new_object_has_none_until_it_is_set(factory, entity, name):
    assert getattr(entity(), name) is None


@pytest.mark.parametrize("load", [joinedload, selectinload])
async def test_what_was_asked_for_is_there_also_when_the_session_is_closed(factory, message, load):
    async with factory() as session:
        found = await one(session, Message, load(Message.conversation).options(load(Conversation.user)))
        task = await one(session, Task, load(Task.user))
    assert found.conversation.id == message.conversation_id
    assert found.conversation.user.email == "ada@example.com"
    assert task.user is found.conversation.user


async def test_what_is_asked_for_by_refresh_is_there(factory, message):
    async with factory() as session:
        found = await one(session, Message)
        await session.refresh(found, ["conversation"])
        assert found.conversation.id == message.conversation_id


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))), ids=str)
async def test_objects_added_in_any_order_are_written_parents_first(factory, order):
    user = User(email="ada@example.com")
    talk = Conversation(user_id=user.id)
    rows = [
        user,
        talk,
        Message(user_id=user.id, conversation_id=talk.id, role="user", content="Hi"),
        Task(user_id=user.id, title="Buy milk"),
    ]
    async with factory.begin() as session:
        session.add_all(rows[place] for place in order)
    async with factory() as session:
        assert (await one(session, Message)).conversation_id == talk.id


async def test_setting_the_conversation_of_a_message_sets_both_columns_of_its_key(factory, message):
    async with factory.begin() as session:
        talk = await one(session, Conversation)
        session.add(reply := Message(conversation=talk, role="assistant", content="Hello"))
        await session.flush()
        assert (reply.user_id, reply.conversation_id) == (talk.user_id, talk.id)
        other = User(email="bob@example.com")
        session.add(moved := Conversation(user=other))
        await session.flush()
        assert moved.user_id == other.id
        reply.conversation = moved
        await session.flush()
        await session.refresh(reply)
        assert (reply.user_id, reply.conversation_id) == (other.id, moved.id)


@pytest.mark.parametrize("loaded", [False, True])
async def test_deleting_a_user_deletes_in_the_database_what_is_theirs_and_loads_none_of_it(
    factory, message, loaded
):
    sent: list[str] = []
    async with factory() as session:
        user = await one(session, User)
        if loaded:
            await one(session, Conversation, joinedload(Conversation.user))
            await one(session, Message)
            await one(session, Task)
        note_statements(factory, sent)
        await session.delete(user)
        await session.commit()
    assert [statement.split()[:3] for statement in sent] == [["DELETE", "FROM", "users"]]
    async with factory() as session:
        for entity in (User, Conversation, Message, Task):
            assert (await session.exec(select(entity))).all() == []


async def test_deleting_a_conversation_deletes_its_messages_and_leaves_its_user(factory, message):
    async with factory.begin() as session:
        await session.delete(await one(session, Conversation))
    async with factory() as session:
        assert (await session.exec(select(Message))).all() == []
        assert (await one(session, User)).email == "ada@example.com"


async def test_what_the_database_sets_is_read_after_a_flush_without_a_query(factory, message):
    async with factory.begin() as session:
        user, talk, task = [await one(session, entity) for entity in (User, Conversation, Task)]
        before = [row.updated_at for row in (user, talk, task)]
        user.email = "lovelace@example.com"
        talk.title = "Shopping"
        task.completed = True
        await session.flush()
        sent: list[str] = []
        note_statements(factory, sent)
        assert all(row.updated_at > time for row, time in zip((user, talk, task), before, strict=True))
        assert task.completed_at is not None
        task.completed = False
        await session.flush()
        assert task.completed_at is None
        session.add(new := Task(user_id=user.id, title="Buy bread", completed=True))
        await session.flush()
        assert new.completed_at is not None
        assert new.id
        assert new.created_at
        assert [statement.split()[0] for statement in sent] == ["UPDATE", "INSERT"]


async def test_what_the_database_set_is_what_is_there(factory, message):
    async with factory.begin() as session:
        task = await one(session, Task)
        task.completed = True
        await session.flush()
        seen = (task.updated_at, task.completed_at)
        asked = text("SELECT updated_at, completed_at FROM tasks")
        assert tuple((await session.exec(asked)).one()) == seen


async def test_a_conversation_of_nobody_is_refused_by_the_name_of_its_key(factory):
    async with factory() as session:
        session.add(Conversation(user_id=uuid.uuid4()))
        with pytest.raises(IntegrityError, match="fk_conversations_user_id_users"):
            await session.flush()
