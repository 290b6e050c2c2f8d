"""What the database itself keeps of the entities' rules, whoever writes: SQLModel, psql or another service."""

import uuid
from datetime import datetime

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, create_engine, select

from tests.support.servers import execute
from todo_schema import Conversation, Message, Task, User, session_factory

ENTITIES = (User, Conversation, Message, Task)

NOBODY = uuid.UUID(int=0)


@pytest.fixture
def session(upgraded_database: str):
    engine = create_engine(upgraded_database.replace("postgresql://", "postgresql+psycopg://"))
    with Session(engine) as opened:
        yield opened
    engine.dispose()


@pytest.fixture
def user(session: Session) -> User:
    made = User(email="ann@example.com")
    session.add(made)
    session.commit()
    return made


def constraint_of(error: Exception) -> str | None:
    driver = getattr(error, "orig", error)
    return driver.diag.constraint_name


def test_the_database_supplies_what_a_plain_insert_leaves_out(upgraded_database: str):
    ((user_id, created_at, updated_at),) = execute(
        upgraded_database, "INSERT INTO users (email) VALUES ('a@b') RETURNING id, created_at, updated_at"
    )
    assert isinstance(user_id, uuid.UUID)
    assert created_at.tzinfo is not None
    assert created_at == updated_at
    rows = execute(
        upgraded_database,
        "INSERT INTO tasks (user_id, title) SELECT id, title FROM users, (VALUES ('x'), ('y')) v (title)"
        " RETURNING id, completed, description",
    )
    assert rows == [(1, False, None), (2, False, None)]


def test_the_number_of_a_task_may_be_given_as_a_restore_does(upgraded_database: str):
    execute(upgraded_database, "INSERT INTO users (email) VALUES ('a@b')")
    rows = execute(
        upgraded_database,
        "INSERT INTO tasks (id, user_id, title) SELECT 5000000000, id, 'x' FROM users RETURNING id",
    )
    assert rows == [(5_000_000_000,)]


# Rows that are there before a rule is tripped.
ANN, CHAT, SAID = uuid.UUID(int=1), uuid.UUID(int=2), uuid.UUID(int=3)
EXISTING = f"""
INSERT INTO users (id, email) VALUES ('{ANN}', 'ann@example.com');
INSERT INTO conversations (id, user_id) VALUES ('{CHAT}', '{ANN}');
INSERT INTO messages (id, conversation_id, user_id, role, content) VALUES ('{SAID}', '{CHAT}', '{ANN}', 'user', '');
INSERT INTO tasks (id, user_id, title) VALUES (7, '{ANN}', 'x')"""

# What trips each rule: an entity, and a row written past SQLModel.
TRIPS = {
    "ck_users_email_not_blank": (lambda: User(email=" \t\n"), "users (email) VALUES (' ')"),
    "ix_users_email": (
        lambda: User(email="ann@example.com"),
        "users (email) VALUES ('ann@example.com')",
    ),
    "pk_users": (lambda: User(id=ANN, email="x@y"), f"users (id, email) VALUES ('{ANN}', 'x@y')"),
    "pk_conversations": (
        lambda: Conversation(id=CHAT, user_id=ANN),
        f"conversations (id, user_id) VALUES ('{CHAT}', '{ANN}')",
    ),
    "fk_conversations_user_id_users": (
        lambda: Conversation(user_id=NOBODY),
        f"conversations (user_id) VALUES ('{NOBODY}')",
    ),
    "ck_messages_role_known": (
        lambda: Message(conversation_id=CHAT, user_id=ANN, role="robot", content="x"),
        f"messages (conversation_id, user_id, role, content) VALUES ('{CHAT}', '{ANN}', 'User', 'x')",
    ),
    "fk_messages_conversation_id_conversations": (
        lambda: Message(conversation_id=NOBODY, user_id=ANN, role="user", content="x"),
        f"messages (conversation_id, user_id, role, content) VALUES ('{NOBODY}', '{ANN}', 'user', 'x')",
    ),
    "fk_messages_user_id_users": (
        lambda: Message(conversation_id=CHAT, user_id=NOBODY, role="user", content="x"),
        f"messages (conversation_id, user_id, role, content) VALUES ('{CHAT}', '{NOBODY}', 'user', 'x')",
    ),
    "pk_messages": (
        lambda: Message(id=SAID, conversation_id=CHAT, user_id=ANN, role="user", content="x"),
        f"messages VALUES ('{SAID}', '{CHAT}', '{ANN}', 'user', 'x')",
    ),
    "ck_tasks_title_not_blank": (
        lambda: Task(user_id=ANN, title=""),
        f"tasks (user_id, title) VALUES ('{ANN}', E'\\t')",
    ),
    "fk_tasks_user_id_users": (
        lambda: Task(user_id=NOBODY, title="x"),
        f"tasks (user_id, title) VALUES ('{NOBODY}', 'x')",
    ),
    "pk_tasks": (
        lambda: Task(id=7, user_id=ANN, title="x"),
        f"tasks (id, user_id, title) VALUES (7, '{ANN}', 'x')",
    ),
}


def test_each_rule_of_the_entities_has_a_test_that_trips_it():
    rules = {
        str(item.name)
        for entity in ENTITIES
        for item in (*entity.__table__.constraints, *entity.__table__.indexes)
        if not isinstance(item, sa.Index) or item.unique
    }
    assert set(TRIPS) == rules


@pytest.mark.parametrize("rule", TRIPS)
def test_the_database_keeps_each_rule_by_its_name(session: Session, upgraded_database: str, rule: str):
    execute(upgraded_database, EXISTING)
    entity, row = TRIPS[rule]
    session.add(entity())
    with pytest.raises(IntegrityError) as caught:
        session.commit()
    assert constraint_of(caught.value) == rule
    with pytest.raises(psycopg.IntegrityError) as raw:
        execute(upgraded_database, f"INSERT INTO {row}")
    assert constraint_of(raw.value) == rule


@pytest.mark.parametrize("role", ["user", "assistant", "system", "tool"])
def test_every_known_role_is_stored(session: Session, user: User, role: str):
    conversation = Conversation(user_id=user.id)
    session.add(conversation)
    session.flush()
    session.add(Message(conversation_id=conversation.id, user_id=user.id, role=role, content=""))
    session.commit()
    assert session.exec(select(Message.role)).all() == [role]


@pytest.mark.parametrize("table", ["conversations", "messages", "tasks"])
def test_deleting_a_user_deletes_all_that_is_theirs_and_nothing_of_others(
    session: Session, user: User, upgraded_database: str, table: str
):
    other = User(email="bob@example.com")
    session.add(other)
    session.flush()
    for owner in (user, other):
        conversation = Conversation(user_id=owner.id)
        session.add_all([conversation, Task(user_id=owner.id, title="x")])
        session.flush()
        session.add(Message(conversation_id=conversation.id, user_id=owner.id, role="user", content="x"))
    session.commit()
    remaining = other.id
    session.delete(user)
    session.commit()
    assert execute(upgraded_database, f"SELECT user_id FROM {table}") == [(remaining,)]


def test_deleting_a_conversation_deletes_its_messages(session: Session, user: User, upgraded_database: str):
    conversation = Conversation(user_id=user.id)
    session.add(conversation)
    session.flush()
    session.add(Message(conversation_id=conversation.id, user_id=user.id, role="user", content="x"))
    session.commit()
    execute(upgraded_database, "DELETE FROM conversations")
    assert execute(upgraded_database, "SELECT FROM messages") == []


async def test_updated_at_can_be_read_after_an_update_in_an_async_session(upgraded_database: str):
    async with session_factory(upgraded_database) as factory:
        async with factory.begin() as session:
            user = User(email="ann@example.com")
            session.add(user)
            await session.flush()
            task = Task(user_id=user.id, title="x")
            session.add(task)
        first = task.updated_at
        assert task.created_at == first
        async with factory() as session:
            session.add(task)
            task.completed = True
            await session.flush()
            assert task.updated_at > first  # without a query: none is awaited here
            assert task.created_at == first
            await session.commit()
            assert isinstance(task.updated_at, datetime)
