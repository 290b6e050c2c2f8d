"""A disk that is full while we migrate: nothing is half made, and the next call goes on where there is room."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.catalog_dump import dump
from tests.support.clusters import Cluster, give_to, own_server
from tests.support.processes import run_python
from tests.support.revisions import NEXT, REVISIONS
from tests.support.servers import database_name
from tests.support.ways import Call, both_drivers, drivers_by_turns
from todo_schema import MigrationFailedError, State, TodoSchemaError

BLOCK = 8192  # bytes; every index begins with one
BLOCKS_OF_THE_FIRST = 20  # with which the first revision still fails


class Disk:
    """A small file system in memory that the server has a tablespace on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ballast = folder / "ballast"

    def leave(self, size: int | None) -> None:
        """Leave so many bytes free, or with None all of them."""
        self.ballast.unlink(missing_ok=True)
        if size is not None:
            there = os.statvfs(self.folder)
            with self.ballast.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, there.f_bavail * there.f_frsize - size)


@pytest.fixture(scope="module")
def small_server() -> Iterator[tuple[Cluster, Disk]]:
    """A server with a tablespace `small` on a disk of its own."""
    with own_server() as running:
        folder = running.folder / "small"
        folder.mkdir()
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder],
            check=False,
            capture_output=True,
            text=True,
        )
        if mounted.returncode:
            pytest.skip(f"a full disk needs the right to mount one: {mounted.stderr.strip()}")
        try:
            (folder / "space").mkdir()
            give_to(folder, running.system_user)
            running.execute(f"CREATE TABLESPACE small LOCATION '{folder}/space'")
            yield running, Disk(folder)
            running.stop("immediate")
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def database(small_server: tuple[Cluster, Disk]) -> Iterator[str]:
    """An empty database whose new tables go to the small disk."""
    running, disk = small_server
    url = running.create_database()
    running.execute(f"ALTER DATABASE {database_name(url)} SET default_tablespace = small")
    yield url
    disk.leave(None)
    running.drop_database(url)


def assert_goes_on(call: Call, url: str, disk: Disk) -> None:
    """Assert that with room on the disk everything works, and that all of it is on that disk."""
    disk.leave(None)
    assert call("upgrade", url).after is State.CURRENT
    assert call("check", url, deep=True) is State.CURRENT


@drivers_by_turns("blocks", [0, 1, 4, 8, 12, 16, 20, 24])
def test_a_full_disk_leaves_nothing_half_made(small_server, database: str, call: Call, blocks: int):
    _, disk = small_server
    before = dump(database)
    disk.leave(blocks * BLOCK)
    with pytest.raises(MigrationFailedError, match="No space left on device") as caught:
        call("upgrade", database)
    assert (caught.value.revision == REVISIONS[0]) == (blocks <= BLOCKS_OF_THE_FIRST)
    assert "call again" in caught.value.cure
    assert dump(database) == before
    assert call("status", database).state is State.EMPTY
    assert_goes_on(call, database, disk)


@drivers_by_turns("free", [0, 4 * BLOCK, 16 * BLOCK])
def test_a_full_disk_under_the_whole_database_leaves_nothing_half_made(small_server, call: Call, free: int):
    """The server's own catalogue has no room to grow either."""
    running, disk = small_server
    running.execute("CREATE DATABASE whole TEMPLATE template0 TABLESPACE small")
    url = running.url("whole")
    try:
        before = dump(url)
        disk.leave(free)
        with pytest.raises(TodoSchemaError, match="No space left on device") as caught:
            call("upgrade", url)
        assert isinstance(caught.value, MigrationFailedError)
        disk.leave(None)
        assert dump(url) == before
        assert_goes_on(call, url, disk)
    finally:
        disk.leave(None)
        running.drop_database("whole")


REVISE = """
import asyncio, sys, todo_schema

driver, url = sys.argv[1:]
try:
    if driver == "psycopg":
        todo_schema.upgrade(url)
    else:
        asyncio.run(todo_schema.upgrade_async(url))
except todo_schema.MigrationFailedError as error:
    sys.exit(f"{error.revision}: {error}")
"""


@both_drivers
def test_a_later_revision_that_finds_the_disk_full_leaves_the_database_at_the_one_before(
    small_server, database: str, call: Call, tmp_path: Path
):
    from tests.support import packages

    filled = {
        name: text.replace(
            'op.add_column("tasks"',
            "op.execute(\"INSERT INTO users (email) SELECT n || repeat('x', 300) FROM generate_series(1, 4000) n\")\n"
            '    op.add_column("tasks"',
        )
        for name, text in packages.NEXT_REVISION.items()
    }
    package = packages.throwaway_package(tmp_path, filled)
    driver = call.__name__  # type: ignore[attr-defined]
    _, disk = small_server
    call("upgrade", database)
    before = dump(database)
    disk.leave(64 * BLOCK)
    failed = run_python(REVISE, driver, database, pythonpath=package)
    assert failed.returncode == 1
    assert f"{NEXT}: found: revision {NEXT} failed and was rolled back" in failed.stderr
    assert "No space left on device" in failed.stderr
    assert dump(database) == before
    assert call("check", database, deep=True) is State.CURRENT
    disk.leave(None)
    done = run_python(REVISE, driver, database, pythonpath=package)
    assert done.returncode == 0, done.stderr
    assert call("check", database) is State.AHEAD
