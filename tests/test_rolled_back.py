"""Sessions whose work is undone: what the fixture `todo_schema_session` gives."""

import asyncio
import os

import pytest
from sqlalchemy import func, text
from sqlmodel import select

from tests.support.processes import CHECKOUT, SOURCE, run_python
from tests.support.servers import execute
from todo_schema import User, WrongEventLoopError
from todo_schema.rolled_back import RolledBack


@pytest.fixture
def rolled_back(server, upgraded_database):
    return RolledBack(upgraded_database, server.terminate)


@pytest.fixture
def backends(upgraded_database):
    """Counts the connections to the database, but for the one that counts."""
    query = """SELECT count(*) FROM pg_stat_activity
               WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"""
    return lambda: execute(upgraded_database, query)[0][0]


async def add(session, email="ada@example.com"):
    session.add(User(email=email))
    await session.commit()


async def users(session):
    return (await session.exec(select(func.count()).select_from(User))).one()


async def pid(session):
    return (await session.exec(text("SELECT pg_backend_pid()"))).scalar_one()


def test_what_was_committed_is_there_for_the_session_and_for_nobody_else_and_then_gone(
    rolled_back, upgraded_database, backends
):
    async def work(session):
        await add(session)
        assert execute(upgraded_database, "SELECT count(*) FROM users") == [(0,)]
        await add(session, "bob@example.com")
        await session.rollback()
        await session.close()
        return await users(session)

    with rolled_back.session() as session:
        assert asyncio.run(work(session)) == 2
    assert backends() == 0
    with rolled_back.session() as session:
        assert asyncio.run(users(session)) == 0


def test_a_rollback_undoes_what_was_not_committed_and_no_more(rolled_back):
    async def work(session):
        await add(session)
        session.add(User(email="bob@example.com"))
        await session.flush()
        await session.rollback()
        return await users(session)

    with rolled_back.session() as session:
        assert asyncio.run(work(session)) == 1


def test_work_is_undone_also_where_the_outer_transaction_was_ended_by_the_test(rolled_back):
    async def work(session):
        await (await session.connection()).rollback()
        await session.close()
        await add(session)

    with rolled_back.session() as session:
        asyncio.run(work(session))
    with rolled_back.session() as session:
        assert asyncio.run(users(session)) == 0


def test_tests_in_one_loop_share_a_connection_and_nothing_else(rolled_back, backends):
    with asyncio.Runner() as runner:
        seen = []
        for _ in range(2):
            with rolled_back.session() as session:
                assert runner.run(users(session)) == 0
                runner.run(add(session))
                seen.append(runner.run(pid(session)))
        assert seen[0] == seen[1]
        assert backends() == 1
    assert backends() == 0


def test_two_loops_that_are_open_at_the_same_time_have_a_connection_each(rolled_back):
    with asyncio.Runner() as one, asyncio.Runner() as other:
        for runner in (one, other, one):
            with rolled_back.session() as session:
                assert runner.run(users(session)) == 0
                runner.run(add(session))


def test_a_session_that_changes_its_loop_is_refused(rolled_back):
    with rolled_back.session() as session:
        asyncio.run(users(session))
        with pytest.raises(WrongEventLoopError, match="one event loop and then in another"):
            asyncio.run(users(session))


def test_a_session_without_asyncio_is_refused_with_a_cure(rolled_back):
    with rolled_back.session() as session, pytest.raises(WrongEventLoopError, match="anyio_backend"):
        users(session).send(None)  # as Trio does it


def test_a_session_that_is_not_used_opens_nothing(rolled_back, backends):
    with rolled_back.session():
        assert backends() == 0


CARELESS = """
import asyncio, sys
from todo_schema import User
from todo_schema.rolled_back import RolledBack
from tests.support.servers import execute

async def add(session):
    session.add(User(email="ada@example.com"))
    await session.commit()

url = sys.argv[1]
rolled_back = RolledBack(url, lambda pid: execute(url, f"SELECT pg_terminate_backend({pid})"))
loop = asyncio.new_event_loop()
with rolled_back.session() as kept:
    loop.run_until_complete(add(kept))
    loop.close()
with rolled_back.session() as session:
    asyncio.run(asyncio.wait_for(add(session), 10))
print("both added ada")
"""


def test_a_loop_that_is_closed_without_any_care_keeps_no_lock(upgraded_database):
    """In a process of its own: what nobody closed says so as it is collected."""
    done = run_python(CARELESS, upgraded_database, env={"PYTHONPATH": f"{SOURCE}{os.pathsep}{CHECKOUT}"})
    assert done.stdout.strip() == "both added ada", done.stderr


def test_a_statement_that_still_runs_is_cut_off(rolled_back, monkeypatch):
    monkeypatch.setattr("todo_schema.rolled_back._PATIENCE", 0.2)

    async def begin(session):
        await add(session)
        statement = asyncio.ensure_future(session.exec(text("SELECT pg_sleep(100)")))
        await asyncio.sleep(0.1)
        return statement

    with asyncio.Runner() as runner:
        with rolled_back.session() as session:
            statement = runner.run(begin(session))
        statement.cancel()
        with rolled_back.session() as session:
            assert runner.run(users(session)) == 0


def test_a_connection_that_the_server_ended_spoils_no_other_test(rolled_back, server):
    with asyncio.Runner() as runner:
        with rolled_back.session() as session:
            server.terminate(runner.run(pid(session)))
        with rolled_back.session() as session:
            assert runner.run(users(session)) == 0
