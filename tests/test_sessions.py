"""What a service sees of the session factory."""

import asyncio
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated

import pytest
from sqlalchemy import NullPool, func, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from tests.support.backends import backends
from tests.support.pooler import Pooler
from tests.support.processes import run_python
from tests.support.servers import Server, database_name
from todo_schema.errors import InvalidUrlError
from todo_schema.models import Conversation, Message, Task, TodoBase, User
from todo_schema.sessions import SessionFactory, session_factory
from todo_schema.urls import DatabaseUrl

SECRET = "p4ss-w0rd"


@pytest.fixture
async def factory(upgraded_database: str):
    async with session_factory(upgraded_database) as made:
        yield made


async def one(session: AsyncSession, expression: str):
    return (await session.exec(select(text(expression)))).one()


def tables() -> list:
    return [entity.__table__ for entity in (User, Conversation, Message, Task)]


def test_importing_the_module_imports_no_driver():
    done = run_python("import sys, todo_schema.sessions; print({'asyncpg', 'psycopg'} & set(sys.modules))")
    assert done.stdout.strip() == "set()", done.stderr


def test_making_a_factory_and_a_session_opens_nothing():
    factory = session_factory("postgresql://nobody@127.0.0.1:1/nowhere")
    assert isinstance(factory(), AsyncSession)


def test_a_bad_url_is_refused_as_the_factory_is_made_and_no_frame_shows_the_password():
    with pytest.raises(InvalidUrlError) as caught:
        session_factory(f"mysql://u:{SECRET}@h/d", connect_args={"password": SECRET})
    ours = [frame for frame in caught.traceback if "todo_schema" in str(frame.path)]
    assert ours
    assert SECRET not in str([frame.frame.f_locals for frame in ours]) + str(caught.value)


def test_the_repr_has_no_password():
    url = f"postgresql://u:{SECRET}@h/d"
    engine = create_async_engine(url.replace("://", "+asyncpg://"))
    shown = repr([session_factory(url, schema="todo"), session_factory(engine)])
    assert SECRET not in shown
    assert "u:***@h/d" in shown
    assert "schema='todo'" in shown


def test_a_wrong_engine_option_is_named_and_no_frame_shows_the_password():
    factory = session_factory(f"postgresql://u:{SECRET}@h/d", pool_sise=3)
    with pytest.raises(TypeError, match="pool_sise") as caught:
        _ = factory.engine
    ours = [frame for frame in caught.traceback if "todo_schema" in str(frame.path)]
    assert SECRET not in str([frame.frame.f_locals for frame in ours])


def test_the_pool_has_the_documented_defaults():
    pool = session_factory("postgresql://u@h/d").engine.pool
    settings = (pool.size(), pool._max_overflow, pool.timeout(), pool._recycle, pool._pre_ping)
    assert settings == (10, 20, 10, 1800, True)


def test_every_engine_option_goes_before_the_default():
    engine = session_factory(
        "postgresql://u@h/d", pool_size=3, max_overflow=0, pool_timeout=1, pool_pre_ping=False, echo=True
    ).engine
    settings = (engine.pool.size(), engine.pool._max_overflow, engine.pool.timeout(), engine.pool._pre_ping)
    assert settings == (3, 0, 1, False)
    assert engine.echo is True


async def test_a_pool_of_another_class_gets_no_option_that_it_does_not_know(upgraded_database: str):
    async with session_factory(upgraded_database, poolclass=NullPool) as factory, factory() as session:
        assert await one(session, "1") == 1


async def test_connect_args_and_server_settings_are_merged_with_ours(upgraded_database: str):
    async with (
        session_factory(
            upgraded_database,
            service="tasks-api",
            connect_args={"command_timeout": 5, "server_settings": {"jit": "off"}},
        ) as factory,
        factory() as session,
    ):
        assert await one(session, "current_setting('jit')") == "off"
        assert await one(session, "current_setting('application_name')") == "tasks-api"


async def test_the_name_in_the_url_goes_before_the_argument(upgraded_database: str):
    url = upgraded_database + ("&" if "?" in upgraded_database else "?") + "application_name=from-url"
    async with session_factory(url, service="argument") as factory, factory() as session:
        assert await one(session, "current_setting('application_name')") == "from-url"


async def test_a_sqlalchemy_url_is_accepted(upgraded_database: str):
    url = DatabaseUrl.parse(upgraded_database).sqlalchemy_url("psycopg")
    arguments = DatabaseUrl.parse(upgraded_database).engine_arguments("asyncpg")
    async with session_factory(url, **arguments) as factory, factory() as session:
        assert await one(session, "current_database()") == database_name(upgraded_database)


async def test_attributes_can_be_read_after_commit_and_after_an_update(factory: SessionFactory):
    """No MissingGreenlet: RETURNING brings `updated_at` with the UPDATE itself."""
    async with factory() as session:
        user = User(email="ada@example.com")
        session.add(user)
        await session.commit()
        task = Task(user_id=user.id, title="read")
        session.add(task)
        await session.commit()
        before = task.updated_at
        task.completed = True
        await session.flush()
        assert isinstance(task.updated_at, datetime)
        await session.commit()
        assert task.updated_at > before
        assert task.id is not None


async def test_begin_commits_and_an_exception_rolls_back(factory: SessionFactory):
    async with factory.begin() as session:
        session.add(User(email="kept@example.com"))
    with pytest.raises(IntegrityError):
        async with factory.begin() as session:
            session.add(User(email="lost@example.com"))
            await session.flush()
            session.add(User(email="kept@example.com"))
    async with factory() as session:
        assert (await session.exec(select(User.email))).all() == ["kept@example.com"]


async def test_a_session_that_was_not_committed_leaves_nothing(factory: SessionFactory):
    async with factory() as session:
        session.add(User(email="lost@example.com"))
        await session.flush()
    async with factory() as session:
        assert (await session.exec(select(User))).all() == []


async def test_a_session_can_join_the_transaction_of_a_connection(factory: SessionFactory):
    """As tests do that undo everything afterwards."""
    async with factory.engine.connect() as connection, connection.begin() as transaction:
        async with factory(bind=connection, join_transaction_mode="create_savepoint") as session:
            session.add(User(email="undone@example.com"))
            await session.commit()
            assert (await session.exec(select(func.count()).select_from(User))).one() == 1
        await transaction.rollback()
    async with factory() as session:
        assert (await session.exec(select(User))).all() == []


async def test_get_session_gives_one_session_and_takes_it_back(factory: SessionFactory):
    """FastAPI enters a dependency that is an asynchronous generator in just this way."""
    with pytest.raises(LookupError):
        async with asynccontextmanager(factory.get_session)() as session:
            session.add(User(email="lost@example.com"))
            await session.flush()
            assert factory.engine.pool.checkedout() == 1
            raise LookupError
    assert factory.engine.pool.checkedout() == 0


async def test_get_session_is_a_dependency_of_fastapi(factory: SessionFactory):
    fastapi = pytest.importorskip("fastapi")
    httpx = pytest.importorskip("httpx")
    app = fastapi.FastAPI()

    @app.post("/users")
    async def add(email: str, session: Annotated[AsyncSession, fastapi.Depends(factory.get_session)]) -> str:
        session.add(User(email=email))
        await session.commit()
        return (await session.exec(select(User.email))).one()

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
        answer = await client.post("/users", params={"email": "ada@example.com"})
    assert (answer.status_code, answer.json()) == (200, "ada@example.com")
    assert factory.engine.pool.checkedout() == 0


async def test_a_schema_holds_its_own_rows_and_the_search_path_stays(upgraded_database: str):
    async with session_factory(upgraded_database, schema="Other one") as other:
        async with other.engine.begin() as connection:
            await connection.execute(text('CREATE SCHEMA "Other one"'))
            await connection.run_sync(TodoBase.metadata.create_all, tables=tables())
        async with other.begin() as session:
            session.add(User(email="other@example.com"))
        async with other() as session:
            assert await one(session, "current_setting('search_path')") == '"$user", public'
            user = (await session.exec(select(User))).one()
            user.email = "changed@example.com"
            await session.commit()
            assert user.updated_at > user.created_at
    async with session_factory(upgraded_database) as plain, plain() as session:
        assert (await session.exec(select(User))).all() == []


def test_the_schema_is_merged_with_the_execution_options_that_were_given():
    given = {"schema_translate_map": {"a": "b"}, "isolation_level": "SERIALIZABLE"}
    expected = {"schema_translate_map": {None: "todo", "a": "b"}, "isolation_level": "SERIALIZABLE"}
    url = "postgresql://u@h/d"
    made = session_factory(url, schema="todo", execution_options=given).engine
    assert dict(made.get_execution_options()) == expected
    own = create_async_engine("postgresql+asyncpg://u@h/d", execution_options=given)
    assert dict(session_factory(own, schema="todo").engine.get_execution_options()) == expected
    assert dict(own.get_execution_options()) == given


async def test_an_engine_that_was_given_is_used_as_it_is_and_not_disposed_of(upgraded_database: str):
    url = DatabaseUrl.parse(upgraded_database)
    engine = create_async_engine(url.sqlalchemy_url("asyncpg"), **url.engine_arguments("asyncpg"))
    async with session_factory(engine) as factory, factory() as session:
        assert factory.engine is engine
        assert await one(session, "1") == 1
    assert engine.pool.checkedin() == 1
    await engine.dispose()


def test_options_for_making_an_engine_are_refused_beside_an_engine():
    engine = create_async_engine("postgresql+asyncpg://u@h/d")
    told = r"together with service, pool_size\n.*\ncure: give service, pool_size to create_async_engine"
    with pytest.raises(TypeError, match=told):
        session_factory(engine, service="tasks-api", pool_size=3)


async def test_a_closed_factory_can_be_used_again(factory: SessionFactory):
    engine = factory.engine
    for _ in range(2):
        async with factory() as session:
            assert await one(session, "1") == 1
        assert factory.engine.pool.checkedin() == 1
        await factory.close()
        assert factory.engine.pool.checkedin() == 0
    assert factory.engine is engine


async def test_a_session_outlives_close_and_then_closes_its_connection(
    factory: SessionFactory, server: Server, upgraded_database: str
):
    async with factory() as session:
        session.add(User(email="ada@example.com"))
        await session.flush()
        await factory.close()
        await session.commit()
    assert backends(server, upgraded_database, 0) == 0
    async with factory() as session:
        assert (await session.exec(select(User.email))).one() == "ada@example.com"


async def test_forty_tasks_at_once_through_a_pooler_in_transaction_mode(
    pooler: Pooler, server: Server, upgraded_database: str
):
    """Five server connections serve all; none keeps a prepared statement, and no start-up setting is refused."""
    url = pooler.url(upgraded_database)
    async with session_factory(url, pooler=True, service="tasks-api", pool_size=40) as factory:

        async def work(number: int) -> int:
            async with factory.begin() as session:
                user = User(email=f"{number}@example.com")
                session.add(user)
                await session.flush()
                session.add(Task(user_id=user.id, title="carry"))
            async with factory() as session:
                return len((await session.exec(select(Task).where(Task.user_id == user.id))).all())

        assert await asyncio.gather(*[work(number) for number in range(40)]) == [1] * 40
        async with factory() as session:
            assert await one(session, "count(*) FROM pg_prepared_statements") == 0
    assert server.execute("SELECT count(*) FROM users", upgraded_database)[0][0] == 40


async def test_a_schema_works_through_a_pooler(pooler: Pooler, server: Server, upgraded_database: str):
    server.execute(
        "CREATE SCHEMA other; CREATE TABLE other.users (LIKE public.users INCLUDING ALL)", upgraded_database
    )
    async with (
        session_factory(pooler.url(upgraded_database), pooler=True, schema="other") as factory,
        factory.begin() as session,
    ):
        session.add(User(email="ada@example.com"))
    assert server.execute("SELECT email FROM other.users", upgraded_database) == [("ada@example.com",)]
