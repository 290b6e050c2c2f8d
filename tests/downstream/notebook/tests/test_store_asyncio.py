"""With pytest-asyncio."""

import pytest
from notebook.store import add_task, notes_on, sign_in, still_to_do
from sqlalchemy.exc import IntegrityError
from sqlmodel import select

from todo_schema import User, session_factory

pytestmark = pytest.mark.asyncio


@pytest.mark.parametrize("turn", [1, 2])
async def test_a_user_signs_in_for_the_first_time(todo_schema_session, turn):
    assert (await todo_schema_session.exec(select(User))).all() == []
    ada = await sign_in(todo_schema_session, "ada@example.com")
    assert await sign_in(todo_schema_session, "ada@example.com") is ada


async def test_a_task_and_its_note_are_written_or_neither(todo_schema_session):
    ada_id = (await sign_in(todo_schema_session, "ada@example.com")).id
    task = await add_task(todo_schema_session, ada_id, "buy milk", note="the one in glass")
    with pytest.raises(IntegrityError):
        await add_task(todo_schema_session, ada_id, " ", note="lost")
    await todo_schema_session.rollback()
    assert await still_to_do(todo_schema_session, ada_id) == [task]
    assert await notes_on(todo_schema_session, task.id) == ["the one in glass"]


@pytest.mark.parametrize("turn", [1, 2])
async def test_two_requests_at_once_have_a_session_each(todo_schema_url, turn):
    async with session_factory(todo_schema_url) as sessions, sessions() as one, sessions() as other:
        ada = await sign_in(one, "ada@example.com")
        assert (await sign_in(other, "ada@example.com")).id == ada.id


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("turn", [1, 2])
async def test_tests_may_share_an_event_loop(todo_schema_session, turn):
    assert (await todo_schema_session.exec(select(User))).all() == []
    await sign_in(todo_schema_session, "ada@example.com")
