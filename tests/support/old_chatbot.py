"""The todo chatbot of before as a process: `python -m tests.support.old_chatbot URL NAME NUMBER PAUSE [STATEMENTS]`.

Its models are those of tests/downstream/chatbot, and it knows nothing of this package. It serves on rows of its own and
on some that were there, and says what old_services.py understands. STATEMENTS is `unprepared`, as behind a pooler in
transaction mode (the default), or `prepared`, as asyncpg does by itself.
"""

import asyncio
import gc
import sys
from datetime import UTC, datetime
from uuid import UUID, uuid4

from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from tests.support.chatbots import CHATBOT
from tests.support.old_services import SLICES
from tests.support.serving import Serving, say

sys.path.insert(0, str(CHATBOT))
sys.dont_write_bytecode = True

from models import Conversation, Message, Task, User  # type: ignore[import-not-found]  # noqa: E402

_ROLES = ("user", "assistant")
# As the pooler's documentation says.
_UNPREPARED = {
    "statement_cache_size": 0,
    "prepared_statement_cache_size": 0,
    "prepared_statement_name_func": lambda: f"__asyncpg_{uuid4()}__",
}


class Chatbot(Serving):
    """What it does for its users."""

    def __init__(self, engine: AsyncEngine, name: str, number: int, pause: float) -> None:
        """Take its engine, and a number that no other chatbot has at the same time."""
        super().__init__(name, number, pause)
        self._engine = engine

    async def work(self) -> None:
        """Do one round after the other until told to stop."""
        async with self._session() as session:
            some = select(Conversation).order_by(col(Conversation.id)).limit(20 * SLICES)
            there = [(talk.id, talk.user_id) for talk in (await session.exec(some)).all()][
                self._number :: SLICES
            ]
        gc.collect()
        gc.freeze()
        user = await self._timed("sign up", self._sign_up())
        while user and not self.stopping.is_set():
            self.rounds += 1
            talk = next(talk for talk, owner in self.journal.talks.items() if owner == user)
            await self._timed("chat", self._chat(UUID(talk), UUID(user)))
            await self._timed("history", self._history(talk))
            await self._timed("chat", self._chat(*there[self.rounds % len(there)]))
            await self._timed("create a task", self._create_task(user))
            await self._timed("complete a task", self._complete_task(user))
            await self._timed("open tasks", self._open_tasks(user))
            await self._timed("sign in", self._sign_in(user))
            if self.rounds % 3 == 0:
                await self._timed("delete a task", self._delete_task(user))
            if self.rounds % 5 == 0:
                await self._timed("delete a conversation", self._delete_talk(talk))
                user = await self._timed("sign up", self._sign_up())

    def _session(self) -> AsyncSession:
        return AsyncSession(self._engine, expire_on_commit=False)

    async def _sign_up(self) -> str:
        user = User(email=f"{self._text()}@example.com")
        talk = Conversation(user_id=user.id)
        async with self._session() as session:
            session.add(user)
            await session.flush()
            session.add(talk)
            await session.commit()
        self.journal.users[str(user.id)] = user.email
        self.journal.talks[str(talk.id)] = str(user.id)
        return str(user.id)

    async def _chat(self, talk: UUID, user: UUID) -> None:
        """Write a turn, each message of which says when it is from."""
        async with self._session() as session:
            messages = []
            for role in _ROLES:
                message = Message(conversation_id=talk, user_id=user, role=role, content="")
                message.content = f"{self._text()} at {message.created_at.isoformat()}"
                messages.append(message)
            session.add_all(messages)
            conversation = (await session.exec(select(Conversation).where(Conversation.id == talk))).one()
            conversation.updated_at = datetime.utcnow()  # noqa: DTZ003  # as people wrote it
            await session.commit()
        for message in messages:
            self.journal.messages[str(message.id)] = [str(talk), message.role, message.content]

    async def _history(self, talk: str) -> None:
        asked = select(Message).where(Message.conversation_id == UUID(talk)).order_by(col(Message.created_at))
        async with self._session() as session:
            found = (await session.exec(asked)).all()
        written = [content for of, _, content in self.journal.messages.values() if of == talk]
        assert [message.content for message in found] == written, f"{found} where {written} was said"
        for message in found:
            at = message.created_at
            # Once they have a zone, that is UTC.
            at = at if at.tzinfo is None else at.astimezone(UTC).replace(tzinfo=None)
            assert message.content.endswith(f" at {at.isoformat()}"), message

    async def _create_task(self, user: str) -> None:
        task = Task(user_id=UUID(user), title=self._text())
        async with self._session() as session:
            session.add(task)
            await session.commit()
        self.journal.tasks[str(task.id)] = [user, task.title, False]

    async def _complete_task(self, user: str) -> None:
        number = next(task for task, (of, *_) in reversed(self.journal.tasks.items()) if of == user)
        # Every other one, so that some stay open.
        if self.rounds % 2:
            async with self._session() as session:
                task = (await session.exec(select(Task).where(Task.id == int(number)))).one()
                task.completed = True
                task.updated_at = datetime.utcnow()  # noqa: DTZ003  # as people wrote it
                await session.commit()
            self.journal.tasks[number][2] = True

    async def _open_tasks(self, user: str) -> None:
        asked = select(Task).where(Task.user_id == UUID(user), col(Task.completed).is_(False))
        async with self._session() as session:
            found = (await session.exec(asked.order_by(col(Task.created_at).desc()))).all()
        is_open = {task for task, (of, _, done) in self.journal.tasks.items() if of == user and not done}
        assert {str(task.id) for task in found} == is_open

    async def _sign_in(self, user: str) -> None:
        async with self._session() as session:
            found = (await session.exec(select(User).where(User.email == self.journal.users[user]))).one()
        assert str(found.id) == user

    async def _delete_task(self, user: str) -> None:
        number = next(task for task, (of, *_) in self.journal.tasks.items() if of == user)
        async with self._session() as session:
            await session.delete((await session.exec(select(Task).where(Task.id == int(number)))).one())
            await session.commit()
        del self.journal.tasks[number]

    async def _delete_talk(self, talk: str) -> None:
        async with self._session() as session:
            asked = select(Conversation).where(Conversation.id == UUID(talk))
            await session.delete((await session.exec(asked)).one())
            await session.commit()
        self.journal.forget_talk(talk)


async def main(url: str, name: str, number: str, pause: str, statements: str = "unprepared") -> None:
    """Serve until there are no more lines, and print what came of it."""
    engine = create_async_engine(
        url.replace("postgresql://", "postgresql+asyncpg://", 1),
        pool_size=1,
        connect_args=_UNPREPARED if statements == "unprepared" else {},
    )
    chatbot = Chatbot(engine, name, int(number), float(pause))
    await chatbot.serve()
    await engine.dispose()
    chatbot.tell()


if __name__ == "__main__":
    say({"version": "0", "said": "no todo_schema at all", "refused": None})
    asyncio.run(main(*sys.argv[1:]))
