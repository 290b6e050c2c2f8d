"""A replica of a service: it boots, and serves until it is told to stop. Run as `program url service [column]`.

Each line that it prints is JSON: first what `upgrade` said, as it begins to serve, then a report for each line
`report` that it reads. Any other line, or none any more, ends it, with a last report. With the name of a column of
`tasks` that only newer packages know, it writes that too.
"""

import asyncio
import json
import logging
import random
import sys
from collections import Counter
from uuid import uuid4

from sqlalchemy import NullPool, text
from sqlmodel import select

import todo_schema
from todo_schema import SessionFactory, Task, User, session_factory

# How many rows back it looks for one of somebody else's.
RECENT = 20


class Service:
    """What the replica does for its clients, and what came of it."""

    def __init__(self, url: str, me: str, column: str) -> None:
        self.url = url
        self.me = me
        self.column = column
        self.requests = 0
        self.errors: list[str] = []
        self.touched: Counter[str] = Counter()
        self.stopping = asyncio.Event()

    async def run(self) -> None:
        """Serve with connections that stay open, and with one for each request, until told to stop."""
        async with (
            session_factory(self.url, service=self.me, pool_size=2) as pooled,
            session_factory(self.url, service=self.me, poolclass=NullPool) as fresh,
        ):
            await asyncio.gather(self._serve(pooled, 0.02), self._serve(fresh, 0.1), self._answer())

    async def _serve(self, sessions: SessionFactory, pause: float) -> None:
        while not self.stopping.is_set():
            self.requests += 1
            try:
                await self._request(sessions, f"{self.me}/{self.requests}")
            except Exception as error:
                self.errors.append(f"{type(error).__name__}: {error}")
            await asyncio.sleep(pause)

    async def _request(self, sessions: SessionFactory, title: str) -> None:
        """Write a row, read it back, and change one that anybody has written lately."""
        async with sessions.begin() as session:
            user = User(email=f"{uuid4()}@example.com")
            session.add(user)
            await session.flush()
            task = Task(user_id=user.id, title=title)
            session.add(task)
            await session.flush()
            if self.column:
                change = text(f"UPDATE tasks SET {self.column} = 'from ' || title WHERE id = :id")
                await (await session.connection()).execute(change, {"id": task.id})
        async with sessions.begin() as session:
            assert (await session.exec(select(Task).where(Task.id == task.id))).one().title == title
            one = select(Task).order_by(Task.id.desc()).offset(random.randrange(RECENT)).limit(1)
            found = (await session.exec(one.with_for_update(skip_locked=True))).first()
            if found is not None:
                found.completed = not found.completed
        if found is not None:
            self.touched[found.title.split("/")[0]] += 1

    async def _answer(self) -> None:
        say({"booted": BOOTED})
        while (await asyncio.to_thread(sys.stdin.readline)).strip() == "report":
            say(self.report())
        self.stopping.set()

    def report(self) -> dict[str, object]:
        """What came of it up to now."""
        return {"requests": self.requests, "errors": self.errors, "touched": self.touched}


def say(facts: dict[str, object]) -> None:
    print(json.dumps(facts), flush=True)


async def main(url: str, me: str, column: str = "") -> None:
    service = Service(url, me, column)
    await service.run()
    say(service.report())


logging.basicConfig(format="%(levelname)s %(name)s %(message)s", level=logging.INFO)
BOOTED = str(todo_schema.upgrade(sys.argv[1]))
asyncio.run(main(*sys.argv[1:]))
