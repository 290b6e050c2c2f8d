"""What Socrates does: somebody signs up, begins a project, is asked, and may be forgotten again."""

import uuid

from sqlalchemy import delete
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from socrates.auth import User
from socrates.databases import url_of
from socrates.specs import Project, Session
from todo_schema import (
    Conversation,
    Message,
    MessageCreate,
    Task,
    append_messages,
    newest_messages,
    newest_tasks,
    session_factory,
    user_by_email,
)
from todo_schema import User as ChatUser

auth = session_factory(url_of("auth"), service="socrates")
specs_engine = create_async_engine(url_of("specs"))
specs = async_sessionmaker(specs_engine, class_=AsyncSession, expire_on_commit=False)


async def sign_up(email: str, hashed_password: str) -> ChatUser:
    """Make a user with an account; whoever talks here already gets the account alone."""
    async with auth.begin() as session:
        person = (await session.exec(user_by_email(email))).first() or ChatUser(email=email)
        session.add(User(person=person, hashed_password=hashed_password))
    return person


async def account_of(email: str) -> User | None:
    """Return what somebody signs in with."""
    async with auth() as session:
        found = await session.exec(
            select(User)
            .join(ChatUser)
            .where(col(ChatUser.id).in_(user_by_email(email).with_only_columns(col(ChatUser.id))))
        )
        return found.first()


async def begin(user_id: uuid.UUID, name: str, question: str) -> Session:
    """Begin a project with a first question, which is a thing to do as well."""
    async with auth.begin() as session:
        talk = Conversation(user_id=user_id, title=name)
        session.add_all([talk, Task(user_id=user_id, title=f"Answer Socrates about {name}")])
        await append_messages(session, user_id, talk.id, [MessageCreate(role="assistant", content=question)])
    async with specs.begin() as session:
        sitting = Session(project=Project(user_id=user_id, name=name), conversation_id=talk.id)
        session.add(sitting)
    return sitting


async def answer(user_id: uuid.UUID, sitting: Session, text: str) -> None:
    """Write down what somebody answers."""
    assert sitting.conversation_id
    async with auth.begin() as session:
        said = [MessageCreate(role="user", content=text)]
        await append_messages(session, user_id, sitting.conversation_id, said)


async def history(user_id: uuid.UUID, sitting: Session, before: Message | None = None) -> list[Message]:
    """Return a page of what was said in a sitting, the newest first, or the page that follows a message."""
    assert sitting.conversation_id
    place = (before.created_at, before.id) if before else None
    asked = newest_messages(user_id, sitting.conversation_id, before=place)
    async with auth() as session:
        return list((await session.exec(asked)).all())


async def to_do(user_id: uuid.UUID) -> list[Task]:
    """Return what somebody has still to do, the newest first."""
    async with auth() as session:
        return list((await session.exec(newest_tasks(user_id, open_only=True))).all())


async def forget(user_id: uuid.UUID) -> None:
    """Delete a user: no key reaches into the other database, so the projects go first."""
    async with specs.begin() as session:
        await session.exec(delete(Project).where(col(Project.user_id) == user_id))
    async with auth.begin() as session:
        await session.exec(delete(ChatUser).where(col(ChatUser.id) == user_id))


async def close() -> None:
    """Close all connections."""
    await auth.close()
    await specs_engine.dispose()
