"""The servers and databases of the tests; `TODO_SCHEMA_TEST_URL` names a server to use for the wheel's."""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import chatbots, clusters, contracting, packages, ways
from tests.support.clusters import Cluster
from tests.support.old_services import OLD
from tests.support.peers import Peer, Stage, peer
from tests.support.pooler import PROGRAM as PGBOUNCER
from tests.support.pooler import Pooler, pgbouncer
from tests.support.releases import RELEASES, Release, install
from tests.support.servers import Server, embedded_server, given_server

# Projects of their own, some with tests: those of ours run them.
collect_ignore = ["downstream"]

# What these try is the server or our own code more than Python or a dependency, and authors have the newest Alembic
# and ruff: once, by `make test`, is enough.
SLOW = {
    "test_adopt",
    "test_adopt_kills",
    "test_adopt_races",
    "test_adopt_sequences",
    "test_adopt_surroundings",
    "test_adopt_under_load",
    "test_adopt_ways",
    "test_alembic_version",
    "test_authoring",
    "test_backfills",
    "test_backfills_disturbed",
    "test_behind",
    "test_busy_leases",
    "test_catalog",
    "test_cli_contract",
    "test_clients",
    "test_compatibility",
    "test_connect_retry",
    "test_contract",
    "test_contract_back",
    "test_contract_kills",
    "test_contract_offline",
    "test_contract_races",
    "test_contract_steps",
    "test_contracts_at_once",
    "test_defences",
    "test_deferred",
    "test_deferred_at_once",
    "test_definitions",
    "test_disk_full",
    "test_docs",
    "test_docs_code",
    "test_downstream_devmatrix",
    "test_downstream_socrates",
    "test_downstream_suite",
    "test_encodings",
    "test_fastapi_service",
    "test_fleet",
    "test_fleet_command",
    "test_floor",
    "test_floor_kept",
    "test_going_back",
    "test_going_down",
    "test_half_contract",
    "test_imports",
    "test_index_builds",
    "test_interleavings",
    "test_keys",
    "test_kills",
    "test_lease_settings",
    "test_leased_engines",
    "test_leftovers",
    "test_lock_circles",
    "test_lock_classes",
    "test_lock_waits",
    "test_locks",
    "test_message_order",
    "test_new_columns",
    "test_next_revision",
    "test_not_ours",
    "test_notifications",
    "test_obstacles_online",
    "test_offline",
    "test_older_packages",
    "test_operations",
    "test_ownership",
    "test_plan",
    "test_pooled_clients",
    "test_pooler",
    "test_preflights",
    "test_progress",
    "test_races",
    "test_readme",
    "test_release_proof",
    "test_releases",
    "test_resume",
    "test_revision_files",
    "test_role_settings",
    "test_roles",
    "test_rolling",
    "test_rules",
    "test_rules_old_wheel",
    "test_schemas",
    "test_server_side",
    "test_squawk",
    "test_statement_rules",
    "test_support",
    "test_support_load",
    "test_support_proxy",
    "test_tenants",
    "test_throwaway",
    "test_triggers",
    "test_under_load",
    "test_unfinished",
    "test_unreachable",
    "test_wait",
    "test_wait_at_once",
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
def finished_database(upgraded_database: str) -> str:
    """The url of a fresh database at the head of both lines: of contract steps only a newer package knows any more."""
    from todo_schema import contract

    contract(upgraded_database)
    return upgraded_database


@pytest.fixture(scope="session")
def chatbot_template(server: Server) -> str:
    """The url of a database that the todo chatbot's own chain has made, to be copied; nobody may connect to it."""
    url = server.create_database()
    chatbots.made_by_its_chain(url)
    return url


@pytest.fixture
def chatbot_database(server: Server, chatbot_template: str) -> Iterator[str]:
    """The url of a fresh database that the todo chatbot's own chain has made."""
    with chatbots.copied(server, chatbot_template) as url:
        yield url


@pytest.fixture
def private_server() -> Iterator[Cluster]:
    """A server of the test's own, for restarts, limits and access rules."""
    with clusters.own_server() as running:
        yield running


@pytest.fixture(scope="session")
def debian() -> Iterator[Cluster]:
    """Debian's server, an older one than the wheel's; who uses it leaves its settings alone."""
    try:
        with clusters.debian_server() as running:
            yield running
    except FileNotFoundError as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module", params=["server", "debian"])
def each_server(request: pytest.FixtureRequest) -> Server:
    """Each server that is at hand: the wheel's, then Debian's."""
    running: Server = request.getfixturevalue(request.param)
    return running


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


Once = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """Fills a folder that all workers share: `once(name, fill)`. Nobody changes it afterwards."""
    import fcntl

    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def once(name: str, fill: Callable[[Path], object]) -> Path:
        folder = shared / name
        with (shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists():
                unfinished = Path(tempfile.mkdtemp(prefix=name, dir=shared))
                fill(unfinished)
                unfinished.rename(folder)
        return folder

    return once


@pytest.fixture(scope="session")
def old_package(once: Once) -> Path:
    """The PYTHONPATH of the release `OLD`, as its wheel has it."""
    wheel = Release(RELEASES / OLD).wheel
    return once(f"release-{OLD}", lambda folder: install(wheel, folder))


@pytest.fixture(scope="session")
def next_package(server: Server, once: Once) -> Path:
    """The PYTHONPATH of a package that is one expand revision ahead of this one: a column of tasks."""

    def fill(folder: Path) -> None:
        packages.throwaway_package(folder, packages.NEXT_REVISION)
        packages.write_catalogues(folder, server)

    return once("next", fill)


@pytest.fixture(scope="session")
def next_asked(next_package: Path) -> Iterator[contracting.Asked]:
    """The same package, to be asked."""
    with contracting.asked(next_package) as package:
        yield package


@pytest.fixture(scope="session")
def contracting_package(server: Server, once: Once) -> Path:
    """The PYTHONPATH of a package that is one expand revision ahead, and contains the contract step after it."""

    def fill(folder: Path) -> None:
        revisions = packages.NEXT_REVISION | packages.NEXT_CONTRACT
        packages.throwaway_package(folder, revisions, edits=packages.WITHOUT_DESCRIPTION)
        packages.write_catalogues(folder, server)

    return once("contracting", fill)


@pytest.fixture(scope="session")
def contracting_asked(contracting_package: Path) -> Iterator[contracting.Asked]:
    """The same package, to be asked."""
    with contracting.asked(contracting_package) as package:
        yield package


@pytest.fixture(scope="session")
def without_the_step(server: Server, once: Once) -> Iterator[contracting.Asked]:
    """The package of the same schema version from before the contract step was written."""

    def fill(folder: Path) -> None:
        packages.throwaway_package(folder, packages.NEXT_REVISION, edits=packages.WITHOUT_DESCRIPTION)
        packages.write_catalogues(folder, server)

    with contracting.asked(once("without", fill)) as package:
        yield package


@pytest.fixture(scope="session")
def templates(server: Server, contracting_asked: contracting.Asked) -> dict[str, str]:
    """Databases of that package to be copied, `expanded` and `contracted`; nobody may connect to them."""
    from todo_schema import contract

    urls = {state: server.create_database() for state in ("expanded", "contracted")}
    for state, url in urls.items():
        contracting_asked(ways.psycopg, url, "upgrade")
        contract(url)  # of this package, so that the throw-away step alone is left
        contracting_asked(ways.psycopg, url, *(["contract"] if state == "contracted" else []))
    return urls


@pytest.fixture
def expanded_database(server: Server, templates: dict[str, str]) -> Iterator[str]:
    """The url of a fresh database that the contract step may be applied to."""
    url = server.create_database(template=templates["expanded"])
    yield url
    server.drop_database(url)


@pytest.fixture
def contracted_database(server: Server, templates: dict[str, str]) -> Iterator[str]:
    """The url of a fresh database that the contract step was applied to."""
    url = server.create_database(template=templates["contracted"])
    yield url
    server.drop_database(url)


@pytest.fixture(scope="module")
def peers(contracting_package: Path) -> Iterator[tuple[Peer, Peer]]:
    """A process with this package, and one with the contracting package."""
    with peer() as old, peer(contracting_package) as new:
        yield old, new


@pytest.fixture
def stage(peers: tuple[Peer, Peer], expanded_database: str) -> Iterator[Stage]:
    """Both of them on a fresh database that waits for the contract step."""
    yield Stage(expanded_database, *peers)
    peers[0].ask("leave")


@pytest.fixture(scope="session")
def wheel(once: Once) -> Path:
    """The wheel of this checkout."""
    (built,) = once("wheel", packages.build_wheel).glob("*.whl")
    return built
