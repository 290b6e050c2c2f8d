"""A service with the package that it has: it boots, and then writes and reads beside another one.

Run with the package of a release, as `program url me [other]`. It prints what happened, as JSON: what `upgrade` and
`check` said, what was logged during each of them and during the sessions, and every row that it could read at the end.
"""

import asyncio
import json
import logging
import sys
from collections.abc import Callable
from typing import Any

from sqlmodel import select

import todo_schema
from todo_schema import Conversation, Message, SessionFactory, Task, User, session_factory

ROUNDS = 15
# Seconds. Long enough for any machine; a service whose partner has failed must end all the same.
PATIENCE = 30
SAID = "100 % 'ok', \\ 🦄"
FAREWELL = "{}-leaves@example.com"


class Log(logging.Handler):
    """Everything that anybody logged."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.levelname} {record.name} {record.getMessage()}")

    def during(self, action: Callable[[], object]) -> tuple[str, list[str]]:
        """Do something, and return what it returned and what was logged."""
        self.lines = []
        return str(action()), self.lines


async def serve(url: str, me: str, other: str | None) -> dict[str, list[dict[str, Any]]]:
    """Write and read until both have seen enough of each other; return every row, when nobody writes any more."""
    async with session_factory(url) as sessions, asyncio.timeout(PATIENCE):
        rounds = 0
        together = 0
        while together < ROUNDS:
            await one_round(sessions, f"{me}-{rounds}")
            rounds += 1
            if other is None or await touch_rows_of(sessions, other):
                together += 1
            await asyncio.sleep(0.01)
        async with sessions.begin() as session:
            session.add(User(email=FAREWELL.format(me)))
        while other and not await left(sessions, other):  # noqa: ASYNC110  # it is another process
            await asyncio.sleep(0.02)
        return await everything(sessions)


async def one_round(sessions: SessionFactory, name: str) -> None:
    """Write, change, read and delete rows of every entity, as a chat does."""
    async with sessions.begin() as session:
        user = User(email=f"{name}@example.com")
        session.add(user)
        await session.flush()
        talk = Conversation(user_id=user.id)
        session.add(talk)
        await session.flush()
        said = Message(conversation_id=talk.id, user_id=user.id, role="user", content=SAID)
        answer = Message(conversation_id=talk.id, user_id=user.id, role="assistant", content="done")
        tasks = [Task(user_id=user.id, title=f"{name} {number}") for number in range(2)]
        session.add_all([said, answer, *tasks])
    async with sessions.begin() as session:
        kept, dropped = (
            await session.exec(select(Task).where(Task.user_id == user.id).order_by(Task.id))
        ).all()
        kept.completed = True
        await session.delete(dropped)
    # Whole rows, again and again: the server has prepared these statements when a column is added or changed.
    async with sessions() as session:
        assert (await session.exec(select(User).where(User.id == user.id))).one().email == user.email
        assert (await session.exec(select(Conversation).where(Conversation.id == talk.id))).one() == talk
        heard = (await session.exec(select(Message).where(Message.conversation_id == talk.id))).all()
        assert {message.role: message.content for message in heard} == {"user": SAID, "assistant": "done"}
        tasks = (await session.exec(select(Task).where(Task.user_id == user.id))).all()
        assert [(task.id, task.completed) for task in tasks] == [(kept.id, True)]


async def touch_rows_of(sessions: SessionFactory, other: str) -> bool:
    """Read and change what the other service wrote last; return whether there was anything."""
    async with sessions.begin() as session:
        newest = select(Task).where(Task.title.startswith(f"{other}-")).order_by(Task.id.desc()).limit(1)
        task = (await session.exec(newest.with_for_update(skip_locked=True))).first()
        if task is not None:
            task.description = f"seen at {task.updated_at}"
        return task is not None


async def left(sessions: SessionFactory, other: str) -> bool:
    """Return whether the other service has written its last row."""
    async with sessions() as session:
        farewell = select(User.id).where(User.email == FAREWELL.format(other))
        return (await session.exec(farewell)).first() is not None


async def everything(sessions: SessionFactory) -> dict[str, list[dict[str, Any]]]:
    """Return every row of every entity, as this package reads it."""
    async with sessions() as session:
        return {
            entity.__tablename__: [
                row.model_dump(mode="json")
                for row in (await session.exec(select(entity).order_by(entity.id))).all()
            ]
            for entity in (User, Conversation, Message, Task)
        }


def main(url: str, me: str, other: str | None = None) -> None:
    """Boot, serve, and print what happened."""
    log = Log()
    logging.basicConfig(level=logging.INFO, handlers=[log])
    report: dict[str, Any] = {"version": todo_schema.__version__, "file": todo_schema.__file__}
    report["upgrade"] = log.during(lambda: todo_schema.upgrade(url))
    report["check"] = log.during(lambda: todo_schema.check(url))
    rows: dict[str, list[dict[str, Any]]] = {}
    report["sessions"] = log.during(lambda: rows.update(asyncio.run(serve(url, me, other))))
    print(json.dumps({**report, "rows": rows}))


if __name__ == "__main__":
    main(*sys.argv[1:])
