"""Without async: a database of the test's own."""

import asyncio

import pytest
from notebook.migrate import migrate
from notebook.store import sign_in
from sqlalchemy import create_engine, inspect, make_url

from todo_schema import State, check


def tables(url):
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"))
    found = inspect(engine).get_table_names()
    engine.dispose()
    return found


def test_every_database_has_our_tables_beside_those_of_todo_schema(todo_schema_url):
    assert check(todo_schema_url, deep=True) is State.CURRENT
    assert {"notes", "tasks"} <= set(tables(todo_schema_url))


def test_migrating_again_changes_nothing(todo_schema_url):
    before = tables(todo_schema_url)
    migrate(todo_schema_url)
    assert tables(todo_schema_url) == before


@pytest.mark.parametrize("turn", [1, 2])
def test_a_test_without_async_may_run_a_loop_of_its_own(todo_schema_session, turn):
    assert asyncio.run(sign_in(todo_schema_session, "ada@example.com")).email == "ada@example.com"
