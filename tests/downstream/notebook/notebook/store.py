"""What the service does: each function is one request, and commits."""

from collections.abc import Sequence
from uuid import UUID

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from notebook.models import Note
from todo_schema import Task, User, newest_tasks, user_by_email


async def sign_in(session: AsyncSession, email: str) -> User:
    """Return the user with that address, who is made at the first time."""
    user = (await session.exec(user_by_email(email))).one_or_none()
    if user is None:
        user = User(email=email)
        session.add(user)
        await session.commit()
    return user


async def add_task(session: AsyncSession, user_id: UUID, title: str, note: str | None = None) -> Task:
    """Write a task down, with a first note on it."""
    task = Task(user_id=user_id, title=title)
    session.add(task)
    await session.flush()
    if note is not None:
        session.add(Note(task_id=task.id, text=note))
    await session.commit()
    return task


async def still_to_do(session: AsyncSession, user_id: UUID) -> Sequence[Task]:
    """Return the user's open tasks, newest first."""
    return (await session.exec(newest_tasks(user_id, open_only=True))).all()


async def notes_on(session: AsyncSession, task_id: int) -> Sequence[str]:
    """Return the notes on a task, in the order of writing."""
    return (await session.exec(select(Note.text).where(Note.task_id == task_id).order_by(col(Note.id)))).all()
