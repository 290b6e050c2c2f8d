"""Messages are read in the order in which they were written, by whoever reads, while others write."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import psycopg
import pytest
from sqlalchemy import text
from sqlmodel import col, select

from tests.support.servers import execute
from tests.support.talks import new_talk, said
from tests.support.thorough import series
from tests.support.waiting import wait_for
from todo_schema import (
    SCHEMA_VERSION,
    Conversation,
    Message,
    SessionFactory,
    append_messages,
    downgrade,
    messages_after,
    session_factory,
)

WRITERS = 8
TRANSACTIONS = series(1000, 5000)

WAITING = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


@pytest.fixture
async def factory(upgraded_database: str) -> AsyncIterator[SessionFactory]:
    # A writer each, and the reader.
    async with session_factory(upgraded_database, pool_size=WRITERS + 1) as made:
        yield made


class Reader:
    """Polls for what is newer than what it saw last."""

    def __init__(self, factory: SessionFactory, talk: Conversation) -> None:
        self._factory = factory
        self._talk = talk
        self._cursor: tuple | None = None
        self.seen: list[str] = []

    async def poll(self) -> None:
        async with self._factory() as session:
            page = messages_after(self._talk.user_id, self._talk.id, after=self._cursor)
            while found := (await session.exec(page)).all():
                self.seen += [message.content for message in found]
                self._cursor = (found[-1].created_at, found[-1].id)
                page = messages_after(self._talk.user_id, self._talk.id, after=self._cursor)


async def test_the_messages_of_many_transactions_are_all_read_in_the_order_in_which_they_were_written(
    factory,
):
    talks = [await new_talk(factory) for _ in range(WRITERS)]

    async def write(talk: Conversation) -> None:
        async with factory() as session:
            for number in range(TRANSACTIONS // WRITERS):
                await append_messages(
                    session, talk.user_id, talk.id, said(*(f"{number:05} {place}" for place in range(3)))
                )
                await session.commit()

    await asyncio.gather(*(write(talk) for talk in talks))
    async with factory() as session:
        for talk in talks:
            asked = select(Message.content).where(
                Message.user_id == talk.user_id, Message.conversation_id == talk.id
            )
            read = (await session.exec(asked.order_by(col(Message.created_at), col(Message.id)))).all()
            assert len(read) == TRANSACTIONS // WRITERS * 3
            assert list(read) == sorted(read)


# On schema 1 the time is the transaction's, the same for all of its messages: five of six orders are wrong.
@pytest.mark.parametrize(("schema", "fewest", "most"), [(1, 50, 100), (SCHEMA_VERSION, 0, 0)])
def test_the_time_alone_says_the_order_of_a_transaction_where_the_keys_say_none(
    upgraded_database: str, schema: int, fewest: int, most: int
):
    downgrade(upgraded_database, to=schema)
    with psycopg.connect(upgraded_database) as connection:
        connection.execute("INSERT INTO users (email) VALUES ('ada@example.com')")
        connection.execute("INSERT INTO conversations (user_id) SELECT id FROM users")
        connection.commit()
        for number in range(100):
            for place in range(3):
                connection.execute(
                    "INSERT INTO messages (id, conversation_id, user_id, role, content)"
                    " SELECT gen_random_uuid(), id, user_id, 'user', %s FROM conversations",
                    [f"{number:05} {place}"],
                )
            connection.commit()
        read = [row[0] for row in connection.execute("SELECT content FROM messages ORDER BY created_at, id")]
    assert len(read) == 300
    turns = [read[first : first + 3] for first in range(0, 300, 3)]
    assert fewest <= sum(turn != sorted(turn) for turn in turns) <= most


async def test_a_polling_reader_sees_what_eight_writers_append_to_one_conversation_in_order(factory):
    talk = await new_talk(factory)
    reader = Reader(factory, talk)
    turns = 25

    async def write(writer: int) -> None:
        for turn in range(turns):
            async with factory.begin() as session:
                await append_messages(session, talk.user_id, talk.id, said(f"{writer} {turn:02} 0"))
                await asyncio.sleep(0.001 * ((writer + turn) % 3))  # where a reader may come in between
                await append_messages(
                    session, talk.user_id, talk.id, said(*(f"{writer} {turn:02} {n}" for n in (1, 2)))
                )

    writing = asyncio.gather(*(write(writer) for writer in range(WRITERS)))
    polls = 0
    while not writing.done():
        await reader.poll()
        polls += 1
    await writing
    await reader.poll()
    assert polls > 1
    assert len(reader.seen) == WRITERS * turns * 3
    for writer in range(WRITERS):
        of_one = [content for content in reader.seen if content.startswith(f"{writer} ")]
        assert of_one == sorted(of_one)
    # Each transaction's are together, so that a turn of one is not torn by another's.
    for first in range(0, len(reader.seen), 3):
        turn = reader.seen[first : first + 3]
        assert {content[:4] for content in turn} == {turn[0][:4]}
    whole = Reader(factory, talk)
    await whole.poll()
    assert reader.seen == whole.seen


async def insert_past_it(session, talk: Conversation, content: str) -> None:
    session.add(Message(user_id=talk.user_id, conversation_id=talk.id, role="user", content=content))
    await session.flush()


async def test_of_eight_writers_that_do_not_lock_the_conversation_a_polling_reader_loses_seven(factory):
    """The control: what was written first becomes visible last, behind the cursor of a reader who saw the last."""
    talk = await new_talk(factory)
    reader = Reader(factory, talk)
    async with AsyncExitStack() as stack:
        sessions = [await stack.enter_async_context(factory()) for _ in range(WRITERS)]
        for number, session in enumerate(sessions):
            await insert_past_it(session, talk, str(number))
        for session in reversed(sessions):
            await session.commit()
            await reader.poll()
    assert reader.seen == ["7"]
    whole = Reader(factory, talk)
    await whole.poll()
    assert whole.seen == [str(number) for number in range(WRITERS)]


async def test_a_writer_waits_for_the_one_before_so_that_a_polling_reader_loses_neither(
    factory, upgraded_database
):
    """The same as the control, through `append_messages`: the first has to commit first."""
    talk = await new_talk(factory)
    reader = Reader(factory, talk)
    async with AsyncExitStack() as stack:
        sessions = [await stack.enter_async_context(factory()) for _ in range(WRITERS)]
        await append_messages(sessions[0], talk.user_id, talk.id, said("0"))

        async def append(number: int) -> None:
            await append_messages(sessions[number], talk.user_id, talk.id, said(str(number)))
            await sessions[number].commit()

        others = [asyncio.create_task(append(number)) for number in range(1, WRITERS)]
        await asyncio.to_thread(wait_for, lambda: len(execute(upgraded_database, WAITING)) == WRITERS - 1)
        await reader.poll()
        assert reader.seen == []
        assert not any(other.done() for other in others)
        await sessions[0].commit()
        for other in asyncio.as_completed(others):
            await other
            await reader.poll()
    assert reader.seen[0] == "0"
    assert sorted(reader.seen) == [str(number) for number in range(WRITERS)]


async def test_a_writer_to_another_conversation_does_not_wait(factory):
    first, second = [await new_talk(factory) for _ in range(2)]
    async with factory.begin() as session, factory.begin() as other:
        await append_messages(session, first.user_id, first.id, said("Hi"))
        await other.exec(text("SET LOCAL lock_timeout = '1s'"))
        await append_messages(other, second.user_id, second.id, said("Hi"))
