"""With anyio's own plugin."""

import pytest
from notebook.store import add_task, sign_in, still_to_do

pytestmark = pytest.mark.anyio


@pytest.fixture
async def ada(todo_schema_session):
    return await sign_in(todo_schema_session, "ada@example.com")


@pytest.mark.parametrize("turn", [1, 2])
async def test_an_async_fixture_and_its_test_have_the_same_session(todo_schema_session, ada, turn):
    assert await still_to_do(todo_schema_session, ada.id) == []
    milk = await add_task(todo_schema_session, ada.id, "buy milk")
    bread = await add_task(todo_schema_session, ada.id, "buy bread")
    assert await still_to_do(todo_schema_session, ada.id) == [bread, milk]
