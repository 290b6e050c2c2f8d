"""What the tables need beside themselves is made with them, where a service's tests make the tables."""

import pytest
from sqlalchemy import NullPool, create_mock_engine
from sqlalchemy.ext.asyncio import create_async_engine
from sqlmodel import Session, SQLModel

from tests.support.online import facts
from tests.support.ordinary_use import engine_of, use_each_table
from tests.support.processes import run_python
from tests.support.servers import database_name, execute
from todo_schema import User, check, upgrade
from todo_schema.compatibility import BOOKKEEPING_TABLES, ENTITY_TABLES

OURS = [SQLModel.metadata.tables[name] for name in sorted(ENTITY_TABLES | BOOKKEEPING_TABLES)]

FUNCTIONS = """SELECT DISTINCT quote_ident(nspname) FROM pg_proc JOIN pg_namespace n ON n.oid = pronamespace
    WHERE proname LIKE 'todo\\_schema\\_%'"""


def create_all(url: str) -> None:
    SQLModel.metadata.create_all(engine_of(url), tables=OURS)


def drop_all(url: str) -> None:
    SQLModel.metadata.drop_all(engine_of(url), tables=OURS)


def test_create_all_makes_tables_that_work_and_does_nothing_where_they_are(
    database: str, finished_database: str
):
    for _ in range(2):
        create_all(database)
        assert facts(database) == facts(finished_database)
        use_each_table(database)


async def test_create_all_does_so_by_asyncpg(database: str, finished_database: str):
    engine = create_async_engine(
        database.replace("postgresql://", "postgresql+asyncpg://"), poolclass=NullPool
    )
    for _ in range(2):
        async with engine.begin() as connection:
            await connection.run_sync(SQLModel.metadata.create_all, tables=OURS)
    assert facts(database) == facts(finished_database)
    use_each_table(database)


def test_after_drop_all_they_can_be_made_anew(database: str, finished_database: str):
    for _ in range(2):
        create_all(database)
        drop_all(database)
        assert execute(database, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'") == []
    create_all(database)
    assert facts(database) == facts(finished_database)
    use_each_table(database)


def test_one_table_that_was_dropped_is_made_anew_with_all_that_is_its(database: str, finished_database: str):
    create_all(database)
    execute(database, "DROP TABLE tasks; DROP TABLE messages")
    create_all(database)
    assert facts(database) == facts(finished_database)
    use_each_table(database)


def test_after_drop_all_the_revisions_can_make_them(database: str):
    create_all(database)
    drop_all(database)
    upgrade(database)
    assert check(database, deep=True) == "current"
    use_each_table(database)


def test_create_all_makes_them_in_the_schema_that_a_translate_map_says(database: str, finished_database: str):
    execute(database, 'CREATE SCHEMA "My todo"')
    engine = engine_of(database).execution_options(schema_translate_map={None: "My todo"})
    for _ in range(2):
        SQLModel.metadata.create_all(engine, tables=OURS)
        assert facts(database, "My todo") == facts(finished_database)
        with Session(engine) as session:
            session.add(User(email="ann@example.com"))
            session.commit()
        SQLModel.metadata.drop_all(engine, tables=OURS)
    assert execute(database, "SELECT FROM pg_tables WHERE schemaname IN ('public', 'My todo')") == []


# Each statement alone, as one transaction, and where a name without its schema is nobody's.
@pytest.mark.parametrize("isolation", ["AUTOCOMMIT", "READ COMMITTED"])
@pytest.mark.parametrize("path", ["''", "public"])
@pytest.mark.parametrize("home", ["todo", 'My "100%" todo.'])
def test_a_translate_map_says_it_whatever_the_search_path_and_the_isolation(
    database: str, finished_database: str, isolation: str, path: str, home: str
):
    quoted = home if home.isidentifier() else '"' + home.replace('"', '""') + '"'
    execute(database, f"ALTER DATABASE {database_name(database)} SET search_path = {path}")
    execute(database, f"CREATE SCHEMA {quoted}")
    engine = engine_of(database).execution_options(
        schema_translate_map={None: home}, isolation_level=isolation
    )
    for _ in range(2):
        SQLModel.metadata.create_all(engine, tables=OURS)
    assert facts(database, home) == facts(finished_database)
    assert execute(database, FUNCTIONS) == [(quoted,)]
    # Nobody's path is changed: not within the transaction, and not behind it.
    with engine.connect() as connection:
        before = connection.exec_driver_sql("SHOW search_path").scalar_one()
        SQLModel.metadata.drop_all(connection, tables=OURS)
        SQLModel.metadata.create_all(connection, tables=OURS)
        assert connection.exec_driver_sql("SHOW search_path").scalar_one() == before


def test_what_only_prints_the_statements_prints_them_without_a_schema():
    printed: list[str] = []
    engine = create_mock_engine(
        "postgresql://", lambda made, *_, **__: printed.append(str(made.compile(dialect=engine.dialect)))
    )
    SQLModel.metadata.create_all(engine, tables=OURS, checkfirst=False)
    ours = [statement for statement in printed if "todo_schema_" in statement or "st_messages" in statement]
    assert any(statement.startswith("CREATE OR REPLACE FUNCTION todo_schema_uuid7()") for statement in ours)
    assert any("EXECUTE FUNCTION todo_schema_touch()" in statement for statement in ours)
    assert any("CREATE STATISTICS st_messages_conversation_user" in statement for statement in ours)
    assert any("DEFAULT todo_schema_uuid7()" in statement for statement in ours)
    assert not any("search_path" in statement for statement in printed)


def test_create_all_makes_them_in_the_schema_of_the_search_path(database: str, finished_database: str):
    execute(
        database,
        f"CREATE SCHEMA service; ALTER DATABASE {database_name(database)} SET search_path = service, public",
    )
    # Another service's, in the next schema.
    execute(
        database,
        "CREATE FUNCTION public.todo_schema_uuid7() RETURNS uuid LANGUAGE sql AS 'SELECT NULL::uuid'",
    )
    create_all(database)
    assert facts(database, "service") == facts(finished_database)
    assert execute(database, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'") == []
    use_each_table(database)
    # Whoever comes by another path finds what belongs to the tables all the same.
    rows = execute(
        database,
        "SET search_path = public; INSERT INTO service.users (email) VALUES ('x');"
        " UPDATE service.users SET email = 'y' RETURNING id, updated_at > created_at",
    )
    assert [(key.version, moved) for key, moved in rows] == [(7, True)]


def test_a_service_makes_ours_with_its_own(database: str):
    done = run_python(
        """
import sys, uuid
import todo_schema
from todo_schema import User
from sqlmodel import Field, Session, SQLModel, create_engine

class Note(SQLModel, table=True):
    id: int | None = Field(default=None, primary_key=True)
    user_id: uuid.UUID = Field(foreign_key="users.id")

engine = create_engine(sys.argv[1].replace("postgresql://", "postgresql+psycopg://"))
for _ in range(2):
    SQLModel.metadata.create_all(engine)
    with Session(engine) as session:
        user = User(email="ann@example.com")
        session.add(user)
        session.flush()
        session.add(Note(user_id=user.id))
        session.commit()
    SQLModel.metadata.drop_all(engine)
print("worked")
""",
        database,
    )
    assert done.stdout == "worked\n", done.stderr
