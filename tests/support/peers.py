"""A package of any version at work in a process of its own that lasts, and does what it is told, request by request.

As a program: a request on each line of standard input, its answer on each line of standard output, as JSON.
"""

import asyncio
import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from queue import Queue
from typing import Any, NamedTuple

from tests.support.nest import Hatched, hatch
from tests.support.servers import execute
from tests.support.waiting import wait_for

SERVICE = "billing-api"
# Seconds. Long enough for any machine; a peer that hangs must not hang its test.
PATIENCE = 60


class Answer(NamedTuple):
    """What became of a request: `error` is the name of the exception's class, None where there was none."""

    number: int
    error: str | None
    text: str
    result: Any
    sqlstate: str | None


class Peer:
    """The near end of such a process; see `peer` and, for the requests, `Program`."""

    def __init__(self, process: Hatched) -> None:
        """Take the process, and listen to it."""
        self.process = process
        self._told = 0
        self._answers = Queue[Answer]()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def tell(self, request: str, *, at: float = 0.0, **arguments: object) -> None:
        """Send a request, to be begun at a moment of `time.monotonic`, which all processes share."""
        # A test that failed may have left an answer unread, or not waited for it.
        self._answers = Queue()
        self._told += 1
        told = {"number": self._told, "request": request, "at": at, "arguments": arguments}
        self.process.stdin.write(json.dumps(told) + "\n")
        self.process.stdin.flush()

    def has_answered(self) -> bool:
        """Tell whether the answer to the request that was told last is here."""
        return not self._answers.empty()

    def answer(self) -> Answer:
        """Wait for that answer."""
        return self._answers.get(timeout=PATIENCE)

    def kill(self) -> None:
        """Kill the process with SIGKILL and wait for its end."""
        self.process.kill()
        self._listener.join()

    def _listen(self) -> None:
        for line in self.process.stdout:
            answer = Answer(**json.loads(line))
            if answer.number == self._told:
                self._answers.put(answer)
        self._answers.put(Answer(self._told, "EOFError", "the peer has ended", None, None))

    def ask(self, request: str, **arguments: object) -> Answer:
        """Send a request, and wait for its answer."""
        self.tell(request, **arguments)
        return self.answer()

    def do(self, request: str, **arguments: object) -> Any:
        """Send a request that has to succeed, and return its result."""
        answer = self.ask(request, **arguments)
        assert answer.error is None, answer
        return answer.result


@contextmanager
def peer(package: Path | None = None) -> Iterator[Peer]:
    """Start a peer with the package in a folder, this checkout's where it is None."""
    with closing(hatch("tests.support.peers", pythonpath=package)) as process:
        running = Peer(process)
        try:
            yield running
        finally:
            running.kill()


class Stage(NamedTuple):
    """A database that waits for a contract step, a service that the step would break, and who applies the step."""

    url: str
    old: Peer
    new: Peer

    def leave(self) -> None:
        """Let the old side leave, and wait until the server has noticed it."""
        self.old.do("leave")
        wait_for(
            lambda: (
                not execute(
                    self.url,
                    "SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name = %s",
                    (SERVICE,),
                )
            )
        )


class Program:
    """The far end: a service with one session, or whoever runs the contract step. Each method is a request."""

    def __init__(self) -> None:
        """Begin with nothing opened."""
        self._engine: Any = None
        self._factory: Any = None
        self._session: Any = None

    async def fill_pool(self, url: str) -> None:
        """Make an engine of psycopg with a connection in its pool, for a later `connect`; nobody knows of it yet."""
        self._engine = _engine_of_psycopg(url)
        async with self._engine.connect():
            pass

    async def connect(self, url: str, *, driver: str = "asyncpg", pooled: bool = True) -> None:
        """Open a session on a connection: by asyncpg as session_factory does, or by an engine of psycopg."""
        from sqlalchemy import NullPool

        from todo_schema import session_factory

        options: dict[str, Any] = {} if pooled else {"poolclass": NullPool}
        if self._factory is None and driver == "psycopg":
            self._engine = self._engine or _engine_of_psycopg(url, **options)
            self._factory = session_factory(self._engine)
        elif self._factory is None:
            self._factory = session_factory(url, service=SERVICE, **options)
        session = self._factory()
        try:
            await session.connection()
        except BaseException:
            await session.close()
            raise
        self._session = session

    async def use(self) -> None:
        """Read what the contract step drops; the session is in a transaction afterwards."""
        from sqlmodel import select

        from todo_schema import Task

        await self._session.exec(select(Task.description).limit(1))

    async def connect_and_use(self, url: str, **options: Any) -> None:
        """Do both."""
        await self.connect(url, **options)
        await self.use()

    async def hand_back(self) -> None:
        """Close the session, if there is one: its connection goes back to the pool."""
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()

    async def leave(self) -> None:
        """Close every connection."""
        factory, engine = self._factory, self._engine
        self._factory = self._engine = None
        try:
            await self.hand_back()
        finally:
            if factory is not None:
                await factory.close()
            if engine is not None:
                await engine.dispose()

    async def upgrade(self, url: str) -> None:
        """Upgrade."""
        from todo_schema import upgrade

        upgrade(url)

    async def contract(self, url: str, *, driver: str = "psycopg") -> list[str]:
        """Apply the contract revisions, and return those that were applied."""
        from todo_schema import contract, contract_async

        # Seconds. It never waits for services; where one keeps it waiting by a lock, something is wrong already.
        timeout = 10
        if driver == "asyncpg":
            report = await contract_async(url, timeout=timeout)
        else:
            report = contract(url, timeout=timeout)
        return [step.revision for step in report.applied]

    async def undo(self, url: str) -> None:
        """Undo the newest contract revision."""
        from todo_schema import downgrade, history, revisions

        newest = [revision.revision for revision in history() if revision.line == "contract"][-1]
        downgrade(url, to=revisions.below(newest))

    async def answer(self, asked: dict[str, Any]) -> Answer:
        """Do what is asked, when it is asked for."""
        await asyncio.sleep(max(asked["at"] - time.monotonic(), 0.0))
        try:
            result = await getattr(self, asked["request"])(**asked["arguments"])
        except Exception as error:
            clients = [client.as_dict() for client in getattr(error, "clients", ())]
            state = getattr(getattr(error, "orig", error), "sqlstate", None)
            return Answer(asked["number"], type(error).__name__, str(error), clients, state)
        return Answer(asked["number"], None, "", result, None)


def _engine_of_psycopg(url: str, **options: Any) -> Any:
    from sqlalchemy import make_url
    from sqlalchemy.ext.asyncio import create_async_engine

    parts = make_url(url).set(drivername="postgresql+psycopg")
    return create_async_engine(parts.update_query_dict({"application_name": SERVICE}), **options)


def main() -> None:
    """Answer each request."""
    from tests.support.forking import import_everything

    import_everything()
    program = Program()
    # One event loop for all, with nothing running while it waits for the next request.
    with asyncio.Runner() as runner:
        for line in sys.stdin:
            print(json.dumps(runner.run(program.answer(json.loads(line)))._asdict(), default=str), flush=True)


if __name__ == "__main__":
    main()
