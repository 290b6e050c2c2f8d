"""A hot standby of a server."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.clusters import Cluster, cluster


@contextmanager
def standby(primary: Cluster) -> Iterator[Cluster]:
    """Run a standby that follows a server by streaming; skips the test where there is no pg_basebackup."""
    if not (primary.binaries / "pg_basebackup").exists():
        pytest.skip(f"a standby needs pg_basebackup, which is not in {primary.binaries}")
    primary.hba("host all all all trust", "local replication all trust")
    with cluster(primary.binaries) as copy:
        copy.stop()
        empty(copy.data)
        where = ("-h", str(primary.folder), "-p", str(primary.port), "-U", "postgres")
        copy._run("pg_basebackup", "-R", "-c", "fast", *where)
        with (copy.data / "postgresql.conf").open("a") as file:
            file.write(f"port = {copy.port}\nunix_socket_directories = '{copy.folder}'\n")
        copy.start()
        yield copy


def empty(folder: Path) -> None:
    """Delete all that is in a folder."""
    for path in sorted(folder.rglob("*"), reverse=True):
        path.unlink() if path.is_symlink() or not path.is_dir() else path.rmdir()
