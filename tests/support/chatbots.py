"""Databases of the todo chatbot of before: tests/downstream/chatbot, made by its own Alembic chain."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.old_services import OURS
from tests.support.processes import CHECKOUT, clean_environment
from tests.support.servers import Server, database_name, execute

CHATBOT = CHECKOUT / "tests" / "downstream" / "chatbot"
TABLES = ("conversations", "messages", "tasks", "users")

# What the chatbot does not change of the rows that were there, each time as seconds: `timestamp` has no zone to show.
_EPOCH = "extract(epoch FROM created_at)"
_THERE = {
    "users": f"SELECT id, email, {_EPOCH}, extract(epoch FROM updated_at) FROM users WHERE email !~ '{OURS}'",
    "conversations": f"SELECT id, user_id, {_EPOCH} FROM conversations WHERE user_id IN"
    f" (SELECT id FROM users WHERE email !~ '{OURS}')",
    "messages": f"SELECT id, conversation_id, user_id, role, content, {_EPOCH} FROM messages"
    f" WHERE content !~ '{OURS}'",
    "tasks": f"SELECT id, user_id, title, description, completed, {_EPOCH}, extract(epoch FROM updated_at)"
    f" FROM tasks WHERE title !~ '{OURS}'",
}


def made_by_its_chain(url: str) -> None:
    """Make the tables in an empty database as its authors do: `alembic upgrade head`."""
    done = subprocess.run(
        [Path(sys.executable).with_name("alembic"), "upgrade", "head"],
        cwd=CHATBOT,
        env=clean_environment({"DATABASE_URL": url, "PYTHONDONTWRITEBYTECODE": "1"}),
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stderr


def in_utc(url: str) -> str:
    """Let the sessions of a database be in UTC, as those of the chatbot's host are; a copy does not inherit it."""
    execute(url, f"ALTER DATABASE {database_name(url)} SET TimeZone = 'UTC'")
    return url


@contextmanager
def copied(server: Server, template: str) -> Iterator[str]:
    """Give the url of a copy of a chatbot's database."""
    url = in_utc(server.create_database(template=template))
    yield url
    server.drop_database(url)


def rows_there(url: str) -> dict[str, tuple[Any, ...]]:
    """Of each table the rows that were there: how many, and a number that depends on all of them, times included."""
    query = "SELECT count(*), sum(hashtextextended(rows::text, 0)) FROM ({}) AS rows"
    return {table: execute(url, query.format(there))[0] for table, there in _THERE.items()}


def files(url: str) -> dict[str, int]:
    """The file of each table: it has another where it was written anew."""
    return {table: execute(url, f"SELECT pg_relation_filenode('{table}')")[0][0] for table in TABLES}
