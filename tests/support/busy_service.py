"""The far end of a busy service, run as `python -m tests.support.busy_service URL NAME NUMBER PAUSE`.

It boots, and then does what a service of a todo chatbot does, as fast as it can, on rows of its own and on some that
were there. Each line that it prints is JSON: what `upgrade` said, how far it is for each line that it reads, and when
there are no more of them the outcome.
"""

import asyncio
import gc
import sys
from typing import Any
from uuid import UUID

from sqlalchemy import NullPool
from sqlmodel import col, select

import todo_schema
from tests.support.old_services import OURS, SLICES
from tests.support.serving import Serving, say
from todo_schema import Conversation, Message, SessionFactory, Task, TodoSchemaError, User, session_factory

# How many rows of a table, of those that were there, a service uses.
_ROWS = 200
# What a package of before has no functions for is written out.
_HAS_FUNCTIONS = hasattr(todo_schema, "append_messages")
# Messages of a turn.
_ROLES = ("user", "assistant")


class Service(Serving):
    """What the service does for its clients."""

    def __init__(
        self, pooled: SessionFactory, fresh: SessionFactory, name: str, number: int, pause: float
    ) -> None:
        """Take sessions on connections that stay open, and sessions on one for each."""
        super().__init__(name, number, pause)
        self._pooled = pooled
        self._fresh = fresh

    async def work(self) -> None:
        """Do one round after the other until told to stop."""
        await self._look_round()
        # What has been imported is never collected; to look through it takes longer than an operation.
        gc.collect()
        gc.freeze()
        user = await self._timed("sign up", self._sign_up())
        while user and not self.stopping.is_set():
            self.rounds += 1
            talk = next(talk for talk, owner in self.journal.talks.items() if owner == user)
            there, owner = self._talks[self.rounds % len(self._talks)]
            task, of = self._tasks[self.rounds % len(self._tasks)]
            for name, doing in (
                ("append", self._append(talk, user)),
                ("append", self._append(str(there), str(owner))),
                ("newest messages", self._read(talk, user)),
                ("newest messages", self._newest(str(there), str(owner))),
                ("create a task", self._create_task(user)),
                ("toggle a task", self._toggle_own(user)),
                ("toggle a task", self._toggle_there(task, str(of))),
                ("open tasks", self._list_tasks(user)),
                ("user by email", self._sign_in(self._pooled, user)),
                ("connect, user by email", self._sign_in(self._fresh, user)),
            ):
                await self._timed(name, doing)
            if self.rounds % 3 == 0:
                await self._timed("delete a task", self._delete_task(user))
            if self.rounds % 5 == 0:
                await self._timed("delete a conversation", self._delete_talk(talk, user))
                user = await self._timed("sign up", self._sign_up())
            if self.rounds % 15 == 0 and user:
                await self._timed("delete a user", self._delete_user(user))
                user = await self._timed("sign up", self._sign_up())

    async def _look_round(self) -> None:
        """Choose rows that were there and that no other service uses."""

        def ours(rows: list[Any]) -> list[Any]:
            return rows[self._number :: SLICES]

        async with self._pooled() as session:
            talks = select(Conversation.id, Conversation.user_id).join(User, Conversation.user_id == User.id)
            talks = talks.where(~col(User.email).regexp_match(OURS)).order_by(col(Conversation.id))
            self._talks = ours((await session.exec(talks.limit(_ROWS * SLICES))).all())
            tasks = select(Task.id, Task.user_id).where(~col(Task.title).regexp_match(OURS))
            tasks = tasks.order_by(col(Task.id)).limit(_ROWS * SLICES)
            self._tasks = ours((await session.exec(tasks)).all())

    async def _sign_up(self) -> str:
        async with self._pooled.begin() as session:
            user = User(email=f"{self._text()}@example.com")
            session.add(user)
            await session.flush()
            talk = Conversation(user_id=user.id)
            session.add(talk)
        self.journal.users[str(user.id)] = user.email
        self.journal.talks[str(talk.id)] = str(user.id)
        return str(user.id)

    async def _append(self, talk: str, user: str) -> None:
        texts = {role: self._text() for role in _ROLES}
        async with self._pooled.begin() as session:
            if _HAS_FUNCTIONS:
                turn = [todo_schema.MessageCreate(role=role, content=text) for role, text in texts.items()]
                messages = await todo_schema.append_messages(session, UUID(user), UUID(talk), turn)
            else:
                messages = [
                    Message(conversation_id=UUID(talk), user_id=UUID(user), role=role, content=text)
                    for role, text in texts.items()
                ]
                session.add_all(messages)
        for message in messages:
            self.journal.messages[str(message.id)] = [talk, message.role, message.content]

    async def _newest(self, talk: str, user: str) -> list[str]:
        if _HAS_FUNCTIONS:
            newest = todo_schema.newest_messages(UUID(user), UUID(talk))
        else:
            newest = select(Message).where(
                Message.user_id == UUID(user), Message.conversation_id == UUID(talk)
            )
            newest = newest.order_by(col(Message.created_at).desc(), col(Message.id).desc()).limit(50)
        async with self._pooled() as session:
            return [str(message.id) for message in (await session.exec(newest)).all()]

    async def _read(self, talk: str, user: str) -> None:
        found = await self._newest(talk, user)
        written = [message for message, (of, *_) in reversed(self.journal.messages.items()) if of == talk]
        assert sorted(found) == sorted(written[:50]), f"{found} in {talk}, where {written} were written"

    async def _create_task(self, user: str) -> None:
        async with self._pooled.begin() as session:
            task = Task(user_id=UUID(user), title=self._text())
            session.add(task)
        self.journal.tasks[str(task.id)] = [user, task.title, False]

    async def _toggle(self, task: int, user: str) -> bool:
        async with self._pooled.begin() as session:
            asked = select(Task).where(Task.user_id == UUID(user), Task.id == task)
            found = (await session.exec(asked)).one()
            found.completed = not found.completed
        return found.completed

    async def _toggle_own(self, user: str) -> None:
        task = next(task for task, (of, *_) in reversed(self.journal.tasks.items()) if of == user)
        # Every other one, so that some stay open.
        if self.rounds % 2:
            self.journal.tasks[task][2] = await self._toggle(int(task), user)

    async def _toggle_there(self, task: int, user: str) -> None:
        self.journal.toggled[str(task)] = await self._toggle(task, user)

    async def _list_tasks(self, user: str) -> None:
        asked = select(Task).where(Task.user_id == UUID(user), col(Task.completed).is_(False))
        async with self._pooled() as session:
            found = (await session.exec(asked.order_by(col(Task.created_at).desc()).limit(50))).all()
        is_open = {task for task, (of, _, done) in self.journal.tasks.items() if of == user and not done}
        assert {str(task.id) for task in found} == is_open

    async def _sign_in(self, sessions: SessionFactory, user: str) -> None:
        email = self.journal.users[user]
        asked = (
            todo_schema.user_by_email(email) if _HAS_FUNCTIONS else select(User).where(User.email == email)
        )
        async with sessions() as session:
            found = (await session.exec(asked)).one()
        assert str(found.id) == user

    async def _delete_task(self, user: str) -> None:
        task = next(task for task, (of, *_) in self.journal.tasks.items() if of == user)
        async with self._pooled.begin() as session:
            asked = select(Task).where(Task.user_id == UUID(user), Task.id == int(task))
            await session.delete((await session.exec(asked)).one())
        del self.journal.tasks[task]

    async def _delete_talk(self, talk: str, user: str) -> None:
        async with self._pooled.begin() as session:
            asked = select(Conversation).where(
                Conversation.user_id == UUID(user), Conversation.id == UUID(talk)
            )
            await session.delete((await session.exec(asked)).one())
        self.journal.forget_talk(talk)

    async def _delete_user(self, user: str) -> None:
        async with self._pooled.begin() as session:
            await session.delete((await session.exec(select(User).where(User.id == UUID(user)))).one())
        self.journal.forget_user(user)


async def main(url: str, name: str, number: str, pause: str) -> None:
    """Serve until there are no more lines, and print what came of it."""
    async with (
        session_factory(url, service=name, pool_size=1) as pooled,
        session_factory(url, service=name, poolclass=NullPool) as fresh,
    ):
        service = Service(pooled, fresh, name, int(number), float(pause))
        await service.serve()
    service.tell()


if __name__ == "__main__":
    boot = {"version": todo_schema.__version__, "refused": None}
    try:
        boot["said"] = str(todo_schema.upgrade(sys.argv[1]))
    except TodoSchemaError as refused:
        say(boot | {"said": str(refused), "refused": type(refused).__name__})
    else:
        say(boot)
        asyncio.run(main(*sys.argv[1:]))
