"""The fixtures that a service's own tests use."""

import subprocess
import sys

from tests.support.processes import clean_environment

SUITE = """
import pytest
from sqlmodel import select
from todo_schema import State, User, check, session_factory

@pytest.mark.parametrize("turn", [1, 2])
async def test_each_test_has_an_upgraded_database_of_its_own(todo_schema_url, turn):
    assert check(todo_schema_url, deep=True) is State.CURRENT
    async with session_factory(todo_schema_url) as sessions:
        async with sessions.begin() as session:
            session.add(User(email="ada@example.com"))
        async with sessions() as session:
            assert len((await session.exec(select(User))).all()) == 1
"""


def test_a_service_tests_on_a_fresh_upgraded_database_and_none_is_left(server, tmp_path):
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["todo_schema.testing"]\n')
    (tmp_path / "test_service.py").write_text(SUITE)
    before = server.execute("SELECT count(*) FROM pg_database WHERE datname LIKE 'todo_schema_%'")
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-o",
            "asyncio_mode=auto",
            str(tmp_path),
        ],
        env=clean_environment({"TODO_SCHEMA_TEST_URL": server.url()}),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "2 passed" in result.stdout, result.stdout + result.stderr
    after = server.execute("SELECT count(*) FROM pg_database WHERE datname LIKE 'todo_schema_%'")
    assert after == before
