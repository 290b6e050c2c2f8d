"""Tasks of a user."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, HTTPException, Path
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from sqlmodel import col, delete, update

from todo_chat.dependencies import SessionDep, UserId
from todo_chat.paging import BeforeNumber, Limit, Page, page
from todo_schema import Task, newest_tasks

router = APIRouter(prefix="/tasks", tags=["tasks"])

NOT_FOUND = HTTPException(404, "you have no such task")
TaskId = Annotated[int, Path(ge=1, le=2**63 - 1)]


class TaskIn(BaseModel):
    """What a client says of a task.

    What it may be is for the database to say: a title that is blank is answered with the name of that rule.
    """

    model_config = ConfigDict(extra="forbid")

    title: str
    description: str | None = None
    due_at: AwareDatetime | None = None
    priority: Annotated[int, Field(ge=0, le=9, description="1 is the highest; 0 says nothing.")] = 0


class TaskOut(BaseModel):
    """A task as clients see it."""

    id: int
    title: str
    description: str | None
    due_at: datetime | None
    priority: int
    completed: bool
    completed_at: datetime | None
    created_at: datetime
    updated_at: datetime


@router.post("", status_code=201, response_model=TaskOut)
async def add(body: TaskIn, user_id: UserId, session: SessionDep) -> Task:
    """Add a task."""
    task = Task(user_id=user_id, **body.model_dump())
    session.add(task)
    await session.commit()
    return task


@router.get("")
async def list_newest(
    user_id: UserId, session: SessionDep, before: BeforeNumber, *, open_only: bool = False, limit: Limit = 50
) -> Page[TaskOut]:
    """List the tasks, newest first: all, or those that are not done."""
    rows = await session.exec(newest_tasks(user_id, open_only=open_only, before=before, limit=limit + 1))
    return page(TaskOut, rows.all(), limit, lambda shown: (shown.created_at, shown.id))


@router.post("/{task_id}/complete", response_model=TaskOut)
async def complete(task_id: TaskId, user_id: UserId, session: SessionDep) -> Task:
    """Mark a task as done; `completed_at` is the database's. Doing so again changes nothing that matters."""
    own = (col(Task.user_id) == user_id, col(Task.id) == task_id)
    done = update(Task).where(*own).values(completed=True).returning(Task)
    task: Task | None = (await session.exec(done)).scalar_one_or_none()
    if task is None:
        raise NOT_FOUND
    await session.commit()
    return task


@router.delete("/{task_id}", status_code=204)
async def remove(task_id: TaskId, user_id: UserId, session: SessionDep) -> None:
    """Delete a task."""
    own = (col(Task.user_id) == user_id, col(Task.id) == task_id)
    if (await session.exec(delete(Task).where(*own))).rowcount == 0:
        raise NOT_FOUND
    await session.commit()
