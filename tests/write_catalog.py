"""Writes `migrations/catalog/NNN.txt`, the catalogue of each schema version, as its revisions make it.

For a maintainer who adds a revision: `make catalog`. A test compares the files with real databases.
"""

import sys
from pathlib import Path

import psycopg

from tests.support.servers import embedded_server
from todo_schema import catalog
from todo_schema.offline import script


class _Wire:
    """A psycopg connection as the catalogue reader wants it."""

    def __init__(self, connection):
        self._connection = connection

    def fetch(self, sql):
        return self._connection.execute(sql).fetchall()


def catalog_at(server, version: int) -> dict[str, str]:
    """Return the catalogue of a fresh database that the offline script brought to a version."""
    url = server.create_database()
    statements = "\n".join(
        line for line in script("public", "base", f"{version:03d}").splitlines() if not line.startswith("\\")
    )
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statements)
        connection.execute("SET search_path = public")
        return catalog.read(_Wire(connection), "public")


def write_catalogs(server, folder: Path, newest: int) -> None:
    """Write the file of each version up to the newest."""
    for version in range(1, newest + 1):
        file = folder / f"{version:03d}.txt"
        file.write_text(catalog.render(catalog_at(server, version)), encoding="utf-8")


if __name__ == "__main__":
    from todo_schema import SCHEMA_VERSION, history
    from todo_schema.compatibility import HEAD

    newest = history()[-1].revision
    if newest != HEAD:
        sys.exit(
            f"found: revision {newest}, and SCHEMA_VERSION = {SCHEMA_VERSION}\nneeded: the same in both\n"
            f"cure: SCHEMA_VERSION = {int(newest)} in compatibility.py"
        )
    package = Path(sys.modules["todo_schema"].__file__).parent
    with embedded_server() as running:
        write_catalogs(running, package / "migrations" / "catalog", SCHEMA_VERSION)
