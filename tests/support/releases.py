"""The releases that are frozen below tests/releases: the wheel of each, and a database that it filled."""

import hashlib
import re
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from packaging.version import InvalidVersion, Version

from tests.support.processes import CHECKOUT, clean_environment
from tests.support.servers import Server, execute
from todo_schema import history
from todo_schema.compatibility import BOOKKEEPING_TABLES

RELEASES = CHECKOUT / "tests" / "releases"
DUMP = "dump.sql"

# The rows of each table, as JSON has them.
Rows = dict[str, list[dict[str, Any]]]

# What the package reads as it runs: the revisions of both lines, and the catalogues.
_EXPAND = "todo_schema/migrations/versions/"
_READ = re.compile(r"todo_schema/migrations/(versions/.*\.py|contract/.*\.py|catalog/.*\.txt)")


@dataclass(frozen=True)
class Release:
    """A release, as its folder has it.

    Attributes:
        folder: Its folder, whose name is its version.

    """

    folder: Path

    def __str__(self) -> str:
        return self.folder.name

    @property
    def version(self) -> str:
        """The version of the package."""
        return self.folder.name

    @property
    def wheel(self) -> Path:
        """The wheel."""
        (wheel,) = self.folder.glob("*.whl")
        return wheel

    @property
    def dump(self) -> str:
        """The SQL that makes the database which the wheel made and filled."""
        # Not read_text(): it would turn the line endings inside of the rows.
        return (self.folder / DUMP).read_bytes().decode()

    @cached_property
    def migrations(self) -> dict[str, str]:
        """The checksum of each revision and catalogue in the wheel; see `checksum`."""
        with zipfile.ZipFile(self.wheel) as archive:
            names = [name for name in archive.namelist() if _READ.fullmatch(name)]
            return {name: checksum(archive.read(name)) for name in names}

    @property
    def schema_version(self) -> int:
        """The schema version that the wheel was written for."""
        revisions = [name.removeprefix(_EXPAND) for name in self.migrations if name.startswith(_EXPAND)]
        return max(int(name.split("_")[0]) for name in revisions)


def releases(folder: Path = RELEASES) -> tuple[Release, ...]:
    """Return the frozen releases, oldest first."""
    found = [Release(path) for path in folder.iterdir() if _is_version(path.name)] if folder.exists() else []
    return tuple(sorted(found, key=lambda release: Version(release.version)))


def floor() -> int:
    """Return the oldest schema version that the contract revisions of this checkout leave usable."""
    return max(revision.floor or 1 for revision in history())


def checksum(content: bytes) -> str:
    """Return the SHA-256 of a file, the same whatever line endings a checkout gave it."""
    return hashlib.sha256(content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")).hexdigest()


def changed(release: Release, source: Path) -> list[str]:
    """Return the revisions and catalogues of a release that `source` lacks or has otherwise."""
    return [
        name
        for name, released in release.migrations.items()
        if not (source / name).exists() or checksum((source / name).read_bytes()) != released
    ]


def install(wheel: Path, folder: Path) -> Path:
    """Install a wheel into `folder`, and return `folder`: the PYTHONPATH of the package.

    What the wheel depends on is not installed: it comes from the environment that runs.
    """
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "install"),
            *("--no-deps", "--no-index", "--target", folder, wheel),
        ],
        check=False,
        capture_output=True,
        text=True,
        env=clean_environment({"PYTHONPATH": ""}),
        timeout=60,
    )
    if done.returncode:
        raise RuntimeError(f"{wheel} was not installed: {done.stdout}\n{done.stderr}")
    return folder


def restore(server: Server, release: Release) -> str:
    """Make the database that a release filled, and return its url."""
    url = server.create_database()
    execute(url, release.dump)
    return url


def contents(url: str) -> Rows:
    """Return the rows of our entities' tables, in the order of their keys.

    The last numbers that their sequences gave are one row more, because the rows to come depend on them.
    """
    ours = "schemaname = 'public' AND {} NOT LIKE ALL (ARRAY[{}])"
    bookkeeping = ", ".join(f"'{table}%'" for table in sorted(BOOKKEEPING_TABLES))
    tables = execute(url, f"SELECT tablename FROM pg_tables WHERE {ours.format('tablename', bookkeeping)}")
    found = {
        name: [row for (row,) in execute(url, f'SELECT to_json(t) FROM public."{name}" t ORDER BY t.id')]
        for (name,) in sorted(tables)
    }
    numbers = "SELECT json_object_agg(sequencename, last_value) FROM pg_sequences WHERE "
    numbers += ours.format("sequencename", bookkeeping)
    return {**found, "sequences": [row for (row,) in execute(url, numbers)]}


def within(rows: Rows, others: Rows) -> Rows:
    """Return of `others` what `rows` has too: its tables, and their columns."""
    return {
        table: [
            {name: other[name] for name in row} for row, other in zip(rows[table], others[table], strict=True)
        ]
        for table in rows
    }


def _is_version(name: str) -> bool:
    try:
        Version(name)
    except InvalidVersion:
        return False
    return True
