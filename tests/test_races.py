"""Replicas that are released together: one migrates, none fails; without the locks most do."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from threading import Barrier

import pytest

from tests.support import forker, packages
from tests.support.catalog_dump import dump
from tests.support.forker import Forker
from tests.support.migrated import assert_migrated, empty
from tests.support.proxy import Moment, OnStatement, Proxy
from tests.support.revisions import NEXT, REVISIONS
from tests.support.servers import Server, database_name, execute
from tests.support.thorough import series
from todo_schema import upgrade

RACERS = 20
ROUNDS = series(3, 10)

_BEGINS = "    waits = pauses(_FIRST_PAUSE, _LONGEST_PAUSE)\n    first = True\n"
NO_GUARD = ("locks.py", _BEGINS, f"    return True\n{_BEGINS}")
NO_TABLE_LOCK = (
    "transactions.py",
    "            wire.run(bookkeeping.lock_statement(found.schema))\n",
    "",
)
NO_COMPARISON = ("transactions.py", "        raise VersionMovedError(found.schema)\n", "        return\n")

# A project of its own with the same revision, and the env.py that `alembic init` writes, without its comments.
STOCK_ENV = """
from alembic import context
from sqlalchemy import engine_from_config, pool

config = context.config
connectable = engine_from_config(
    config.get_section(config.config_ini_section, {}), prefix="sqlalchemy.", poolclass=pool.NullPool
)
with connectable.connect() as connection:
    context.configure(connection=connection, target_metadata=None)
    with context.begin_transaction():
        context.run_migrations()
"""
STOCK_REVISION = """
from importlib.util import module_from_spec, spec_from_file_location

from alembic import op

spec = spec_from_file_location("baseline", {baseline!r})
baseline = module_from_spec(spec)
spec.loader.exec_module(baseline)
revision, down_revision = "001", None

def upgrade():
    baseline.upgrade(op)
"""
STOCK_BOOT = """
from alembic import command
from alembic.config import Config

def boot(url):
    config = Config()
    config.set_main_option("script_location", {folder!r})
    config.set_main_option("sqlalchemy.url", url.replace("postgresql:", "postgresql+psycopg:"))
    command.upgrade(config, "head")
"""


@pytest.fixture(scope="module")
def clean(server: Server) -> str:
    """The catalogue that one undisturbed call leaves."""
    url = server.create_database()
    upgrade(url)
    return dump(url)


@pytest.fixture(scope="module")
def clean_next(server: Server, next_replicas: Forker) -> str:
    """The same of the next version of the package."""
    url = server.create_database()
    next_replicas.race(1, url)
    assert f"{packages.COLUMN} text" in dump(url)
    return dump(url)


@pytest.fixture(scope="module")
def replicas() -> Iterator[Forker]:
    with forker.forker() as running:
        yield running


@pytest.fixture(scope="module")
def async_replicas() -> Iterator[Forker]:
    with forker.forker(forker.UPGRADE_ASYNC) as running:
        yield running


@pytest.fixture(scope="module")
def next_replicas(next_package: Path) -> Iterator[Forker]:
    with forker.forker(pythonpath=next_package) as running:
        yield running


def held(n: int, beginning: str) -> OnStatement:
    """Hold back n connections, each at its first statement of this beginning, until all of them have come to it."""
    together = Barrier(n)
    come = set[int]()

    def hold(connection: int, _number: int, sql: str, moment: Moment) -> None:
        first = len(come) < n and connection not in come
        if moment == "before" and first and sql.strip().startswith(beginning):
            come.add(connection)
            together.wait(timeout=60)

    return hold


def released_together(
    replicas: Forker, server: Server, database: str, n: int = RACERS, *, held_at: str = "BEGIN"
) -> list[dict]:
    """Race n replicas that wait for each other twice: connected, and again when none found it up to date."""
    with Proxy(server, barrier=n, on_statement=held(n, held_at)) as proxy:
        outcomes = replicas.race(n, proxy.url(database))
        assert proxy.connections > n
    return outcomes


def reports_of(outcomes: list[dict]) -> list[dict]:
    assert [outcome["error"] for outcome in outcomes if not outcome["ok"]] == []
    return [outcome["result"] for outcome in outcomes]


def applied_by(outcomes: list[dict]) -> list[str]:
    """The revisions that all of them together applied."""
    return [step["revision"] for report in reports_of(outcomes) for step in report["applied"]]


def assert_one_applied(outcomes: list[dict], *revisions: str) -> None:
    reports = reports_of(outcomes)
    applied = [[step["revision"] for step in report["applied"]] for report in reports if report["applied"]]
    assert applied == [list(revisions)]
    assert {report["after"] for report in reports} == {"current"}


def test_of_twenty_replicas_on_an_empty_database_one_migrates_and_none_fails(
    server: Server, database: str, replicas: Forker, clean: str
):
    for _ in range(ROUNDS):
        assert_one_applied(released_together(replicas, server, database), *REVISIONS)
        assert_migrated(database, clean)
        empty(database)


def test_of_twenty_replicas_of_a_new_version_one_applies_its_revision(
    server: Server, database: str, next_replicas: Forker, clean_next: str
):
    for _ in range(ROUNDS):
        upgrade(database)
        assert_one_applied(released_together(next_replicas, server, database), NEXT)
        assert_migrated(database, clean_next, (*REVISIONS, NEXT))
        empty(database)


def test_twenty_replicas_on_asyncpg_do_the_same(
    server: Server, database: str, async_replicas: Forker, clean: str
):
    for _ in range(series(1, 2)):
        assert_one_applied(released_together(async_replicas, server, database), *REVISIONS)
        assert_migrated(database, clean)
        empty(database)


@pytest.mark.parametrize(
    ("driver", "level"), [("replicas", "serializable"), ("async_replicas", "repeatable read")]
)
def test_a_stricter_isolation_level_of_the_role_changes_nothing(
    server: Server, database: str, clean: str, level: str, driver: str, request: pytest.FixtureRequest
):
    execute(
        database, f"ALTER DATABASE {database_name(database)} SET default_transaction_isolation = '{level}'"
    )
    assert_one_applied(released_together(request.getfixturevalue(driver), server, database), *REVISIONS)
    assert_migrated(database, clean)


def test_replicas_of_two_versions_together_end_at_the_newer_one(
    server: Server, database: str, replicas: Forker, next_replicas: Forker, clean_next: str
):
    for _ in range(series(2, 3)):
        with Proxy(server, barrier=RACERS) as proxy:
            replicas.start(proxy.url(database), RACERS // 2)
            next_replicas.start(proxy.url(database), RACERS // 2)
            outcomes = replicas.outcomes() + next_replicas.outcomes()
        assert sorted(applied_by(outcomes)) == [*REVISIONS, NEXT]
        assert_migrated(database, clean_next, (*REVISIONS, NEXT))
        empty(database)


def test_without_the_guard_the_version_table_still_lets_each_revision_be_applied_once(
    server: Server, database: str, tmp_path: Path, clean: str
):
    package = packages.throwaway_package(tmp_path, edits=[NO_GUARD])
    with forker.forker(pythonpath=package) as replicas:
        for _ in range(series(2, 3)):
            outcomes = released_together(replicas, server, database, 10, held_at="SAVEPOINT")
            # Not always by one: another may come first to the second revision.
            assert sorted(applied_by(outcomes)) == [*REVISIONS]
            assert_migrated(database, clean)
            empty(database)


def test_without_any_lock_most_replicas_fail_which_is_the_control(
    server: Server, database: str, tmp_path: Path
):
    package = packages.throwaway_package(tmp_path, edits=[NO_GUARD, NO_TABLE_LOCK, NO_COMPARISON])
    with forker.forker(pythonpath=package) as replicas:
        # Held back once more where each has seen that it has to migrate.
        outcomes = released_together(replicas, server, database, held_at="SAVEPOINT")
    failed = Counter(outcome["kind"] for outcome in outcomes if not outcome["ok"])
    assert failed.total() > RACERS / 2
    assert set(failed) == {"MigrationFailedError"}


def test_plain_alembic_fails_in_the_same_race_which_is_the_control(
    server: Server, database: str, tmp_path: Path
):
    (tmp_path / "versions").mkdir()
    (tmp_path / "env.py").write_text(STOCK_ENV)
    (tmp_path / "script.py.mako").touch()
    baseline = next((packages.SOURCE / "todo_schema" / "migrations" / "versions").glob("001_*.py"))
    (tmp_path / "versions" / "001.py").write_text(STOCK_REVISION.format(baseline=str(baseline)))
    with (
        forker.forker(STOCK_BOOT.format(folder=str(tmp_path))) as replicas,
        Proxy(server, barrier=RACERS, on_statement=held(RACERS, "CREATE TABLE alembic_version")) as proxy,
    ):
        outcomes = replicas.race(RACERS, proxy.url(database))
    assert sum(not outcome["ok"] for outcome in outcomes) > RACERS / 2
