"""The far end of a load, run as `python -m tests.support.chatting URL SESSIONS PAUSE`.

Each session is a process, with an event loop and a connection, so that none waits for another one's Python. A line says
that all of them are at work. They stop when standard input ends, and then another line is what they saw, as JSON.
"""

import asyncio
import gc
import json
import os
import random
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Literal

from sqlalchemy import Select
from sqlmodel import col, select

from tests.support import forking
from tests.support.load import READY, SERVICE, Operation
from todo_schema import Conversation, Message, SessionFactory, Task, User, session_factory

# Seconds that an operation gets to end after the others: it is no news of a lock if it does.
_GRACE = 0.5
# How many of the slowest operations are remembered.
_SLOWEST = 10
# How many rows of a table a session uses.
_ROWS = 500


class Session:
    """One session of several: those with an odd number write, and the others only read."""

    def __init__(self, factory: SessionFactory, number: int, of: int, pause: float) -> None:
        """Open nothing yet; see `load` for `pause`."""
        self._factory = factory
        self._number = number
        self._of = of
        self._pause = pause
        self._random = random.Random(number)
        self._done: list[Operation] = []
        self._current: tuple[float, str] | None = None

    async def work(self, ready: Callable[[], None], stop: asyncio.Event) -> dict[str, Any]:
        """Do one operation after the other, and return what was seen since `ready` was called."""
        await self._look_round()
        writing = (self.append_message, self.add_task, self.toggle_task)
        reading = (self.newest_messages, self.open_tasks, self.user_by_email)
        self._kind: Literal["read", "write"] = "write" if self._number % 2 else "read"
        operations = writing if self._kind == "write" else reading
        # The first of each prepares its statement, and fills the server's caches.
        for operation in operations:
            await operation()
        # What has been imported is never collected; to look through it takes longer than an operation.
        gc.collect()
        gc.freeze()
        ready()
        working = asyncio.create_task(self._work(operations, stop))
        await stop.wait()
        await asyncio.wait({working}, timeout=_GRACE)
        if self._current is not None:
            self._note(ended=False)
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working
        return {
            "kind": self._kind,
            "milliseconds": [operation.milliseconds for operation in self._done],
            "errors": [f"{done.kind} {done.name}: {done.error}" for done in self._done if done.error],
            "slowest": sorted(self._done, key=lambda done: -done.milliseconds)[:_SLOWEST],
        }

    async def _work(self, operations: tuple[Callable[[], Awaitable[None]], ...], stop: asyncio.Event) -> None:
        while True:
            for operation in operations:
                if stop.is_set():
                    return
                self._current = (time.monotonic(), operation.__name__)
                try:
                    await operation()
                except Exception as error:
                    text, _, _ = str(error).partition("\n")
                    self._note(error=f"{type(error).__name__}: {text}")
                else:
                    self._note()
                await asyncio.sleep(self._pause)

    def _note(self, *, ended: bool = True, error: str | None = None) -> None:
        assert self._current
        (at, name), self._current = self._current, None
        milliseconds = (time.monotonic() - at) * 1000
        self._done.append(Operation(at, milliseconds, self._kind, name, self._number, ended, error))

    async def _look_round(self) -> None:
        """Choose rows from all over each table that no other session uses: none may wait for another one."""
        async with self._factory() as session:

            async def ours(rows: Select[Any]) -> Any:
                return (await session.exec(rows.limit(_ROWS * self._of))).all()[self._number :: self._of]

            self._users = await ours(select(User.id, User.email).order_by(col(User.id)))
            self._talks = await ours(
                select(Conversation.id, Conversation.user_id).order_by(col(Conversation.id))
            )
            # By a product that leaps from one end of the table to the other.
            self._tasks = await ours(
                select(Task.id, Task.user_id).order_by(col(Task.id) * 2654435761 % 4294967296)
            )

    async def newest_messages(self) -> None:
        talk, user = self._random.choice(self._talks)
        messages = select(Message).where(Message.user_id == user, Message.conversation_id == talk)
        async with self._factory() as session:
            await session.exec(messages.order_by(col(Message.created_at).desc()).limit(50))

    async def open_tasks(self) -> None:
        user, _ = self._random.choice(self._users)
        tasks = select(Task).where(Task.user_id == user, col(Task.completed).is_(False))
        async with self._factory() as session:
            await session.exec(tasks.order_by(col(Task.created_at).desc()).limit(50))

    async def user_by_email(self) -> None:
        _, email = self._random.choice(self._users)
        async with self._factory() as session:
            (await session.exec(select(User).where(User.email == email))).one()

    async def append_message(self) -> None:
        talk, user = self._random.choice(self._talks)
        async with self._factory.begin() as session:
            session.add(Message(conversation_id=talk, user_id=user, role="user", content="Buy milk."))

    async def add_task(self) -> None:
        user, _ = self._random.choice(self._users)
        async with self._factory.begin() as session:
            session.add(Task(user_id=user, title="Buy milk"))

    async def toggle_task(self) -> None:
        number, user = self._random.choice(self._tasks)
        async with self._factory.begin() as session:
            task = (await session.exec(select(Task).where(Task.user_id == user, Task.id == number))).one()
            task.completed = not task.completed


async def _serve(asked: str) -> dict[str, Any]:
    url, number, sessions, pause, at_work = json.loads(asked)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def ready() -> None:
        os.write(at_work, b".")
        os.close(at_work)

    def ended() -> None:
        loop.remove_reader(0)
        stop.set()

    loop.add_reader(0, ended)
    async with session_factory(url, service=SERVICE, pool_size=1) as factory:
        return await Session(factory, number, sessions, pause).work(ready, stop)


def main(url: str, sessions: int, pause: float) -> None:
    """Fork the sessions, say when all are at work, and print what they saw."""
    forking.import_everything()
    listen, at_work = os.pipe()
    asked = [json.dumps([url, number, sessions, pause, at_work]) for number in range(sessions)]
    running = [forking.fork(_serve, one) for one in asked]
    os.close(at_work)
    # It ends when each session has spoken, or is lost.
    with os.fdopen(listen, "rb") as pipe:
        print(READY if len(pipe.read()) == sessions else "", flush=True)
    print(json.dumps([forking.outcome(*one) for one in running]), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
