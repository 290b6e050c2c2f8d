"""What keeps a package from a database for a time, and is then put right by somebody else."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg

from tests.support.clusters import Cluster
from tests.support.servers import Server, execute
from tests.support.states import NO_ROW
from tests.support.ways import role, role_of
from todo_schema import (
    DatabaseUnreachableError,
    InsufficientPrivilegeError,
    MigrationLockedError,
    SchemaNotFoundError,
    SchemaOutdatedError,
    TodoSchemaError,
    UnversionedSchemaError,
    upgrade,
)

# All that a service needs which only looks.
GRANT = "GRANT SELECT ON todo_schema_version, todo_schema_history TO {}"


@dataclass
class Obstacle:
    """Something that passes, and that keeps a package from a database until then.

    Attributes:
        url: The database.
        error: What says it where nobody waits any longer.
        found: A part of what is found.
        remove: Takes it away.
        options: Of the call.

    """

    url: str
    error: type[TodoSchemaError]
    found: str
    remove: Callable[[], object]
    options: Mapping[str, Any] = field(default_factory=dict)


@contextmanager
def nothing_there(database: str, _server: Server, _own: Cluster) -> Iterator[Obstacle]:
    yield Obstacle(database, SchemaOutdatedError, "none of our tables", lambda: upgrade(database))


@contextmanager
def no_version(database: str, _server: Server, _own: Cluster) -> Iterator[Obstacle]:
    upgrade(database)
    execute(database, NO_ROW)
    yield Obstacle(database, UnversionedSchemaError, "without a version row", lambda: upgrade(database))


@contextmanager
def schema_missing(database: str, _server: Server, _own: Cluster) -> Iterator[Obstacle]:
    upgrade(database)
    options = {"schema": "todo"}
    yield Obstacle(
        database,
        SchemaOutdatedError,
        "none of our tables in database",
        lambda: upgrade(database, **options),
        options,
    )


@contextmanager
def no_schema_at_all(database: str, server: Server, _own: Cluster) -> Iterator[Obstacle]:
    ((name,),) = execute(database, "SELECT current_database()")
    server.execute(f"ALTER DATABASE {name} SET search_path = todo")

    def make() -> None:
        server.execute("CREATE SCHEMA todo", database)
        upgrade(database)

    yield Obstacle(database, SchemaNotFoundError, "names no schema that exists", make)


@contextmanager
def no_right(database: str, server: Server, _own: Cluster) -> Iterator[Obstacle]:
    upgrade(database)
    with role(server, database) as url:
        grant = GRANT.format(role_of(url))
        yield Obstacle(
            url, InsufficientPrivilegeError, "may not read the version", lambda: execute(database, grant)
        )


@contextmanager
def locked(database: str, _server: Server, _own: Cluster) -> Iterator[Obstacle]:
    upgrade(database)
    with psycopg.connect(database, application_name="vacuum-cleaner") as holder:
        holder.execute("LOCK TABLE todo_schema_version IN ACCESS EXCLUSIVE MODE")
        yield Obstacle(database, MigrationLockedError, "locked even for readers by pid", holder.rollback)


@contextmanager
def not_up(_database: str, _server: Server, own: Cluster) -> Iterator[Obstacle]:
    url = own.create_database()
    upgrade(url)
    own.stop()
    try:
        yield Obstacle(url, DatabaseUnreachableError, "no connection to", own.start)
    finally:
        if not (own.data / "postmaster.pid").exists():
            own.start()


OBSTACLES = (nothing_there, no_version, schema_missing, no_schema_at_all, no_right, locked, not_up)
