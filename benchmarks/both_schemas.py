"""The same rows in two databases of one server: at schema 1, which 0.1 made, and at the head."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.support.servers import Server, execute

from benchmarks.dataset import Filled, fill
from todo_schema import downgrade, embedded, upgrade

# Nobody else works meanwhile, and each statement is counted. The rest is PostgreSQL's own.
_SETTINGS = {
    "autovacuum": "off",
    "shared_preload_libraries": "pg_stat_statements",
    "pg_stat_statements.track_utility": "on",
    # What a transaction writes then does not depend on how long ago the last checkpoint was.
    "full_page_writes": "off",
    # Nor how long it takes on the disk.
    "synchronous_commit": "off",
    "checkpoint_timeout": "1h",
    "max_wal_size": "8GB",
}


class Both(NamedTuple):
    """The two, as urls; `filled` names rows that both have."""

    server: Server
    old: str
    new: str
    filled: Filled


@contextmanager
def both_schemas(scale: float) -> Iterator[Both]:
    """Run a server that has both: vacuumed, analysed, and their indexes as good as new."""
    with tempfile.TemporaryDirectory(prefix="both-schemas-", ignore_cleanup_errors=True) as folder:
        data = Path(folder, "data")
        with embedded.postgres(data) as url:
            for name, value in _SETTINGS.items():
                execute(url, f"ALTER SYSTEM SET {name} = '{value}'")
        with embedded.postgres(data) as url:
            server = Server(url)
            # Where `operating` asks; it counts in every database.
            server.execute("CREATE EXTENSION pg_stat_statements")
            old = server.create_database()
            upgrade(old)
            downgrade(old, to=1)
            filled = fill(old, scale)
            new = server.create_database(template=old)
            upgrade(new)
            for made in (old, new):
                freshen(made)
            yield Both(server, old, new, filled)


def freshen(url: str) -> None:
    """Leave a database as if its rows had just been loaded."""
    execute(
        url, "REINDEX TABLE users; REINDEX TABLE conversations; REINDEX TABLE messages; REINDEX TABLE tasks"
    )
    execute(url, "VACUUM (ANALYZE)")
    execute(url, "CHECKPOINT")


def rows_of(filled: Filled) -> str:
    """Say how much there is."""
    return (
        f"{filled.users:,} users, {filled.tasks:,} tasks, {filled.conversations:,} conversations, "
        f"{filled.messages:,} messages"
    )
