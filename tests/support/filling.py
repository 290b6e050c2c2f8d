"""Fills a fresh database with what is hard to keep: run with the package of a wheel, as `program url`."""

import asyncio
import sys
from datetime import UTC, datetime
from itertools import cycle, product
from uuid import UUID

from todo_schema import Conversation, Message, Task, User, session_factory, upgrade

# What quoting, escaping, a line-wise edit of a dump or a change of encoding would spoil.
AWKWARD = (
    "",
    " \t leading and trailing \t ",
    "it's ''quoted'' and \"quoted\"",
    "100 %, %s, %(name)s, %%, :name, $1, {braces}",
    "back\\slash, \\n, \\\\, \\'; DROP TABLE users; --",
    "a line\nand\r\nanother\rone",
    "first\n-- not a comment\n\n\n\\restrict nothing\n\\.\nSET transaction_timeout = 0;\n$$ $a$ /* */",
    "äßé 日本語 🦄 e\u0301 \u200b\u2028 \x01\x7f",
    "long " * 600,
    "NULL",
)
ROLES = ("user", "assistant", "system", "tool")
EARLY = datetime(1970, 1, 1, tzinfo=UTC)
PRECISE = datetime(2024, 2, 29, 23, 59, 59, 999_999, tzinfo=UTC)
LATE = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


async def fill(url: str) -> None:
    """Write rows of every entity: with and without what the client may leave to the database."""
    async with session_factory(url) as sessions:
        async with sessions.begin() as session:
            ann = User(id=UUID(int=1), email="ann@example.com", created_at=EARLY, updated_at=LATE)
            ben = User(email="b'e\"n+%s\\@exämple.com")
            session.add_all([ann, ben])
            await session.flush()
            talks = [Conversation(user_id=user.id, updated_at=PRECISE) for user in (ann, ann, ben)]
            talks[0].title = "a title: é 🦄"
            session.add_all(talks)
            await session.flush()
            payloads = {"tool": {"tool_calls": [{"text": AWKWARD[2]}]}, "assistant": {}}
            for (text, role), talk in zip(product(AWKWARD, ROLES), cycle(talks), strict=False):
                saying = {"role": role, "content": text, "payload": payloads.get(role)}
                session.add(Message(conversation_id=talk.id, user_id=talk.user_id, **saying))
            tasks = [
                Task(
                    user_id=ann.id, title=f"{number} {text[:99]}", description=text, completed=number % 2 == 0
                )
                for number, text in enumerate(AWKWARD)
            ]
            for task in tasks[:3]:
                task.due_at, task.priority = LATE, 9
            done = Task(user_id=ben.id, title="done", completed=True, completed_at=PRECISE)
            plain = Task(user_id=ben.id, title="no description", created_at=PRECISE)
            session.add_all([*tasks, done, plain])
        async with sessions.begin() as session:
            # The database must not give their numbers to others, ever: it remembers the last one.
            last = [Task(user_id=ben.id, title="soon forgotten") for _ in range(3)]
            session.add_all(last)
            await session.flush()
            for task in last:
                await session.delete(task)


if __name__ == "__main__":
    upgrade(sys.argv[1])
    asyncio.run(fill(sys.argv[1]))
