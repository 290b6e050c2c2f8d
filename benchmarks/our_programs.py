"""What services do with our tables, as one who uses 0.1 writes it and as 0.2 gives it; run by `far_end`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.releases import RELEASES, Release, install

from benchmarks.both_schemas import Both
from benchmarks.operating import Package

OLD = "0.1"
NEW = "0.2"

_OPERATIONS = """
from contextlib import asynccontextmanager
from sqlalchemy import func, text, update
from sqlmodel import col, select
from todo_schema import Conversation, Message, Task, session_factory

# Whose they are, from all over the tables, and the same at each version.
TALKS = "SELECT id, user_id FROM conversations ORDER BY md5(id::text) LIMIT 2000"
OPEN = "SELECT id, user_id FROM tasks WHERE NOT completed ORDER BY md5(id::text) LIMIT 4000"
LONG = "SELECT conversation_id, user_id FROM messages GROUP BY 1, 2 ORDER BY count(*) DESC, 1 LIMIT {long}"
SHORT = "SELECT conversation_id, user_id FROM messages GROUP BY 1, 2 HAVING count(*) = 11 ORDER BY 1 LIMIT 20"

@asynccontextmanager
async def operations(url):
    async with session_factory(url, service="bench") as factory:
        async with factory() as session:
            talks, tasks, long, short = [
                (await session.exec(text(found))).all() for found in (TALKS, OPEN, LONG, SHORT)
            ]

        async def create_task(number):
            async with factory.begin() as session:
                session.add(Task(user_id=talks[number % len(talks)][1], title="Buy milk and bread"))

        async def complete_task(number):
            task, user = tasks[number]
            async with factory.begin() as session:
                found = select(Task).where(Task.user_id == user, Task.id == task)
                (await session.exec(found)).one().completed = True

        async def append_turn(number):
            talk, user = talks[number % len(talks)]
            async with factory.begin() as session:
                await append(session, user, talk, [("user", "Buy milk and bread. " * 3), ("assistant", "Done. " * 9)])

        async def newest_of_long(number):
            talk, user = long[number % len(long)]
            async with factory() as session:
                return len((await session.exec(newest(user, talk))).all())

        async def newest_of_short(number):
            talk, user = short[number % len(short)]
            async with factory() as session:
                return len((await session.exec(newest(user, talk))).all())

        yield {
            "create a task": create_task,
            "complete a task": complete_task,
            "append a turn": append_turn,
            "newest of long": newest_of_long,
            "newest of short": newest_of_short,
        }
"""

_OLD = """
def newest(user, talk):
    found = select(Message).where(Message.conversation_id == talk)
    return found.order_by(col(Message.created_at).desc()).limit(50)

async def append(session, user, talk, turn):
    bump = update(Conversation).where(Conversation.user_id == user, Conversation.id == talk)
    await session.exec(bump.values(updated_at=func.now()), execution_options={"synchronize_session": False})
    session.add_all([Message(user_id=user, conversation_id=talk, role=role, content=said) for role, said in turn])
"""

_NEW = """
from todo_schema import MessageCreate, append_messages, newest_messages as newest

async def append(session, user, talk, turn):
    await append_messages(session, user, talk, [MessageCreate(role=role, content=said) for role, said in turn])
"""


@contextmanager
def our_packages(both: Both) -> Iterator[list[Package]]:
    """Give the released 0.1 on its schema, and this checkout on the head."""
    operations = _OPERATIONS.replace("{long}", str(len(both.filled.heavy_conversations)))
    with TemporaryDirectory(prefix="released-") as folder:
        released = install(Release(RELEASES / "0.1.0").wheel, Path(folder))
        source = Path(__file__).parents[1] / "src"
        yield [
            Package(OLD, operations + _OLD, both.old, pythonpath=released),
            Package(NEW, operations + _NEW, both.new, pythonpath=source),
        ]
