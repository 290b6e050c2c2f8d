"""What the database keeps holds for a release that knows nothing of it, whose normal use goes on as it was.

The released wheel's own code does all of it, in a process of its own, on a database at the head.
"""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.support.old_services import OLD
from tests.support.processes import run_python
from tests.support.releases import RELEASES, Release
from tests.support.rows_to_break import EXISTING, KEYS, NOBODY
from tests.support.servers import execute
from todo_schema import SCHEMA_VERSION, catalog, downgrade
from todo_schema.compatibility import ENTITY_TABLES

RELEASE = Release(RELEASES / OLD)
OF_ENTITIES = tuple(f" {table}." for table in ENTITY_TABLES)

_BEGIN = f"""
import asyncio, json, sys, uuid
import todo_schema
from sqlalchemy import text, update
from sqlalchemy.exc import IntegrityError
from sqlmodel import SQLModel, select
from todo_schema import Conversation, Message, Task, User, session_factory

NOBODY, ANN, BEN, CHAT, SAID, BENS = map(uuid.UUID, {[str(key) for key in (NOBODY, *KEYS)]})
url = sys.argv[1]
upgraded, checked = todo_schema.upgrade(url).after, todo_schema.check(url)
said = {{"version": todo_schema.__version__, "upgrade": upgraded, "check": checked}}
"""

# Each writes one row against a rule, and tells by which rule it was refused, and whether the message names it.
_TRIPPING = (
    _BEGIN
    + """
def said_of(conversation, user, role="user", content="x", **other):
    return Message(conversation_id=conversation, user_id=user, role=role, content=content, **other)

cases = eval(sys.argv[2])

async def main():
    async with session_factory(url) as sessions:
        for rule, row in cases.items():
            try:
                async with sessions.begin() as session:
                    if isinstance(row, SQLModel):
                        session.add(row)
                    else:
                        await session.execute(row)
            except IntegrityError as error:
                name = error.orig.__cause__.constraint_name
                said[rule] = name if f'"{name}"' in str(error) else f"not in the message: {error}"
            else:
                said[rule] = "stored"
    print(json.dumps(said))

asyncio.run(main())
"""
)

# The rule; after a blank, which way of breaking it.
TRIPS = {
    "fk_messages_conversation of another user": "said_of(BENS, ANN)",
    "fk_messages_conversation by another user": "said_of(CHAT, BEN)",
    "fk_messages_conversation of no conversation": "said_of(NOBODY, ANN)",
    "fk_messages_conversation of no user": "said_of(CHAT, NOBODY)",
    "ix_users_email_lower": "User(email='ANN@Example.com')",
    "ix_users_email": "User(email='ann@example.com')",
    "ck_users_email_length": "User(email='x' * 321)",
    "ck_users_email_not_blank": "User(email=' ')",
    "ck_tasks_title_length": "Task(user_id=ANN, title='x' * 1025)",
    "ck_tasks_title_not_blank": "Task(user_id=ANN, title=' ')",
    "ck_tasks_description_length": "Task(user_id=ANN, title='x', description='x' * 16385)",
    "ck_messages_content_length": "said_of(CHAT, ANN, content='x' * 10485761)",
    "ck_messages_role_known": "said_of(CHAT, ANN, role='robot')",
    "fk_conversations_user_id_users": "Conversation(user_id=NOBODY)",
    "fk_tasks_user_id_users": "Task(user_id=NOBODY, title='x')",
    "pk_users": "User(id=ANN, email='x')",
    "pk_conversations": "Conversation(id=CHAT, user_id=ANN)",
    "pk_messages": "said_of(CHAT, ANN, id=SAID)",
    "pk_tasks": "Task(id=7, user_id=ANN, title='x')",
}
# What the models of the release do not know, its SQL may write all the same.
TRIPS_BY_SQL = {
    "ck_conversations_title_length": "text(f\"UPDATE conversations SET title = '' WHERE id = '{CHAT}'\")",
    "ck_messages_payload_object": "text(f\"UPDATE messages SET payload = '[]' WHERE id = '{SAID}'\")",
    "ck_tasks_priority_known": "text('UPDATE tasks SET priority = 10 WHERE id = 7')",
}
# Those that the release may break in its own version.
NEW = {
    "fk_messages_conversation of another user",
    "fk_messages_conversation by another user",
    "ix_users_email_lower",
    "ck_users_email_length",
    "ck_tasks_title_length",
    "ck_tasks_description_length",
    "ck_messages_content_length",
}
ALLOWED = {
    "address": "User(email='\\U0001f984' * 320)",
    "title": "Task(user_id=ANN, title='\\U0001f984' * 1024, description='\\U0001f984' * 16384)",
    "content": "said_of(CHAT, ANN, role='tool', content='\\U0001f984' * 10485760)",
}

_USING = (
    _BEGIN
    + """
async def main():
    async with session_factory(url) as sessions:
        async with sessions.begin() as session:
            user = User(email="eve@example.com")
            session.add(user)
            await session.flush()
            talk = Conversation(user_id=user.id)
            session.add(talk)
            await session.flush()
            titles = ("by the ORM", "by SQL", "in bulk", "reopened", "gone")
            tasks = [Task(user_id=user.id, title=title) for title in titles]
            session.add_all(tasks)
            await session.flush()
            done = Task(user_id=user.id, title="written as done", completed=True)
            session.add(done)
        for turn in range(100):
            async with sessions.begin() as session:
                for place in range(3):
                    content = f"{turn:02} {place}"
                    session.add(Message(conversation_id=talk.id, user_id=user.id, role="user", content=content))
                    await session.flush()
        written = {task.title: task.updated_at for task in tasks}
        said["written"] = {title: at.isoformat() for title, at in written.items()}
        said["moved"] = {}
        async with sessions.begin() as session:
            by_orm, by_sql, in_bulk, reopened, gone = (
                await session.exec(select(Task).where(Task.user_id == user.id).order_by(Task.id).limit(5))
            ).all()
            by_orm.completed = True
            reopened.completed = True
            await session.flush()
            # Without a query: none is awaited here.
            said["read"] = by_orm.updated_at.isoformat()
            await session.execute(text("UPDATE tasks SET completed = true WHERE id = :id"), {"id": by_sql.id})
            await session.execute(update(Task).where(Task.id == in_bulk.id).values(completed=True))
            await session.delete(gone)
        async with sessions.begin() as session:
            await session.execute(text("UPDATE users SET email = 'eve@example.org'"))
            await session.execute(text("UPDATE conversations SET created_at = created_at"))
        async with sessions() as session:
            for entity in (User, Conversation):
                row = (await session.exec(select(entity))).one()
                said["moved"][entity.__tablename__] = row.updated_at > row.created_at
        async with sessions.begin() as session:
            task = (await session.exec(select(Task).where(Task.title == "reopened"))).one()
            task.completed = False
        async with sessions() as session:
            messages = (
                await session.exec(
                    select(Message)
                    .where(Message.conversation_id == talk.id)
                    .order_by(Message.created_at, Message.id)
                )
            ).all()
            said["contents"] = [message.content for message in messages]
            found = (await session.exec(select(User).where(User.email == "eve@example.org"))).one()
            said["found"] = found.id == user.id
        async with sessions.begin() as session:
            await session.delete(await session.get(Conversation, talk.id))
        said["left"] = {}
        async with sessions() as session:
            for entity in (User, Conversation, Message, Task):
                said["left"][entity.__tablename__] = len((await session.exec(select(entity))).all())
    print(json.dumps(said))

asyncio.run(main())
"""
)


def told(code: str, url: str, *arguments: str, package: Path, boot: str = "ahead") -> dict[str, Any]:
    """What the release printed, having booted and found the database as `boot` says."""
    done = run_python(code, url, *arguments, pythonpath=package)
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    assert [said.pop(name) for name in ("version", "upgrade", "check")] == [RELEASE.version, boot, boot]
    return said


def as_python(cases: dict[str, str]) -> str:
    return "{" + ", ".join(f"{name!r}: {row}" for name, row in cases.items()) + "}"


def test_each_rule_of_the_head_has_a_case_that_trips_it():
    rules = {
        name.rpartition(".")[2]
        for name, definition in catalog.expected(SCHEMA_VERSION).items()
        if any(of in name for of in OF_ENTITIES)
        and (name.startswith("constraint ") or definition.startswith("CREATE UNIQUE INDEX "))
    }
    # Who repeats its columns repeats the key, one of them: pk_conversations is there before.
    assert {case.split()[0] for case in (TRIPS | TRIPS_BY_SQL)} == rules - {"uq_conversations_user_id_id"}


def test_each_rule_refuses_the_release_by_its_name(upgraded_database: str, old_package: Path):
    execute(upgraded_database, EXISTING)
    cases = TRIPS | TRIPS_BY_SQL
    said = told(_TRIPPING, upgraded_database, as_python(cases), package=old_package)
    assert said == {case: case.split()[0] for case in cases}


def test_what_a_rule_just_allows_is_stored_for_the_release(upgraded_database: str, old_package: Path):
    execute(upgraded_database, EXISTING)
    said = told(_TRIPPING, upgraded_database, as_python(ALLOWED), package=old_package)
    assert said == dict.fromkeys(ALLOWED, "stored")


def test_before_the_upgrade_it_was_refused_by_the_rules_of_its_own_version_alone(
    upgraded_database: str, old_package: Path
):
    downgrade(upgraded_database, to=RELEASE.schema_version)
    execute(upgraded_database, EXISTING)
    said = told(_TRIPPING, upgraded_database, as_python(TRIPS), package=old_package, boot="current")
    assert {case for case, rule in said.items() if rule == "stored"} == NEW
    assert said["fk_messages_conversation of no conversation"] == "fk_messages_conversation_id_conversations"


def test_the_normal_use_of_the_release_goes_on_and_the_database_keeps_its_times(
    upgraded_database: str, old_package: Path
):
    said = told(_USING, upgraded_database, package=old_package)
    assert said["contents"] == [f"{turn:02} {place}" for turn in range(100) for place in range(3)]
    assert said["moved"] == {"users": True, "conversations": True}
    assert said["found"]
    assert said["left"] == {"users": 1, "conversations": 0, "messages": 0, "tasks": 5}
    rows = execute(
        upgraded_database, "SELECT title, updated_at, completed, completed_at, created_at FROM tasks"
    )
    tasks = {title: times for title, *times in rows}
    assert tasks.keys() == {"by the ORM", "by SQL", "in bulk", "reopened", "written as done"}
    for title, (updated_at, completed, completed_at, created_at) in tasks.items():
        assert (completed_at is not None) == completed == (title != "reopened")
        if title != "written as done":
            assert updated_at > datetime.fromisoformat(said["written"][title]) == created_at
        if completed:
            assert completed_at >= created_at
    assert tasks["by the ORM"][0] == datetime.fromisoformat(said["read"])
