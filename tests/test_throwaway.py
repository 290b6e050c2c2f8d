"""The databases that the fixtures of a service's tests make, and who else may see them."""

import re
from pathlib import Path

import pytest

from tests.support.ports import free_port
from tests.support.processes import kill, start_python
from tests.support.servers import execute
from todo_schema import (
    DatabaseUnreachableError,
    InsufficientPrivilegeError,
    InvalidUrlError,
    State,
    check,
    fast_server,
)
from todo_schema.throwaway import databases

UNTIL_KILLED = """
import time
from todo_schema.throwaway import databases

with databases() as made, made.template(lambda url: None) as template, made.database(template) as url:
    print(url, flush=True)
    time.sleep(100)
"""

A_FOLDER_UNTIL_KILLED = """
import time
from todo_schema.fast_server import _folder

with _folder() as folder:
    print(folder, flush=True)
    time.sleep(100)
"""


@pytest.fixture
def given(server, monkeypatch):
    monkeypatch.setenv("TODO_SCHEMA_TEST_URL", server.url())


def nothing(_url):
    pass


def names(server):
    """The databases of the fixtures, by the run that made them."""
    rows = server.execute(r"SELECT datname FROM pg_database WHERE datname LIKE 'todo\_schema\_test\_%'")
    return {name for (name,) in rows}


def database_of(url):
    return re.search(r"/(todo_schema_test_\w+)", url)[1]


@pytest.fixture
def start(server):
    """Starts programs that are killed at the latest with the test."""
    started = []

    def start(code):
        process = start_python(code, env={"TODO_SCHEMA_TEST_URL": server.url()})
        started.append(process)
        return process, process.stdout.readline().strip()

    yield start
    for process in started:
        with process:
            kill(process)


def test_what_a_service_prepares_is_in_every_copy_though_it_forgot_a_connection(server, given):
    import psycopg

    forgotten = []

    def prepare(url):
        forgotten.append(psycopg.connect(url, autocommit=True))
        forgotten[0].execute("CREATE TABLE notes ()")

    with databases() as made, made.template(prepare) as template:
        for _ in range(2):
            with made.database(template) as url:
                assert execute(url, "SELECT count(*) FROM notes") == [(0,)]
                assert check(url, deep=True) is State.CURRENT
                execute(url, "INSERT INTO notes DEFAULT VALUES")
    forgotten[0].close()


def test_what_a_service_prepares_may_be_a_coroutine_function(given):
    async def prepare(url):
        execute(url, "CREATE TABLE notes ()")

    with databases() as made, made.template(prepare) as template, made.database(template) as url:
        assert execute(url, "SELECT count(*) FROM notes") == [(0,)]


def test_what_a_killed_run_left_is_dropped_by_the_next_and_what_a_living_one_uses_is_not(
    server, given, start
):
    dead, left = start(UNTIL_KILLED)
    _living, used = start(UNTIL_KILLED)
    dead_run, living_run = (database_of(url).rsplit("_", 1)[0] for url in (left, used))
    kill(dead)
    with databases():
        found = names(server)
    assert not [name for name in found if name.startswith(dead_run)]
    assert len([name for name in found if name.startswith(living_run)]) == 2


@pytest.mark.skipif(not fast_server.in_memory(), reason="there is no room in memory here")
def test_the_folder_of_a_killed_run_is_removed_by_the_next_and_that_of_a_living_one_is_not(start, tmp_path):
    dead, left = start(A_FOLDER_UNTIL_KILLED)
    _living, used = start(A_FOLDER_UNTIL_KILLED)
    kill(dead)
    assert Path(left).exists()
    with fast_server._folder():
        assert not Path(left).exists()
        assert Path(used).exists()


def test_a_role_that_may_not_create_databases_is_told_what_it_lacks_and_needs_nothing_else(
    server, monkeypatch
):
    server.execute("CREATE ROLE throwaway_reader LOGIN PASSWORD 'hush-hush'")
    try:
        url = server.url(user="throwaway_reader", password="hush-hush")
        monkeypatch.setenv("TODO_SCHEMA_TEST_URL", url)
        with databases() as made, pytest.raises(InsufficientPrivilegeError) as refused:
            made.template(nothing).__enter__()
        server.execute("ALTER ROLE throwaway_reader CREATEDB")
        with databases() as made, made.template(nothing) as template, made.database(template) as url:
            assert check(url, deep=True) is State.CURRENT
    finally:
        server.execute("DROP ROLE throwaway_reader")
    assert "may not create databases: permission denied to create database" in refused.value.found
    assert 'ALTER ROLE "throwaway_reader" CREATEDB' in refused.value.cure
    assert "hush-hush" not in str(refused.value)


def test_a_server_that_does_not_answer_is_named_with_the_variable(monkeypatch):
    monkeypatch.setenv("TODO_SCHEMA_TEST_URL", f"postgresql://ada:hush-hush@localhost:{free_port()}/x")
    with pytest.raises(DatabaseUnreachableError) as refused:
        databases().__enter__()
    assert refused.value.__notes__ == ["the server is the one that TODO_SCHEMA_TEST_URL names"]
    assert "hush-hush" not in str(refused.value)


def test_a_url_that_is_none_is_refused(monkeypatch):
    monkeypatch.setenv("TODO_SCHEMA_TEST_URL", "sqlite:///tests.db")
    with pytest.raises(InvalidUrlError):
        databases().__enter__()


def test_the_url_is_one_that_psql_sqlalchemy_and_this_package_read(server, given):
    import psycopg
    from sqlalchemy import create_engine, make_url

    with databases() as made, made.template(nothing) as template, made.database(template) as url:
        psycopg.connect(url).close()
        assert check(url) is State.CURRENT
        engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"))
        engine.connect().close()
        engine.dispose()
