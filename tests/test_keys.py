"""Keys of version 7: by each server, also one that has no uuidv7(), and by Python."""

import subprocess
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Any, NamedTuple

import psycopg
import pytest
from sqlalchemy import Connection, event, func, insert, literal_column, text
from sqlmodel import Session, select

from tests.release import portable
from tests.support.clusters import Cluster
from tests.support.online import facts
from tests.support.ordinary_use import engine_of, use_each_table
from tests.support.processes import run_python
from tests.support.servers import Server, execute
from todo_schema import Conversation, User, check, embedded, session_factory, upgrade


class Maker(NamedTuple):
    """A database at the head, and the function in it that makes a key."""

    url: str
    function: str


@pytest.fixture(scope="module", params=["server", "debian", "server, as on an older one"])
def maker(request: pytest.FixtureRequest) -> Iterator[Maker]:
    """What each server does, and the newer one where it does what the older ones do."""
    server: Server = request.getfixturevalue(request.param.split(",")[0])
    url = server.create_database()
    upgrade(url)
    function = "todo_schema_uuid7()"
    if request.param.endswith("older one"):
        ((text,),) = execute(url, f"SELECT pg_get_functiondef('{function}'::regprocedure)")
        assert text.count("180000") == text.count("todo_schema_uuid7") == 1
        execute(url, text.replace("180000", "999999").replace("todo_schema_uuid7", "as_on_an_older_one"))
        function = "as_on_an_older_one()"
    yield Maker(url, function)
    server.drop_database(url)


def time_of(key: uuid.UUID) -> datetime:
    """The moment in a key: 48 bits of milliseconds, and 12 bits of their fraction."""
    milliseconds, fraction = key.int >> 80, (key.int >> 64) & 0xFFF
    since = timedelta(milliseconds=milliseconds) + timedelta(microseconds=fraction * 1000 / 4096)
    return datetime(1970, 1, 1, tzinfo=UTC) + since


def test_a_key_of_the_server_has_version_variant_and_the_time_to_the_microsecond(maker: Maker):
    with psycopg.connect(maker.url) as connection:
        # One transaction, begun before: it is the clock's time, not the transaction's.
        connection.execute("SELECT pg_sleep(0.01)")
        for _ in range(200):
            query = f"SELECT clock_timestamp(), {maker.function}, clock_timestamp()"
            ((before, key, after),) = connection.execute(query.encode()).fetchall()
            assert (key.version, key.variant) == (7, uuid.RFC_4122)
            # Of a 4096th of a millisecond the rest is lost.
            assert before - timedelta(microseconds=1) <= time_of(key) <= after + timedelta(microseconds=1)


def test_keys_of_the_server_are_in_order_and_unique(maker: Maker):
    made = f"SELECT number, {maker.function} AS key FROM generate_series(1, 100000) AS number OFFSET 0"
    ((total, unique, out_of_order),) = execute(
        maker.url,
        f"""SELECT count(*), count(DISTINCT key), count(*) FILTER (WHERE key <= before)
            FROM (SELECT key, lag(key) OVER (ORDER BY number) AS before FROM ({made}) AS made) AS compared""",
    )
    assert (total, unique, out_of_order) == (100_000, 100_000, 0)


def test_the_database_makes_the_key_that_a_writer_leaves_out(maker: Maker):
    ((user,),) = execute(maker.url, "INSERT INTO users (email) VALUES ('left-out@example.com') RETURNING id")
    ((talk,),) = execute(maker.url, "INSERT INTO conversations (user_id) VALUES (%s) RETURNING id", (user,))
    insert = "INSERT INTO messages (user_id, conversation_id, role, content) VALUES (%s, %s, 'user', '') RETURNING id"
    ((message,),) = execute(maker.url, insert, (user, talk))
    assert [key.version for key in (user, talk, message)] == [7, 7, 7]
    assert user < talk < message


def test_keys_of_before_stay_valid_beside_the_new_ones(maker: Maker):
    execute(maker.url, "INSERT INTO users (email) VALUES ('new@example.com')")
    use_each_table(maker.url, uuid.UUID("8f14e45f-ceea-467f-a8f5-6d2b1c0e9a00"))


def test_what_the_newer_server_dumps_makes_keys_on_the_older_one(upgraded_database: str, debian: Cluster):
    execute(upgraded_database, "INSERT INTO users (email) VALUES ('a@b')")
    execute(upgraded_database, "INSERT INTO users (id, email) VALUES (%s, 'c@d')", (uuid.uuid4(),))
    command = [embedded.binaries() / "pg_dump", "--column-inserts", f"--dbname={upgraded_database}"]
    dumped = subprocess.run(command, check=True, capture_output=True, timeout=60).stdout.decode()
    url = debian.create_database()
    execute(url, portable(dumped))
    assert facts(url) == facts(upgraded_database)
    assert check(url, deep=True) == "current"
    ((key,),) = execute(url, "INSERT INTO users (email) VALUES ('e@f') RETURNING id")
    assert key.version == 7
    kept = "SELECT id, email FROM users WHERE email <> 'e@f' ORDER BY email"
    assert execute(url, kept) == execute(upgraded_database, kept)
    execute(url, "DELETE FROM users")
    use_each_table(url)


def test_keys_of_python_are_uuids_in_the_order_in_which_they_are_made():
    keys = [User(email="x").id for _ in range(5_000)]
    assert {type(key) for key in keys} == {uuid.UUID}
    assert {(key.version, key.variant) for key in keys} == {(7, uuid.RFC_4122)}
    assert keys == sorted(set(keys))


def test_keys_of_python_are_in_order_and_unique_across_threads():
    lock, handed, apart = Lock(), list[uuid.UUID](), list[list[uuid.UUID]]()

    def work() -> None:
        own = [Conversation(user_id=uuid.UUID(int=1)).id for _ in range(1_000)]
        for _ in range(1_000):
            with lock:
                handed.append(Conversation(user_id=uuid.UUID(int=1)).id)
        apart.append(own)

    with ThreadPoolExecutor(4) as threads:
        for future in [threads.submit(work) for _ in range(4)]:
            future.result()
    assert handed == sorted(set(handed))
    assert all(own == sorted(own) for own in apart)
    assert len({*handed, *(key for own in apart for key in own)}) == 8_000


def test_keys_of_forked_processes_are_not_the_same():
    done = run_python(
        """
import multiprocessing
from todo_schema import User

def keys(_):
    return [User(email="x").id for _ in range(1000)]

keys(None)
with multiprocessing.get_context("fork").Pool(4) as pool:
    made = [key for some in pool.imap(keys, range(8)) for key in some]
print(len(made), len(set(made)))
"""
    )
    assert done.stdout == "8000 8000\n", done.stderr


# More than SQLAlchemy sends at a time.
ROWS = [{"email": f"{number:04}@example.com"} for number in range(1500)]
BOTH = (User.email, User.id)
SELECTED = func.lpad(literal_column("n::text"), 4, "0").concat("@example.com")
# Each with its parameters, where they are not in it.
BULK_INSERTS: dict[str, tuple[Any, Any]] = {
    "values": (insert(User).values(ROWS), None),
    "values, returned": (insert(User).values(ROWS).returning(*BOTH), None),
    "parameters": (insert(User), ROWS),
    "parameters, returned": (insert(User).returning(*BOTH), ROWS),
    "parameters, returned in order": (insert(User).returning(*BOTH, sort_by_parameter_order=True), ROWS),
    "the table's, returned in order": (
        insert(User.__table__).returning(*User.__table__.c["email", "id"], sort_by_parameter_order=True),
        ROWS,
    ),
    "the database's, returned in order": (
        insert(User).values(id=func.todo_schema_uuid7()).returning(*BOTH, sort_by_parameter_order=True),
        ROWS,
    ),
    "the database's default, returned": (
        insert(User).values([{**row, "id": text("DEFAULT")} for row in ROWS]).returning(*BOTH),
        None,
    ),
    # Python's default would be one key for all of them.
    "a query's, returned": (
        insert(User)
        .from_select(
            ["email"],
            select(SELECTED).select_from(text("generate_series(0, 1499) AS n")),
            include_defaults=False,
        )
        .returning(*BOTH),
        None,
    ),
}


def insert_in_bulk(session: Session, name: str) -> tuple[list[str], list[Any]]:
    """The statements that were sent, and what came back."""
    sent: list[str] = []

    def note(connection: Connection, cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    event.listen(session.get_bind(), "before_cursor_execute", note)
    statement, rows = BULK_INSERTS[name]
    result = session.exec(statement) if rows is None else session.execute(statement, rows)
    returned = [tuple(row) for row in result] if "returned" in name else []
    session.commit()
    return sent, returned


# SQLModel advises against `execute`, which takes the rows all the same.
@pytest.mark.filterwarnings("ignore:.*session.exec:DeprecationWarning")
@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
@pytest.mark.parametrize("name", BULK_INSERTS)
async def test_rows_without_keys_that_are_inserted_in_bulk_get_them_in_order_and_in_few_statements(
    upgraded_database: str, name: str, driver: str
):
    if driver == "asyncpg":
        async with session_factory(upgraded_database) as factory, factory() as session:
            sent, returned = await session.run_sync(insert_in_bulk, name)
    else:
        with Session(engine_of(upgraded_database)) as session:
            sent, returned = insert_in_bulk(session, name)
    # Two parts where there are parameters.
    assert len(sent) <= 2
    stored = execute(upgraded_database, "SELECT email, id FROM users ORDER BY email")
    assert [email for email, _ in stored] == [row["email"] for row in ROWS]
    keys = [key for _, key in stored]
    assert {key.version for key in keys} == {7}
    assert keys == sorted(set(keys))
    if "returned" in name:
        assert (returned if "in order" in name else sorted(returned)) == stored
