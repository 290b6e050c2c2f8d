"""What AuditEng does for a person: an account, an audit, and the talk about what it found."""

import uuid
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import joinedload

import todo_schema
from auditeng.database import chat_sessions, sessions
from auditeng.models import Analysis, ChatProfile, Finding, Task, User
from todo_schema import (
    Conversation,
    Message,
    MessageCreate,
    append_messages,
    newest_messages,
    newest_tasks,
    user_by_email,
)


async def register(email: str, hashed_password: str) -> uuid.UUID:
    """Make an account, and the person in the chat who goes with it: both or neither."""
    async with chat_sessions.engine.begin() as connection:
        async with chat_sessions(bind=connection) as session:
            known = (await session.exec(user_by_email(email))).first()
            session.add(person := known or todo_schema.User(email=email))
            await session.flush()
        # From here on a table without a schema is one of AuditEng's own.
        await connection.execution_options(schema_translate_map={})
        async with sessions(bind=connection) as session:
            user = User(email=email, hashed_password=hashed_password)
            session.add(ChatProfile(user=user, chat_user_id=person.id))
            await session.flush()
    return user.id


async def audit(user_id: uuid.UUID, filename: str, results: list[dict[str, Any]]) -> uuid.UUID:
    """Write down what an audit found."""
    findings = [Finding(**result) for result in results]
    async with sessions.begin() as session:
        task = Task(
            user_id=user_id,
            status="DONE",
            original_filename=filename,
            file_path=f"/srv/{filename}",
            file_size=1,
        )
        session.add(
            Analysis(task=task, overall_score=0.5, results={"count": len(results)}, findings=findings)
        )
    return task.id


async def tell(task_id: uuid.UUID) -> uuid.UUID:
    """Begin a conversation about what was found, with a thing to do for each finding."""
    async with sessions() as session:
        found = await session.execute(
            select(Finding, ChatProfile.chat_user_id)
            .join(Finding.analysis)
            .join(Analysis.task)
            .join(ChatProfile, ChatProfile.user_id == Task.user_id)
            .where(Task.id == task_id)
            .order_by(Finding.rule_id)
        )
        rows = found.all()
    person = rows[0].chat_user_id
    async with chat_sessions.begin() as session:
        talk = Conversation(user_id=person, title="Your audit")
        session.add(talk)
        for finding, _ in rows:
            session.add(
                todo_schema.Task(user_id=person, title=finding.message, description=finding.remediation)
            )
        said = [
            MessageCreate(role="assistant", content=finding.message, payload={"rule": finding.rule_id})
            for finding, _ in rows
        ]
        await append_messages(session, person, talk.id, said)
    return talk.id


async def to_do(user_id: uuid.UUID) -> list[todo_schema.Task]:
    """What a user has still to do, the newest first."""
    async with chat_sessions() as session:
        return list((await session.exec(newest_tasks(await _person(user_id), open_only=True))).all())


async def transcript(
    user_id: uuid.UUID, conversation_id: uuid.UUID, after: Message | None = None
) -> list[Message]:
    """A page of what was said, the newest first, or the page that comes after a message."""
    person = await _person(user_id)
    place = (after.created_at, after.id) if after else None
    async with chat_sessions() as session:
        return list((await session.exec(newest_messages(person, conversation_id, before=place))).all())


async def addresses() -> list[tuple[str, str]]:
    """The address of each user, and the one that the same person has in the chat."""
    async with sessions() as session:
        profiles = await session.scalars(
            select(ChatProfile)
            .join(ChatProfile.user)
            .options(joinedload(ChatProfile.user), joinedload(ChatProfile.person))
            .order_by(User.email)
        )
        return [(profile.user.email, profile.person.email) for profile in profiles]


async def _person(user_id: uuid.UUID) -> uuid.UUID:
    async with sessions() as session:
        profile = await session.get_one(ChatProfile, user_id)
        return profile.chat_user_id
