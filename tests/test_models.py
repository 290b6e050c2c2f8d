"""The four entities: exactly these tables, and what the database itself keeps of their rules."""

import inspect
import re

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import registry
from sqlmodel import SQLModel

from tests.support.processes import run_python
from todo_schema import Conversation, Message, Task, User
from todo_schema.compatibility import BOOKKEEPING_TABLES, ENTITY_TABLES
from todo_schema.models import SchemaHistory, SchemaVersion, TodoBase

ENTITIES = (User, Conversation, Message, Task)
BOOKKEEPING = (SchemaVersion, SchemaHistory)
TABLES = {entity.__tablename__: entity.__table__ for entity in (*ENTITIES, *BOOKKEEPING)}

UUID, TEXT, TIME, BIGINT, BOOLEAN = "UUID", "TEXT", "TIMESTAMP WITH TIME ZONE", "BIGINT", "BOOLEAN"
KEY, NOW, CLOCK = "todo_schema_uuid7()", "now()", "clock_timestamp()"

# Each column: its type, whether it may be null, its default in the database.
COLUMNS = {
    "users": {
        "id": (UUID, False, KEY),
        "email": (TEXT, False, None),
        "created_at": (TIME, False, NOW),
        "updated_at": (TIME, False, NOW),
    },
    "conversations": {
        "id": (UUID, False, KEY),
        "user_id": (UUID, False, None),
        "created_at": (TIME, False, NOW),
        "updated_at": (TIME, False, NOW),
        "title": (TEXT, True, None),
    },
    "messages": {
        "id": (UUID, False, KEY),
        "conversation_id": (UUID, False, None),
        "user_id": (UUID, False, None),
        "role": (TEXT, False, None),
        "content": (TEXT, False, None),
        "created_at": (TIME, False, CLOCK),
        "payload": ("JSONB", True, None),
    },
    "tasks": {
        "id": (BIGINT, False, "identity"),
        "user_id": (UUID, False, None),
        "title": (TEXT, False, None),
        "description": (TEXT, True, None),
        "completed": (BOOLEAN, False, "false"),
        "created_at": (TIME, False, NOW),
        "updated_at": (TIME, False, NOW),
        "due_at": (TIME, True, None),
        "priority": ("SMALLINT", False, "0"),
        "completed_at": (TIME, True, "fetched"),
    },
}

FOREIGN_KEYS = {
    "fk_conversations_user_id_users": ("conversations", ["user_id"], ["users.id"], "CASCADE"),
    "fk_messages_conversation": (
        "messages",
        ["user_id", "conversation_id"],
        ["conversations.user_id", "conversations.id"],
        "CASCADE",
    ),
    "fk_tasks_user_id_users": ("tasks", ["user_id"], ["users.id"], "CASCADE"),
}

NEWEST = ["created_at DESC", "id DESC"]
INDEXES = {
    "ix_users_email_lower": ("users", ["lower(email)"], True, None),
    "ix_messages_conversation_created": ("messages", ["conversation_id", *NEWEST], False, None),
    "ix_tasks_user_created": ("tasks", ["user_id", *NEWEST], False, None),
    "ix_tasks_user_created_open": ("tasks", ["user_id", *NEWEST], False, "NOT completed"),
}

UNIQUE = {"uq_conversations_user_id_id": ("conversations", ["user_id", "id"])}

CHECKS = {
    "ck_users_email_not_blank": r"email ~ '\S'",
    "ck_users_email_length": "length(email) <= 320",
    "ck_conversations_title_length": "length(title) BETWEEN 1 AND 255",
    "ck_messages_role_known": "role IN ('user', 'assistant', 'system', 'tool')",
    "ck_messages_content_length": "length(content) <= 10485760",
    "ck_messages_payload_object": "jsonb_typeof(payload) = 'object'",
    "ck_tasks_title_not_blank": r"title ~ '\S'",
    "ck_tasks_title_length": "length(title) <= 1024",
    "ck_tasks_description_length": "length(description) <= 16384",
    "ck_tasks_priority_known": "priority BETWEEN 0 AND 9",
}


def default_of(column: sa.Column) -> str | None:
    if column.identity is not None:
        return "identity"
    match column.server_default:
        case None:
            return None
        case sa.DefaultClause(arg=arg):
            return str(arg.compile(dialect=postgresql.dialect()))
        case _:
            return "fetched"


def described(table: sa.Table) -> dict[str, tuple[str, bool, str | None]]:
    dialect = postgresql.dialect()
    return {
        column.name: (column.type.compile(dialect), bool(column.nullable), default_of(column))
        for column in table.columns
    }


@pytest.mark.parametrize("table", COLUMNS)
def test_an_entity_has_exactly_these_columns_in_their_order(table: str):
    assert described(TABLES[table]) == COLUMNS[table]
    assert list(described(TABLES[table])) == list(COLUMNS[table])


def test_the_package_has_these_tables_and_no_others():
    ours = {table.name for table in SQLModel.metadata.tables.values() if table in TABLES.values()}
    assert ours == ENTITY_TABLES | BOOKKEEPING_TABLES
    assert set(COLUMNS) == ENTITY_TABLES
    declared = run_python(
        "import sqlmodel, todo_schema.models; print(*sorted(sqlmodel.SQLModel.metadata.tables))"
    ).stdout.split()
    assert set(declared) == ENTITY_TABLES | BOOKKEEPING_TABLES


@pytest.mark.parametrize("table", TABLES)
def test_the_primary_key_is_the_named_first_column(table: str):
    key = TABLES[table].primary_key
    assert key.name == f"pk_{table}"
    assert [column.name for column in key] == [next(iter(TABLES[table].columns)).name]


def test_every_foreign_key_is_named_and_cascades():
    found = {
        constraint.name: (
            table.name,
            constraint.column_keys,
            [element.target_fullname for element in constraint.elements],
            constraint.ondelete,
        )
        for table in TABLES.values()
        for constraint in table.foreign_key_constraints
    }
    assert found == FOREIGN_KEYS


def test_the_indexes_are_these_and_no_others():
    found = {
        index.name: (
            table.name,
            [str(part).replace(f"{table.name}.", "") for part in index.expressions],
            bool(index.unique),
            None if (where := index.dialect_options["postgresql"]["where"]) is None else str(where),
        )
        for table in TABLES.values()
        for index in table.indexes
    }
    assert found == INDEXES


def test_the_rules_of_the_entities_are_these_and_no_others():
    rules = [item for entity in ENTITIES for item in entity.__table__.constraints]
    checks = {item.name: str(item.sqltext) for item in rules if isinstance(item, sa.CheckConstraint)}
    unique = {
        item.name: (item.table.name, [column.name for column in item.columns])
        for item in rules
        if isinstance(item, sa.UniqueConstraint)
    }
    assert checks == CHECKS
    assert unique == UNIQUE


@pytest.mark.parametrize("table", TABLES)
def test_every_constraint_and_index_is_named_for_its_table(table: str):
    for item in (*TABLES[table].constraints, *TABLES[table].indexes):
        assert item.name, item
        assert re.match(rf"(pk|fk|ck|ix|uq)_{table}(_|$)", str(item.name))


@pytest.mark.parametrize("table", TABLES)
def test_every_table_and_column_is_documented_in_the_database(table: str):
    assert TABLES[table].comment
    for column in TABLES[table].columns:
        assert column.comment, column
        assert column.comment.endswith(".")
    said = [TABLES[table].comment, *(column.comment for column in TABLES[table].columns)]
    # A database in LATIN1 or SQL_ASCII takes them as well.
    assert all(text.isascii() for text in said)


@pytest.mark.parametrize("entity", [*ENTITIES, *BOOKKEEPING], ids=lambda entity: entity.__name__)
def test_every_column_is_documented_in_the_docstring_in_its_order(entity: type[SQLModel]):
    _, _, attributes = str(inspect.getdoc(entity)).partition("Attributes:\n")
    documented = re.findall(r"^    (\w+): \S", attributes, flags=re.MULTILINE)
    related = sorted(sa.inspect(entity).relationships.keys())
    assert documented == [*(column.name for column in entity.__table__.columns), *related]


@pytest.mark.parametrize("entity", [*ENTITIES, *BOOKKEEPING], ids=lambda entity: entity.__name__)
def test_every_column_states_its_type_and_none_is_left_to_sqlmodel(entity: type[SQLModel]):
    allowed = (
        sa.Uuid, sa.Text, sa.DateTime, sa.BigInteger, sa.Boolean, sa.Integer, sa.Interval, postgresql.JSONB,
    )  # fmt: skip
    for column in entity.__table__.columns:
        assert isinstance(column.type, allowed), column
        assert type(column.type).__module__.startswith("sqlalchemy.")
        if isinstance(column.type, sa.DateTime):
            assert column.type.timezone


# What a service may have of its own; each runs alone, for a class stays in the registry for good.
SERVICES = {
    "classes named like ours with a relationship between them": """
class Message(SQLModel, table=True):
    __tablename__ = "service_messages"
    id: int | None = Field(default=None, primary_key=True)

class User(SQLModel, table=True):
    __tablename__ = "service_users"
    id: int | None = Field(default=None, primary_key=True)
    messages: list["Post"] = Relationship(back_populates="author")

class Post(SQLModel, table=True):
    id: int | None = Field(default=None, primary_key=True)
    author_id: int = Field(foreign_key="service_users.id")
    author: "User" = Relationship(back_populates="messages")

rows = [User(messages=[Post()]), Message()]
read = lambda: session.exec(select(Post)).one().author.id == 1
""",
    "a foreign key to users": """
class Note(SQLModel, table=True):
    id: int | None = Field(default=None, primary_key=True)
    user_id: uuid.UUID = Field(foreign_key="users.id", ondelete="CASCADE")

user = todo_schema.User(email="ann@example.com")
rows = [user]
later = lambda: [Note(user_id=user.id)]
read = lambda: session.exec(select(Note, todo_schema.User).join(todo_schema.User)).one()[1].email == user.email
""",
    "a relationship to User by class": """
class Note(SQLModel, table=True):
    id: int | None = Field(default=None, primary_key=True)
    user_id: uuid.UUID = Field(foreign_key="users.id")
    user: todo_schema.User = Relationship()

rows = [Note(user=todo_schema.User(email="ann@example.com"))]
read = lambda: session.exec(select(Note)).one().user.email == "ann@example.com"
""",
}

SERVICE = """
import sys, uuid
import todo_schema
from todo_schema import Conversation, Message as OurMessage, Task
from sqlalchemy.orm import configure_mappers
from sqlmodel import Field, Relationship, Session, SQLModel, create_engine, select

{models}
configure_mappers()
engine = create_engine(sys.argv[1].replace("postgresql://", "postgresql+psycopg://"))
SQLModel.metadata.create_all(engine)
with Session(engine) as session:
    session.add_all(rows)
    session.commit()
    session.add_all(globals().get("later", list)())
    session.commit()
    assert read()
    assert session.exec(select(OurMessage)).all() == []
print("worked")
"""


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_may_have(upgraded_database: str, service: str):
    done = run_python(SERVICE.format(models=SERVICES[service]), upgraded_database)
    assert done.stdout == "worked\n", done.stderr


def test_the_registry_is_our_own_and_the_metadata_is_the_shared_one():
    assert TodoBase.metadata is SQLModel.metadata
    own = TodoBase._sa_registry
    assert isinstance(own, registry)
    assert own is not SQLModel._sa_registry
    assert set(own._class_registry) >= {entity.__name__ for entity in ENTITIES}
    assert not {"User", "Message"} & set(SQLModel._sa_registry._class_registry)


def test_a_service_inherits_no_naming_convention_from_us():
    assert set(SQLModel.metadata.naming_convention) == {"ix"}
