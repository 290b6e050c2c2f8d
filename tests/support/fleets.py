"""Fleets of databases, some of which are bad, and one that keeps whoever upgrades it waiting."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import psycopg
from psycopg.conninfo import conninfo_to_dict

from tests.support.ports import refuse
from tests.support.servers import Server, execute
from tests.support.states import AHEAD, FLOOR, STATES
from tests.support.ways import role
from todo_schema import SCHEMA_VERSION, State, downgrade, upgrade
from todo_schema.compatibility import Line, revision_at
from todo_schema.urls import DatabaseUrl

Make = Callable[[int], list[str]]

# The version before the head.
BEFORE = revision_at(Line.EXPAND, SCHEMA_VERSION - 1)
TOO_NEW = f"{AHEAD}; {FLOOR}"

# What the six bad ones of a fleet fail with, in their order.
BAD = ["SchemaTooNewError", "DatabaseUnreachableError", "SchemaTooNewError"]
BAD += ["DatabaseUnreachableError", "DatabaseUnreachableError", "UnversionedSchemaError"]


@contextmanager
def databases_behind(server: Server) -> Iterator[Make]:
    """Give a function that makes databases which are one version behind."""
    template = server.create_database()
    upgrade(template)
    downgrade(template, to=BEFORE)
    made: list[str] = []

    def make(number: int) -> list[str]:
        fresh = [server.create_database(template=template) for _ in range(number)]
        made.extend(fresh)
        return fresh

    try:
        yield make
    finally:
        for url in (*made, template):
            server.drop_database(url)


@contextmanager
def fleet(server: Server, make: Make, good: int) -> Iterator[tuple[list[str], list[str]]]:
    """A fleet whose urls have a password: all of it, and the six in it that are bad, in their order."""
    with ExitStack() as stack:
        urls = make(good + 3)
        first, second, other = urls[0], urls[good // 2], urls[-1]
        for url in (first, second):
            execute(url, TOO_NEW)
        execute(other, f"{STATES[State.EMPTY]}; CREATE TABLE users (id text)")
        owner = conninfo_to_dict(stack.enter_context(role(server, "postgres", "SUPERUSER")))
        # What the role owns goes before it.
        for url in urls:
            stack.callback(server.drop_database, url)
        urls = [server.url(url, str(owner["user"]), "secret") for url in urls]
        silent = stack.enter_context(refuse()).replace("postgres@", "tenant:secret@")
        nowhere = [f"{silent}_{number}" for number in range(3)]
        everybody = [urls[0], nowhere[0], *urls[1:-1], *nowhere[1:], urls[-1]]
        yield everybody, [urls[0], nowhere[0], urls[good // 2], *nowhere[1:], urls[-1]]


def names(urls: list[str]) -> list[str]:
    """The addresses that outcomes give them."""
    return [str(DatabaseUrl.parse(url)) for url in urls]


@contextmanager
def locked(url: str) -> Iterator[Callable[[], None]]:
    """Keep a migration of a database waiting until the function given is called."""
    with psycopg.connect(url) as holder:
        holder.execute("LOCK TABLE tasks IN ACCESS SHARE MODE")
        yield holder.rollback


def waits(url: str) -> bool:
    """Whether somebody waits for a lock on the tasks."""
    query = "SELECT FROM pg_locks WHERE NOT granted AND relation = 'tasks'::regclass"
    return bool(execute(url, query))
