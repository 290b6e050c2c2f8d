"""What the database itself keeps of the entities' rules, whoever writes: SQLModel, psql or another service."""

import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Any

import psycopg
import pytest
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session, SQLModel, create_engine, select

from tests.support.rows_to_break import ANN, BEN, BENS, CHAT, EXISTING, NOBODY, SAID
from tests.support.servers import execute
from todo_schema import Conversation, Message, Task, User, session_factory

ENTITIES = (User, Conversation, Message, Task)


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


def message(**other: Any) -> Message:
    return Message(**{"conversation_id": CHAT, "user_id": ANN, "role": "user", "content": "x", **other})


def message_row(conversation: uuid.UUID = CHAT, user: uuid.UUID = ANN, **other: str) -> str:
    values = {"role": "'user'", "content": "'x'", **other}
    return (
        f"messages (conversation_id, user_id, {', '.join(values)})"
        f" VALUES ('{conversation}', '{user}', {', '.join(values.values())})"
    )


def task_row(**values: str) -> str:
    values = {"title": "'x'", **values}
    return f"tasks (user_id, {', '.join(values)}) VALUES ('{ANN}', {', '.join(values.values())})"


# What trips each rule: an entity, and a row written past SQLModel. Characters count, not bytes.
TRIPS: list[tuple[str, Callable[[], SQLModel], str]] = [
    ("pk_users", lambda: User(id=ANN, email="x@y"), f"users (id, email) VALUES ('{ANN}', 'x@y')"),
    ("ck_users_email_not_blank", lambda: User(email=" \t\n"), "users (email) VALUES (' ')"),
    ("ck_users_email_length", lambda: User(email="x" * 321), "users (email) VALUES (repeat('é', 321))"),
    ("ix_users_email", lambda: User(email="ann@example.com"), "users (email) VALUES ('ann@example.com')"),
    (
        "ix_users_email_lower",
        lambda: User(email="ANN@example.com"),
        "users (email) VALUES ('Ann@Example.COM')",
    ),
    (
        "pk_conversations",
        lambda: Conversation(id=CHAT, user_id=ANN),
        f"conversations (id, user_id) VALUES ('{CHAT}', '{ANN}')",
    ),
    (
        "uq_conversations_user_id_id",
        lambda: Conversation(id=CHAT, user_id=ANN),
        f"conversations (id, user_id) VALUES ('{CHAT}', '{ANN}')",
    ),
    (
        "fk_conversations_user_id_users",
        lambda: Conversation(user_id=NOBODY),
        f"conversations (user_id) VALUES ('{NOBODY}')",
    ),
    (
        "ck_conversations_title_length",
        lambda: Conversation(user_id=ANN, title=""),
        f"conversations (user_id, title) VALUES ('{ANN}', repeat('é', 256))",
    ),
    ("pk_messages", lambda: message(id=SAID), message_row(id=f"'{SAID}'")),
    ("ck_messages_role_known", lambda: message(role="robot"), message_row(role="'User'")),
    (
        "ck_messages_content_length",
        lambda: message(content="x" * 10_485_761),
        message_row(content="repeat('é', 10485761)"),
    ),
    ("ck_messages_payload_object", lambda: message(payload=["a"]), message_row(payload="'null'")),
    ("fk_messages_conversation", lambda: message(conversation_id=BENS), message_row(conversation=BENS)),
    ("fk_messages_conversation", lambda: message(user_id=BEN), message_row(user=BEN)),
    ("fk_messages_conversation", lambda: message(conversation_id=NOBODY), message_row(conversation=NOBODY)),
    ("fk_messages_conversation", lambda: message(user_id=NOBODY), message_row(user=NOBODY)),
    ("pk_tasks", lambda: Task(id=7, user_id=ANN, title="x"), task_row(id="7")),
    (
        "fk_tasks_user_id_users",
        lambda: Task(user_id=NOBODY, title="x"),
        task_row().replace(str(ANN), str(NOBODY)),
    ),
    ("ck_tasks_title_not_blank", lambda: Task(user_id=ANN, title=""), task_row(title=r"E'\t'")),
    (
        "ck_tasks_title_length",
        lambda: Task(user_id=ANN, title="x" * 1025),
        task_row(title="repeat('é', 1025)"),
    ),
    (
        "ck_tasks_description_length",
        lambda: Task(user_id=ANN, title="x", description="x" * 16_385),
        task_row(description="repeat('é', 16385)"),
    ),
    ("ck_tasks_priority_known", lambda: Task(user_id=ANN, title="x", priority=10), task_row(priority="-1")),
]
# What has to go, so that this rule is the first to be broken.
IN_FRONT = {"uq_conversations_user_id_id": "ALTER TABLE conversations DROP CONSTRAINT pk_conversations"}


def test_each_rule_of_the_entities_has_a_test_that_trips_it(upgraded_database: str):
    tables = [entity.__tablename__ for entity in ENTITIES]
    rules = execute(
        upgraded_database,
        "SELECT conname FROM pg_constraint WHERE conrelid = ANY (%s::regclass[]) AND contype <> 'n' UNION"
        " SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = ANY (%s::regclass[]) AND indisunique",
        (tables, tables),
    )
    assert {rule for rule, _, _ in TRIPS} == {rule for (rule,) in rules}


@pytest.mark.parametrize(("rule", "entity", "row"), TRIPS)
def test_the_database_keeps_each_rule_by_its_name(
    session: Session, upgraded_database: str, rule: str, entity: Callable[[], SQLModel], row: str
):
    execute(upgraded_database, EXISTING)
    execute(upgraded_database, IN_FRONT.get(rule, "SELECT"))
    session.add(entity())
    with pytest.raises(IntegrityError) as caught:
        session.commit()
    assert constraint_of(caught.value) == rule
    with pytest.raises(psycopg.IntegrityError) as raw:
        execute(upgraded_database, f"INSERT INTO {row}")
    assert constraint_of(raw.value) == rule


@pytest.mark.parametrize(
    ("rule", "change"),
    [
        ("fk_messages_conversation", f"UPDATE messages SET user_id = '{BEN}'"),
        ("fk_messages_conversation", f"UPDATE messages SET conversation_id = '{BENS}'"),
        ("fk_messages_conversation", f"UPDATE conversations SET user_id = '{BEN}'"),
        ("ix_users_email_lower", f"UPDATE users SET email = 'Ann@example.com' WHERE id = '{BEN}'"),
        ("ck_tasks_priority_known", "UPDATE tasks SET priority = 10"),
        ("ck_messages_payload_object", "UPDATE messages SET payload = '\"text\"'"),
    ],
)
def test_a_row_that_is_there_is_not_changed_against_a_rule(upgraded_database: str, rule: str, change: str):
    execute(upgraded_database, EXISTING)
    with pytest.raises(psycopg.IntegrityError) as caught:
        execute(upgraded_database, change)
    assert constraint_of(caught.value) == rule


def test_what_has_to_be_there_cannot_be_null(upgraded_database: str):
    execute(upgraded_database, EXISTING)
    for entity in ENTITIES:
        for column in entity.__table__.columns:
            if not column.nullable:
                with pytest.raises(psycopg.errors.NotNullViolation) as caught:
                    execute(upgraded_database, f"UPDATE {entity.__tablename__} SET {column.name} = NULL")
                assert caught.value.diag.column_name == column.name


# What a rule just allows. Characters of four bytes: what the rules say is characters.
WIDE = "🦄"
ALLOWED: dict[str, tuple[type[SQLModel], list[Any]]] = {
    "users.email": (User, ["x", WIDE * 320]),
    "conversations.title": (Conversation, [None, " ", WIDE * 255]),
    "messages.content": (Message, ["", WIDE * 10_485_760]),
    "messages.payload": (Message, [None, {}, {"calls": [{"name": WIDE, "arguments": None}]}]),
    "tasks.title": (Task, ["x", WIDE * 1024]),
    "tasks.description": (Task, [None, "", WIDE * 16_384]),
    "tasks.priority": (Task, [0, 9]),
}
ROWS: dict[type[SQLModel], dict[str, Any]] = {
    User: {},
    Conversation: {"user_id": ANN},
    Message: {"conversation_id": CHAT, "user_id": ANN, "role": "user", "content": "x"},
    Task: {"user_id": ANN, "title": "x"},
}


@pytest.mark.parametrize("column", ALLOWED)
def test_what_a_rule_just_allows_is_stored_as_it_is(session: Session, upgraded_database: str, column: str):
    execute(upgraded_database, EXISTING)
    (entity, values), name = ALLOWED[column], column.split(".")[1]
    rows = [entity(**{**ROWS[entity], name: value}) for value in values]
    session.add_all(rows)
    session.commit()
    assert [getattr(row, name) for row in rows] == values
    # JSON's null would be another thing than none.
    nulls = f"SELECT FROM {entity.__tablename__} WHERE {name} IS NULL AND id = %s"
    assert len(execute(upgraded_database, nulls, (rows[0].id,))) == (None in values)


@pytest.mark.parametrize("role", ["user", "assistant", "system", "tool"])
def test_every_known_role_is_stored(session: Session, user: User, role: str):
    conversation = Conversation(user_id=user.id)
    session.add_all(
        [conversation, Message(conversation_id=conversation.id, user_id=user.id, role=role, content="")]
    )
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
            task = Task(user_id=user.id, title="x")
            session.add_all([user, task])
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
