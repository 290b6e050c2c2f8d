"""The PostgreSQL servers that the tests run against, as urls and plain SQL."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, LiteralString, cast
from urllib.parse import quote, urlencode
from uuid import uuid4

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from todo_schema.embedded import postgres

# What makes commits slow and crashes safe; a test database needs neither. It is also small, and whoever drops a table
# or a database looks through all the buffers.
FAST_SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "16MB",
}


_MEMORY = Path("/dev/shm")
_ROOM = 2 << 30  # bytes; several servers at once need less


@contextmanager
def data_folder() -> Iterator[Path]:
    """A temporary folder for what a server writes, in memory where there is room.

    A database is hundreds of small files: to make and delete them costs a disk's file system ten times as much.
    """
    in_memory = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _ROOM
    with tempfile.TemporaryDirectory(
        prefix="server-", dir=_MEMORY if in_memory else None, ignore_cleanup_errors=True
    ) as folder:
        yield Path(folder)


def database_name(database: str) -> str:
    """The name of a database that is given by its name or by a url of it."""
    return str(conninfo_to_dict(database)["dbname"]) if "://" in database else database


def execute(url: str, statement: str, parameters: tuple[object, ...] | None = None) -> list[tuple[Any, ...]]:
    """Run `statement` on a connection of its own, in autocommit, and return its rows.

    Several statements separated by `;` are possible without parameters; the rows are the last one's.
    """
    # Of a SQL_ASCII database psycopg would give the text as bytes.
    with psycopg.connect(url, autocommit=True, connect_timeout=10, client_encoding="utf8") as connection:
        cursor = connection.execute(cast("LiteralString", statement), parameters)
        while cursor.nextset():
            pass
        return [] if cursor.description is None else cursor.fetchall()


class Server:
    """A running PostgreSQL, reached as a superuser through the url that it was made from."""

    def __init__(self, url: str, *, keep: bool = False) -> None:
        """Take the url of a superuser; nothing is opened.

        With `keep` the connection that makes databases stays open until `close`: another one for each of a thousand
        databases takes as long as half the making. It is for a server that is not restarted or starved of connections.
        """
        parts = conninfo_to_dict(url)
        self.host = str(parts.pop("host", "localhost"))
        self.port = int(str(parts.pop("port", 5432)))
        self.user = str(parts.pop("user", "postgres"))
        self.password = str(parts.pop("password", ""))
        parts.pop("dbname", None)
        self._query = {name: str(value) for name, value in parts.items()}
        self._made: list[str] = []
        self._keep = keep
        self._kept: psycopg.Connection | None = None

    @property
    def version(self) -> int:
        """The version as one number: 180006 is 18.6."""
        return int(self.execute("SHOW server_version_num")[0][0])

    def url(self, database: str = "postgres", user: str | None = None, password: str | None = None) -> str:
        """The url of `database` (a name, or a url whose name counts), for the superuser or `user`."""
        query = dict(self._query)
        address = ""
        if self.host.startswith("/"):
            query |= {"host": self.host, "port": str(self.port)}
        else:
            host = f"[{self.host}]" if ":" in self.host else self.host
            address = f"{host}:{self.port}"
        if password is None and user in (None, self.user):
            password = self.password
        login = quote(user or self.user, safe="") + (f":{quote(password, safe='')}" if password else "")
        text = f"postgresql://{login}@{address}/{quote(database_name(database), safe='')}"
        return f"{text}?{urlencode(query, safe='/')}" if query else text

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run `statement` as the superuser in `database` (a name or a url), in autocommit, for its rows."""
        return execute(self.url(database), statement)

    def create_database(
        self, name: str | None = None, *, encoding: str = "UTF8", template: str | None = None
    ) -> str:
        """Create a database and return its url; the name is a new one where none is given.

        `template` (a name or a url) is copied as it is, with its encoding; nobody may be connected to it.
        """
        name = name or f"test_{uuid4().hex[:12]}"
        if template is None:
            # Every encoding accepts locale C, and only template0 may be copied into another encoding.
            source: sql.Composable = sql.SQL("template0 ENCODING {} LOCALE 'C'").format(encoding)
        else:
            source = sql.Identifier(database_name(template))
        # Without the strategy every page is logged: twice the work.
        create = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy")
        self._administer(create.format(sql.Identifier(name), source))
        self._made.append(name)
        return self.url(name)

    def drop_database(self, database: str) -> None:
        """Drop a database (a name or a url) if it exists, ending its sessions."""
        name = database_name(database)
        self._administer(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        if name in self._made:
            self._made.remove(name)

    def drop_databases(self) -> None:
        """Drop every database that was made by create_database and not dropped since."""
        for name in tuple(self._made):
            self.drop_database(name)

    def terminate(self, pid: int) -> None:
        """End a backend, and wait until it has gone; the timeout of pg_terminate_backend looks every 100 ms."""
        self.execute(
            f"""DO $$ BEGIN
                PERFORM pg_terminate_backend({pid});
                WHILE EXISTS (SELECT FROM pg_stat_activity WHERE pid = {pid}) LOOP
                    PERFORM pg_sleep(0.001), pg_stat_clear_snapshot();
                END LOOP;
            END $$"""
        )

    def close(self) -> None:
        """Close the connection that was kept, if there is one."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def _administer(self, statement: sql.Composed) -> None:
        if not self._keep:
            self.execute(statement.as_string())
            return
        if self._kept is None:
            self._kept = psycopg.connect(self.url(), autocommit=True, connect_timeout=10)
        self._kept.execute(statement)


@contextmanager
def embedded_server() -> Iterator[Server]:
    """A server from the wheel in a temporary folder, made fast in ways that only a test may want."""
    with data_folder() as folder:
        with postgres(folder / "data") as url:
            for name, value in FAST_SETTINGS.items():
                execute(url, f"ALTER SYSTEM SET {name} = '{value}'")
        with postgres(folder / "data") as url, closing(Server(url, keep=True)) as server:
            yield server


@contextmanager
def given_server(url: str) -> Iterator[Server]:
    """The server that somebody else runs at `url`: it keeps its settings and gets its databases dropped."""
    with closing(Server(url, keep=True)) as server:
        try:
            yield server
        finally:
            server.drop_databases()
