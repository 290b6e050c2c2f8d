"""What a service writes, for two type checkers to read; it is never run."""

from collections.abc import Sequence
from datetime import datetime
from typing import assert_type
from uuid import UUID

from sqlalchemy import Engine, make_url
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from todo_schema import (
    ChangeReport,
    Conversation,
    ConversationNotFoundError,
    FleetReport,
    Installation,
    Message,
    MessageCreate,
    Outcome,
    Plan,
    Revision,
    SchemaOutdatedError,
    SessionFactory,
    State,
    Status,
    Task,
    TodoSchemaError,
    User,
    __version__,
    append_messages,
    check,
    check_async,
    downgrade,
    history,
    messages_after,
    newest_conversations,
    newest_messages,
    newest_tasks,
    plan,
    session_factory,
    sql,
    stamp,
    status,
    status_async,
    upgrade,
    upgrade_async,
    upgrade_many,
    upgrade_many_async,
    user_by_email,
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


async def all_of_them(urls: list[str]) -> None:
    report = upgrade_many(
        [*urls, make_url(urls[0]), Installation(urls[0], schema="acme")], concurrency=4, progress=print
    )
    assert_type(report, FleetReport)
    for outcome in (await upgrade_many_async(urls)).outcomes:
        assert_type(outcome, Outcome)
        assert_type(outcome.report, ChangeReport | None)
        assert_type(outcome.error, TodoSchemaError | None)


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


async def chat(session: AsyncSession, user_id: UUID, conversation_id: UUID) -> None:
    asked = [
        MessageCreate(role="user", content="Buy milk"),
        MessageCreate(role="tool", content="", payload={"call": 1}),
    ]
    try:
        written = await append_messages(session, user_id, conversation_id, asked)
    except ConversationNotFoundError as error:
        assert_type(error.found, str)
        return
    assert_type(written, list[Message])
    assert_type((written[0].id, written[0].created_at), tuple[UUID, datetime])
    last = written[-1]
    newer = await session.exec(messages_after(user_id, conversation_id, after=(last.created_at, last.id)))
    assert_type(newer.all(), Sequence[Message])
    older = await session.exec(newest_messages(user_id, conversation_id, before=(last.created_at, last.id)))
    assert_type(older.first(), Message | None)


async def lists(session: AsyncSession, email: str) -> None:
    user = (await session.exec(user_by_email(email))).one_or_none()
    assert_type(user, User | None)
    if user is None:
        return
    tasks = (await session.exec(newest_tasks(user.id, open_only=True, limit=10))).all()
    assert_type(tasks, Sequence[Task])
    await session.exec(newest_tasks(user.id, before=(tasks[-1].created_at, tasks[-1].id)))
    assert_type(
        (tasks[0].due_at, tasks[0].priority, tasks[0].completed_at),
        tuple[datetime | None, int, datetime | None],
    )
    talks = (await session.exec(newest_conversations(user.id).where(Conversation.title == "Shopping"))).all()
    assert_type(talks, Sequence[Conversation])
    assert_type((talks[0].title, talks[0].user), tuple[str | None, User])
