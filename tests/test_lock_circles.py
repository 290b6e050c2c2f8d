"""Services that write to several tables in a transaction, in whatever order, without a pause: no step deadlocks them.

A step that held one table and waited for another made a circle with them on every try: it starved, and as its tries
grew longer than the server's deadlock_timeout, the services were the victims.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import LiteralString

import psycopg
import pytest

from tests.support.servers import Server, execute
from todo_schema import contract, downgrade, upgrade

WRITERS = 2
ROWS = """
INSERT INTO users (email) SELECT 'u' || n FROM generate_series(1, 2) AS n;
INSERT INTO conversations (id, user_id) SELECT id, id FROM users;
INSERT INTO tasks (user_id, title) SELECT id, 'x' FROM users
"""
MESSAGE = (
    "INSERT INTO messages (id, user_id, conversation_id, role, content)"
    " VALUES (gen_random_uuid(), {0}, {0}, 'user', 'x')"
)
BUMP = "UPDATE conversations SET updated_at = clock_timestamp() WHERE id = {0}"
MINE = "(SELECT id FROM users WHERE email = 'u' || %(number)s)"

# The statements of one transaction.
ORDERS: dict[str, list[LiteralString]] = {
    "a message, then its conversation": [MESSAGE.format(MINE), BUMP.format(MINE)],
    "a conversation, then its message": [BUMP.format(MINE), MESSAGE.format(MINE)],
    "a task, then a conversation": [
        f"UPDATE tasks SET title = 'y' WHERE user_id = {MINE}",
        BUMP.format(MINE),
    ],
    "all that a new user has": [
        "INSERT INTO users (id, email) VALUES (%(new)s, %(new)s::text)",
        "INSERT INTO conversations (id, user_id) VALUES (%(new)s, %(new)s)",
        MESSAGE.format("%(new)s"),
    ],
}


@pytest.fixture(scope="module")
def of_schema_1(server: Server) -> str:
    """A database of 0.1 with rows, to be copied."""
    url = server.create_database()
    upgrade(url)
    downgrade(url, to=1)
    execute(url, ROWS)
    return url


@pytest.fixture
def url(server: Server, of_schema_1: str) -> Iterator[str]:
    made = server.create_database(template=of_schema_1)
    yield made
    server.drop_database(made)


def write(url: str, number: int, statements: list[LiteralString], stop: Event) -> int:
    """Write without a pause until told to stop; return how many transactions there were."""
    done = 0
    with psycopg.connect(url, autocommit=True) as connection:
        while not stop.is_set():
            ((new,),) = connection.execute("SELECT gen_random_uuid()").fetchall()
            with connection.transaction():
                for statement in statements:
                    connection.execute(statement, {"number": number + 1, "new": new})
            done += 1
    return done


@pytest.mark.parametrize("order", ORDERS)
def test_neither_the_way_up_nor_down_starves_or_deadlocks_who_writes_in_this_order(url: str, order: str):
    stop = Event()
    with ThreadPoolExecutor(WRITERS) as threads:
        writers = [threads.submit(write, url, number, ORDERS[order], stop) for number in range(WRITERS)]
        try:
            report = upgrade(url, timeout=60)
            contract(url)
            downgrade(url, to="c000")
            back = downgrade(url, to=1, timeout=60)
        finally:
            stop.set()
    assert all(writer.result() > 1 for writer in writers)
    assert report.deferred == ()
    assert back.version_after == 1
