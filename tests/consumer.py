"""What a service writes, for two type checkers to read; it is never run."""

from collections.abc import Sequence
from typing import assert_type
from uuid import UUID

from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from todo_schema import (
    ChangeReport,
    Conversation,
    Message,
    Plan,
    Revision,
    SchemaOutdatedError,
    SessionFactory,
    State,
    Status,
    Task,
    User,
    __version__,
    check,
    check_async,
    downgrade,
    history,
    plan,
    session_factory,
    sql,
    stamp,
    status,
    status_async,
    upgrade,
    upgrade_async,
)


def at_boot(url: str, engine: Engine) -> None:
    report = upgrade(url, schema="todo", timeout=60, connect_retry=30, progress=print)
    assert_type(report, ChangeReport)
    assert_type(report.applied[0].seconds, float)
    assert_type(status(engine), Status)
    assert_type(plan(url), Plan)
    assert_type(history(), tuple[Revision, ...])
    assert_type(sql(to=1), str)
    assert_type(stamp(url, "001"), ChangeReport)
    assert_type(downgrade(url, to="base"), ChangeReport)
    try:
        assert_type(check(url), State)
    except SchemaOutdatedError as error:
        assert_type(error.cure, str)
    print(__version__.upper())


async def in_a_loop(connection: AsyncConnection) -> None:
    assert_type(await upgrade_async(connection), ChangeReport)
    assert_type(await check_async(connection, deep=True), State)
    assert_type(await status_async(connection), Status)


async def use(url: str) -> Sequence[Task]:
    async with session_factory(url, schema="todo", pool_size=5) as sessions:
        assert_type(sessions, SessionFactory)
        async with sessions.begin() as session:
            assert_type(session, AsyncSession)
            user = User(email="ada@example.com")
            assert_type(user.id, UUID)
            conversation = Conversation(user_id=user.id)
            session.add(Message(conversation_id=conversation.id, user_id=user.id, role="user", content="Hi"))
        async with sessions() as session:
            found = await session.exec(select(Task).where(Task.user_id == user.id))
            tasks = found.all()
            assert_type(tasks, Sequence[Task])
            return tasks
