"""The servers and databases of the tests; `TODO_SCHEMA_TEST_URL` names a server to use for the wheel's."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import clusters, packages
from tests.support.clusters import Cluster
from tests.support.pooler import PROGRAM as PGBOUNCER
from tests.support.pooler import Pooler, pgbouncer
from tests.support.servers import Server, embedded_server, given_server

# What these try is the server more than Python or a dependency: once, by `make test`, is enough.
SLOW = {
    "test_connect_retry",
    "test_disk_full",
    "test_kills",
    "test_locks",
    "test_next_revision",
    "test_not_ours",
    "test_races",
    "test_role_settings",
    "test_roles",
    "test_support",
    "test_support_proxy",
    "test_wheel",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.stem in SLOW:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """The server that most tests share; they leave its settings alone."""
    url = os.environ.get("TODO_SCHEMA_TEST_URL")
    with given_server(url) if url else embedded_server() as running:
        yield running


@pytest.fixture
def database(server: Server) -> Iterator[str]:
    """The url of a fresh, empty database."""
    url = server.create_database()
    yield url
    server.drop_database(url)


@pytest.fixture(scope="session")
def template(server: Server) -> str:
    """The url of a database at the head, to be copied; nobody may connect to it."""
    from todo_schema import upgrade

    url = server.create_database()
    upgrade(url)
    return url


@pytest.fixture
def upgraded_database(server: Server, template: str) -> Iterator[str]:
    """The url of a fresh database at the head."""
    url = server.create_database(template=template)
    yield url
    server.drop_database(url)


@pytest.fixture
def private_server() -> Iterator[Cluster]:
    """A server of the test's own, for restarts, limits and access rules."""
    with clusters.own_server() as running:
        yield running


@pytest.fixture(scope="module")
def tls_server() -> Iterator[Cluster]:
    """A server with TLS, whose certificate is for `localhost`; see its `certificates`."""
    try:
        with clusters.debian_server(tls=True) as running:
            yield running
    except FileNotFoundError as missing:
        pytest.skip(f"TLS needs Debian's PostgreSQL and openssl: {missing}")


@pytest.fixture(scope="module")
def pooler(server: Server) -> Iterator[Pooler]:
    """PgBouncer in transaction mode, with five connections to the shared server."""
    if PGBOUNCER is None:
        pytest.skip("PgBouncer is not installed: apt-get install pgbouncer")
    with pgbouncer(server) as running:
        yield running


@pytest.fixture(scope="session")
def next_package(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The PYTHONPATH of a package that is one expand revision ahead of this one: a column of tasks."""
    folder = packages.throwaway_package(tmp_path_factory.mktemp("next"), packages.NEXT_REVISION)
    packages.write_catalogues(folder, server)
    return folder


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    return packages.build_wheel(tmp_path_factory.mktemp("wheel"))
