"""Databases for one test each, copied from a template, on a server of our own or on one that is there."""

import asyncio
import inspect
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import count
from uuid import uuid4

import psycopg
from sqlalchemy import URL

from todo_schema import InsufficientPrivilegeError, TodoSchemaError, check, upgrade
from todo_schema.fast_server import fast_server
from todo_schema.quoting import identifier
from todo_schema.urls import DatabaseUrl

VARIABLE = "TODO_SCHEMA_TEST_URL"

_RUN = "todo_schema_test_"
_DIGITS = 12
# The databases of runs that have ended: a run's number is in their names, and in that of its connection.
ABANDONED = rf"""
    SELECT datname FROM pg_database AS found
    WHERE datname ~ '^{_RUN}[0-9a-f]{{{_DIGITS}}}_' AND pg_has_role(datdba, 'USAGE') AND NOT EXISTS (
        SELECT FROM pg_stat_activity AS used
        WHERE used.datname = found.datname OR application_name = left(found.datname, {len(_RUN) + _DIGITS}))
"""


@contextmanager
def databases() -> Iterator["Databases"]:
    """Give what makes databases, on the server that TODO_SCHEMA_TEST_URL names, else on one of our own.

    Raises:
        MissingExtraError: The extra `testing` is not installed, and TODO_SCHEMA_TEST_URL not set.
        InvalidUrlError: TODO_SCHEMA_TEST_URL is no URL of a PostgreSQL.
        DatabaseUnreachableError: Its server does not answer.
        DatabaseRefusedError: It refuses the role.

    """
    run = f"{_RUN}{uuid4().hex[:_DIGITS]}"
    if os.environ.get(VARIABLE):
        # Not by a variable: a traceback may show those, and there may be a password in it.
        with _administering(DatabaseUrl.parse(os.environ[VARIABLE]), run) as (server, connection):
            # What killed runs left. Nobody else would remove it.
            for (name,) in connection.execute(ABANDONED).fetchall():
                with suppress(psycopg.Error):  # another run does the same
                    connection.execute(f"DROP DATABASE {identifier(name)}".encode())
            # How to copy is left to the server: before 15 it knows no strategy, and the fast one costs others two
            # checkpoints.
            yield Databases(server, connection, run)
    else:
        with (
            fast_server(f"set {VARIABLE} to the URL of a role that may create databases") as url,
            _administering(DatabaseUrl.parse(url), run) as (server, connection),
        ):
            # Without the strategy every page is logged.
            yield Databases(server, connection, run, "STRATEGY file_copy")


class Databases:
    """Makes databases on a server, and drops them. Their names begin with `todo_schema_test_`."""

    def __init__(
        self, server: DatabaseUrl, connection: psycopg.Connection, run: str, strategy: str = ""
    ) -> None:
        self._server = server
        self._connection = connection
        self._run = run
        self._strategy = strategy
        self._numbers = count(1)

    @contextmanager
    def template(self, prepare: Callable[[str], Awaitable[None] | None]) -> Iterator[str]:
        """Make a database at the head, call `prepare` with its URL, and give its name, for `database` to copy."""
        name = f"{self._run}_template"
        with self._made(name, ""):
            upgrade(_text(self._server, name))
            prepared = prepare(_text(self._server, name))
            if inspect.isawaitable(prepared):
                # A loop of its own: pytest's plugins look after those that are set.
                with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
                    runner.run(_awaited(prepared))
            # A connection that was forgotten would keep everybody from copying.
            self._execute(f"ALTER DATABASE {identifier(name)} ALLOW_CONNECTIONS false")
            self._execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
            yield name

    @contextmanager
    def database(self, template: str) -> Iterator[str]:
        """Make a copy of a template, and give its URL."""
        name = f"{self._run}_{next(self._numbers)}"
        with self._made(name, f"TEMPLATE {identifier(template)} {self._strategy}"):
            yield _text(self._server, name)

    def terminate(self, pid: int) -> None:
        """End a backend, as the operating system's `kill` ends a process."""
        self._execute(f"SELECT pg_terminate_backend({pid})")

    @contextmanager
    def _made(self, name: str, how: str) -> Iterator[None]:
        try:
            self._execute(f"CREATE DATABASE {identifier(name)} {how}")
        except psycopg.errors.InsufficientPrivilege as error:
            raise InsufficientPrivilegeError(
                f"{self._server} may not create databases: {error.diag.message_primary}",
                "a role that may, for a database of each test's own",
                f"ALTER ROLE {identifier(self._server.username)} CREATEDB; or name another role in {VARIABLE}, "
                "or unset it: the tests then bring a server",
            ) from None
        try:
            yield
        finally:
            self._execute(f"DROP DATABASE IF EXISTS {identifier(name)} WITH (FORCE)")

    def _execute(self, statement: str) -> None:
        self._connection.execute(statement.encode())


async def _awaited(awaitable: Awaitable[None]) -> None:
    await awaitable


@contextmanager
def _administering(server: DatabaseUrl, run: str) -> Iterator[tuple[DatabaseUrl, psycopg.Connection]]:
    """Connect to the database `postgres`: nobody may be connected to a template that is being copied."""
    server = replace(server, parts=replace(server.parts, database="postgres"))
    with _connect(server) as connection:
        # Not at the connecting: there the URL's own name would go before it.
        connection.execute(f"SET application_name = {run}".encode())
        yield server, connection


def _connect(server: DatabaseUrl) -> psycopg.Connection:
    try:
        return psycopg.connect(autocommit=True, **server.connect_arguments("psycopg"))
    except psycopg.OperationalError as error:
        problem = error.with_traceback(None)  # its frames hold the password
    try:
        check(_text(server, "postgres"))
    except TodoSchemaError as error:
        error.add_note(f"the server is the one that {VARIABLE} names")
        raise
    raise problem


def _text(server: DatabaseUrl, database: str) -> str:
    """Return the URL of a database, with the password."""
    query = {
        **dict(server.parts.parameters),
        **{name: secret.reveal() for name, secret in server.parts.secrets},
    }
    password = query.pop("password", None)
    hosts = server.hosts
    host: str | None
    port: int | None
    host, port = hosts[0]
    if len(hosts) > 1 or host.startswith("/"):
        # Not every reader of URLs knows these at the usual place.
        query |= {
            "host": ",".join(name for name, _ in hosts),
            "port": ",".join(str(number) for _, number in hosts),
        }
        host = port = None
    url = URL.create("postgresql", server.username, password, host, port, database, query)
    return url.render_as_string(hide_password=False)
