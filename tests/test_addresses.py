"""How a database may be named: a URL, an engine or a connection, for each function and its twin."""

import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import NullPool, create_engine, make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

import todo_schema
from tests.support.migrated import clients
from tests.support.revisions import REVISIONS, downgraded, upgraded
from tests.support.servers import execute
from tests.support.states import rows, version
from todo_schema import (
    SCHEMA_VERSION,
    State,
    status,
    upgrade,
)
from todo_schema.compatibility import HEAD

ODD_SCHEMA = 'Jo\'s "todo" 100%'


@contextmanager
def engine_of(url: str) -> Iterator[Any]:
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def connection_of(url: str) -> Iterator[Any]:
    with engine_of(url) as engine, engine.connect() as connection:
        yield connection


@contextmanager
def as_text(url: str) -> Iterator[str]:
    yield url


@contextmanager
def as_url(url: str) -> Iterator[Any]:
    yield make_url(url)


@asynccontextmanager
async def async_engine_of(url: str) -> AsyncIterator[Any]:
    engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://"))
    try:
        yield engine
    finally:
        await engine.dispose()


@asynccontextmanager
async def async_connection_of(url: str) -> AsyncIterator[Any]:
    async with async_engine_of(url) as engine, engine.connect() as connection:
        yield connection


@asynccontextmanager
async def async_text(url: str) -> AsyncIterator[str]:
    yield url


@asynccontextmanager
async def async_url(url: str) -> AsyncIterator[Any]:
    yield make_url(url)


# One life, by each function; what it returned is compared with what is written here.
LIFE: list[tuple[str, tuple[Any, ...], dict[str, Any], Callable[[Any], Any], Any]] = [
    ("status", (), {}, lambda said: said.state, State.EMPTY),
    ("plan", (), {}, lambda said: [step.revision for step in said.steps], [*REVISIONS]),
    ("upgrade", (), {}, lambda said: (said.version_before, said.version_after), (None, SCHEMA_VERSION)),
    ("check", (), {"deep": True}, lambda said: said, State.CURRENT),
    ("wait", (), {}, lambda said: said, State.CURRENT),
    ("clients", (), {}, lambda said: (said.clients, said.floor, said.leases), ((), 1, True)),
    (
        "contract",
        (),
        {"to": None},
        lambda said: (said.after, said.version_after),
        (State.CURRENT, SCHEMA_VERSION),
    ),
    ("status", (), {}, lambda said: (said.state, said.differences, said.extras), (State.CURRENT, (), ())),
    ("history", (), {}, lambda said: said[0].applied_at is not None, True),
    ("sql", (), {"to": "base"}, lambda said: "DROP TABLE users" in said, True),
    (
        "downgrade",
        (),
        {"to": "base"},
        lambda said: [step.revision for step in said.applied],
        [revision.revision for revision in todo_schema.history()[::-1]],
    ),
    ("upgrade", (), {}, lambda said: said.after, State.CURRENT),
    ("stamp", ("base",), {}, lambda said: said.after, State.UNVERSIONED),
    ("adopt", (), {}, lambda said: (said.answer, said.version), ("recorded", SCHEMA_VERSION)),
    ("stamp", ("base",), {}, lambda said: said.after, State.UNVERSIONED),
    ("upgrade", (), {}, lambda said: said.adopted, True),
    (
        "stamp",
        (SCHEMA_VERSION,),
        {},
        lambda said: (said.after, said.version_after),
        (State.CURRENT, SCHEMA_VERSION),
    ),
]


@pytest.mark.parametrize(
    ("given", "schema"),
    [(as_text, None), (as_url, ODD_SCHEMA), (engine_of, None), (connection_of, ODD_SCHEMA)],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_every_function_takes_a_url_an_engine_or_a_connection(
    database: str, given: Callable[[str], Any], schema: str | None
):
    with given(database) as address:
        for name, args, options, facts, expected in LIFE:
            said = getattr(todo_schema, name)(address, *args, schema=schema, **options)
            assert facts(said) == expected, name
    up, down = ([action for _, action in told] for told in (upgraded(), downgraded()))
    told = rows(database, "line, action", schema or "public")
    assert [action for line, action in told if line == "expand"] == [
        *(*up, *down, *up),
        *("stamp", "adopt", "stamp", "adopt", "stamp"),
    ]


@pytest.mark.parametrize(
    ("given", "schema"),
    [
        (async_text, ODD_SCHEMA),
        (async_url, None),
        (async_engine_of, ODD_SCHEMA),
        (async_connection_of, None),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
async def test_every_twin_takes_a_url_an_async_engine_or_an_async_connection(
    database: str, given: Callable[[str], Any], schema: str | None
):
    async with given(database) as address:
        for name, args, options, facts, expected in LIFE:
            said = await getattr(todo_schema, f"{name}_async")(address, *args, schema=schema, **options)
            assert facts(said) == expected, name


def test_the_transaction_of_a_connection_that_is_passed_stays_as_it_is(database: str):
    with connection_of(database) as connection:
        connection.execute(text("CREATE TABLE mine ()"))
        upgrade(connection)
        assert connection.in_transaction()
        assert status(connection).state is State.CURRENT
        connection.rollback()
    assert execute(database, "SELECT to_regclass('mine')") == [(None,)]
    assert version(database) == [HEAD]


def test_no_connection_that_migrated_stays_in_the_pool_of_an_engine(database: str):
    with engine_of(database) as engine:
        upgrade(engine)
        assert engine.pool.checkedout() == 0
        # The server needs a moment to see that a client has gone; who looks again at once sees the one that looked.
        deadline = time.monotonic() + 10
        while seen := clients(database):
            assert time.monotonic() < deadline, seen
            time.sleep(0.2)
        with engine.connect() as connection:
            assert connection.scalar(text("SELECT current_setting('search_path')")) == '"$user", public'


WRONG = {
    "None": None,
    "int": 5432,
    "bytes": b"postgresql://h/d",
    "Path": Path("postgresql"),
    "list": ["postgresql://h/d"],
}


@pytest.mark.parametrize(
    "name", ["upgrade", "status", "check", "plan", "downgrade", "stamp", "history", "sql", "adopt"]
)
@pytest.mark.parametrize("wrong", [name for name in WRONG if name != "None"])
async def test_anything_else_is_a_type_error_that_says_what_to_pass(name: str, wrong: str):
    args: tuple[Any, ...] = (1,) if name == "stamp" else ()
    options = {"to": "base"} if name == "downgrade" else {}
    with pytest.raises(
        TypeError,
        match=r"needed: a URL, an Engine or a Connection, or the .* that ends in _async",
    ):
        getattr(todo_schema, name)(WRONG[wrong], *args, **options)
    with pytest.raises(
        TypeError, match="needed: a URL, an AsyncEngine or an AsyncConnection, or the function without _async"
    ):
        await getattr(todo_schema, f"{name}_async")(WRONG[wrong], *args, **options)


@pytest.mark.parametrize("name", ["upgrade", "status", "check", "plan"])
async def test_no_url_at_all_is_a_type_error(name: str):
    with pytest.raises(TypeError, match=r"found: a url None \(is DATABASE_URL set"):
        getattr(todo_schema, name)(None)
    with pytest.raises(TypeError, match=r"found: a url None \(is DATABASE_URL set"):
        await getattr(todo_schema, f"{name}_async")(None)


async def test_an_engine_of_the_other_kind_is_a_type_error_that_names_the_twin():
    asynchronous = create_async_engine("postgresql+asyncpg://h/d", poolclass=NullPool)
    blocking = create_engine("postgresql+psycopg://h/d", poolclass=NullPool)
    with pytest.raises(TypeError, match=r"(?s)of type AsyncEngine.* ends in _async"):
        upgrade(asynchronous)
    with pytest.raises(TypeError, match=r"(?s)of type Engine.* without _async"):
        await todo_schema.upgrade_async(blocking)


def test_a_connection_says_by_its_map_where_the_tables_are(database: str):
    engine = create_engine(database.replace("postgresql:", "postgresql+psycopg:"))
    with engine.connect().execution_options(schema_translate_map={None: "todo"}) as connection:
        assert todo_schema.upgrade(connection).schema == "todo"
        todo_schema.require_version(connection, 1)
        with pytest.raises(todo_schema.SchemaOutdatedError):
            todo_schema.require_version(connection, 1, schema="public")
    engine.dispose()


async def test_so_does_one_of_an_event_loop(database: str):
    engine = create_async_engine(database.replace("postgresql:", "postgresql+asyncpg:"))
    async with engine.connect() as connection:
        await connection.execution_options(schema_translate_map={None: "todo"})
        assert (await todo_schema.upgrade_async(connection)).schema == "todo"
    assert status(database).state is State.EMPTY
    await engine.dispose()
