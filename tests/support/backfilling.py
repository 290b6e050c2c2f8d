"""Backfills of tasks that count how often each row was done, and what they leave."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from tests.support.servers import Server, execute
from tests.support.states import rows as history
from todo_schema import upgrade


@contextmanager
def filled(server: Server, tasks: int, template: str | None = None) -> Iterator[str]:
    """A database at the head, with so many tasks that count in `n` how often they were done."""
    url = server.create_database(template=template)
    try:
        upgrade(url)
        execute(
            url,
            f"""ALTER TABLE tasks ADD n int NOT NULL DEFAULT 0;
            INSERT INTO users (email) VALUES ('ada@example.com');
            INSERT INTO tasks (user_id, title) SELECT id, 'x' FROM users, generate_series(1, {tasks})""",
        )
        yield url
    finally:
        server.drop_database(url)


def counting(value: str = "1", table: str = "tasks", batch: int = 20, key: str = "id") -> str:
    """A body that adds to `n` of every row: whatever is done twice shows."""
    return f"operations.backfill(op, {table!r}, {{'n': {f'n + {value}'!r}}}, where='true', key={key!r}, batch={batch})"


def counted(url: str, table: str = "tasks") -> dict[int, int]:
    """How many rows were done how often."""
    return dict(execute(url, f"SELECT n, count(*) FROM {table} GROUP BY n"))


def commits(url: str, table: str = "tasks") -> int:
    """How many transactions wrote the rows that are there now."""
    return int(execute(url, f"SELECT count(DISTINCT xmin::text) FROM {table}")[0][0])


def parts(url: str) -> list[str]:
    """What the history says of the parts of the last revision."""
    return [action for (action,) in history(url, "action") if action.startswith("part ")]


def told(path: Path, event: str) -> list[dict[str, Any]]:
    """What the progress callback was told of one kind of event."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [facts for facts in map(json.loads, lines) if facts["event"] == event]


@contextmanager
def locked(url: str, statement: str) -> Iterator[psycopg.Connection]:
    """A service's session, in a transaction in which it has executed a statement."""
    with psycopg.connect(url, application_name="billing-api") as connection:
        connection.execute(statement.encode())
        yield connection
