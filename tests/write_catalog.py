"""Writes `migrations/catalog/`: the catalogue of each schema version, and what each contract revision changes.

For a maintainer who adds a revision: `make catalog`. A test compares the files with real databases.
"""

import sys
from pathlib import Path

import psycopg

from tests.support.servers import embedded_server
from todo_schema import catalog, revisions
from todo_schema.compatibility import Line, number_of
from todo_schema.offline import messages


class _Wire:
    """A psycopg connection as the catalogue reader wants it."""

    def __init__(self, connection):
        self._connection = connection

    def fetch(self, sql):
        return self._connection.execute(sql).fetchall()


def catalog_at(server, version: int, contract: str = "c000") -> dict[str, str]:
    """Return the catalogue of a fresh database that the offline script brought to a version."""
    url = server.create_database()
    ways = [("base", f"{version:03d}"), ("c000", contract)]
    with psycopg.connect(url, autocommit=True) as connection:
        for text in (text for way in ways for text in messages("public", *way)):
            connection.execute(text)
        connection.execute("SET search_path = public")
        return catalog.read(_Wire(connection), "public")


def rendered(server, newest: int) -> dict[str, str]:
    """Return the text of each file: that of each version up to the newest, and of each contract revision."""
    texts = {f"{v:03d}.txt": catalog.render(catalog_at(server, v)) for v in range(1, newest + 1)}
    return texts | {f"{r.revision}.txt": contract_at(server, r) for r in revisions.of(Line.CONTRACT)}


def write_catalogs(server, folder: Path, newest: int) -> None:
    """Write every file."""
    for name, text in rendered(server, newest).items():
        (folder / name).write_text(text, encoding="utf-8")


def contract_at(server, revision) -> str:
    """Return what a contract revision changes, on the schema version that it requires."""
    before = catalog_at(server, revision.requires, revisions.below(revision.revision))
    after = catalog_at(server, revision.requires, revision.revision)
    return catalog.render_contract(revision.requires, revision.floor, before, after)


if __name__ == "__main__":
    from todo_schema import SCHEMA_VERSION
    from todo_schema.compatibility import HEAD

    newest = revisions.of(Line.EXPAND)[-1].revision
    if newest != HEAD:
        sys.exit(
            f"found: revision {newest}, and SCHEMA_VERSION = {SCHEMA_VERSION}\nneeded: the same in both\n"
            f"cure: SCHEMA_VERSION = {number_of(newest)} in compatibility.py"
        )
    package = Path(sys.modules["todo_schema"].__file__).parent
    with embedded_server() as running:
        write_catalogs(running, package / "migrations" / "catalog", SCHEMA_VERSION)
