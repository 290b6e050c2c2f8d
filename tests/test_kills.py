"""A migration that is killed at any moment leaves nothing half-made, and the next call ends at the head."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import cycle
from pathlib import Path

import pytest

from tests.support import forker, packages, releases
from tests.support.catalog_dump import CATALOGUE, dump
from tests.support.clusters import Cluster
from tests.support.contracting import Asked, revisions_of
from tests.support.faults import WAITING_FOR_A_LOCK, Fault, moments_of, some_moments_of
from tests.support.forker import Forker
from tests.support.killing import kill_at, statements_of
from tests.support.migrated import assert_left_clean, assert_migrated, empty
from tests.support.proxy import Moment, Proxy
from tests.support.revisions import NEXT, REVISIONS
from tests.support.servers import Server, execute
from tests.support.thorough import series
from tests.support.waiting import wait_for
from tests.support.ways import Call, asyncpg, psycopg
from todo_schema import (
    ChangeReport,
    DatabaseUnreachableError,
    MigrationFailedError,
    State,
    upgrade,
)
from todo_schema.compatibility import HEAD

# Of the moments of a first boot, all of whose revisions are one transaction, one of so many is tried beside what
# `some_moments_of` tries of each kind; in parts, so that they can be run side by side.
EVERY = series(53, 1)
PARTS = 2
# From an older database up each part of a revision is a transaction; `test_resume` tries the kinds of parts.
EVERY_FROM_OLDER = series(401, 53)


@pytest.fixture(scope="module")
def clean(server: Server) -> str:
    """The catalogue that one undisturbed call leaves."""
    url = server.create_database()
    upgrade(url)
    return dump(url)


@pytest.fixture(scope="module")
def clean_catalogue(server: Server) -> str:
    """The same, for what is compared at every moment."""
    url = server.create_database()
    upgrade(url)
    return str(execute(url, CATALOGUE)[0][0])


@pytest.fixture(scope="module")
def replicas() -> Iterator[Forker]:
    with forker.forker() as running:
        yield running


@pytest.fixture(scope="module")
def async_replicas() -> Iterator[Forker]:
    with forker.forker(forker.UPGRADE_ASYNC) as running:
        yield running


@pytest.fixture(scope="module")
def older(server: Server) -> str:
    """A database of the oldest release, with rows, to be copied; nobody may connect to it."""
    return releases.restore(server, releases.releases()[0])


def statements_of_a_run(server: Server, replicas: Forker, template: str | None = None) -> dict[int, str]:
    """The statements from an empty or older database to the head, on all connections, by their numbers."""
    url = server.create_database(template=template)
    told = statements_of(server, url, replicas)
    server.drop_database(url)
    assert len(told) > 60
    return told


@pytest.fixture(scope="module")
def moments(server: Server, replicas: Forker) -> list[tuple[int, Moment]]:
    return some_moments_of(statements_of_a_run(server, replicas), EVERY)


def next_call_ends_at_the_head(database: str, clean_catalogue: str) -> None:
    assert upgrade(database, timeout=30).after is State.CURRENT
    assert_left_clean(database, clean_catalogue, first_boot=True)
    empty(database)


@pytest.mark.parametrize("part", range(PARTS))
def test_a_process_may_be_killed_before_inside_and_after_statements_of_every_kind(
    server: Server,
    database: str,
    replicas: Forker,
    clean_catalogue: str,
    moments: list[tuple[int, Moment]],
    part: int,
):
    for at in moments[part::PARTS]:
        kill_at(at, server, database, replicas)
        next_call_ends_at_the_head(database, clean_catalogue)


def test_a_process_on_asyncpg_may_be_killed_too(
    server: Server, database: str, async_replicas: Forker, clean_catalogue: str
):
    for at in moments_of(statements_of_a_run(server, async_replicas))[::89]:
        kill_at(at, server, database, async_replicas)
        next_call_ends_at_the_head(database, clean_catalogue)


def test_a_process_that_brings_an_older_database_to_the_head_may_be_killed_too(
    server: Server, older: str, replicas: Forker, clean_catalogue: str
):
    filled = releases.contents(older)
    statements = statements_of_a_run(server, replicas, older)
    for at in moments_of(statements)[::EVERY_FROM_OLDER]:
        database = server.create_database(template=older)
        kill_at(at, server, database, replicas)
        assert upgrade(database, timeout=30).after is State.CURRENT
        assert_left_clean(database, clean_catalogue, first_boot=False)
        assert releases.within(filled, releases.contents(database)) == filled, at
        server.drop_database(database)


@pytest.mark.parametrize("part", range(PARTS))
def test_its_backend_may_be_killed_inside_and_between_the_statements(
    server: Server, database: str, clean_catalogue: str, moments: list[tuple[int, Moment]], part: int
):
    # For a backend the time between two statements is much the same wherever it is: a fifth of them will do.
    worth = [(number, moment) for number, moment in moments if moment != "before" or number % 5 == 0]
    for number, moment in worth[part::PARTS]:

        def terminate(connection: int) -> None:
            server.terminate(proxy.backend_pid(connection))

        fault = Fault(number, moment, terminate)
        with (
            Proxy(server, on_statement=fault) as proxy,
            suppress(DatabaseUnreachableError, MigrationFailedError),
        ):
            upgrade(proxy.url(database))
        assert fault.happened, (number, moment)
        next_call_ends_at_the_head(database, clean_catalogue)


def test_the_server_may_be_restarted_in_mid_run(private_server: Cluster, replicas: Forker):
    statements = statements_of_a_run(private_server, replicas)
    *_, recorded = (
        number for number, sql in statements.items() if 'UPDATE "public".todo_schema_history' in sql
    )
    committed = next(
        number for number in range(recorded, len(statements) + 1) if statements[number] == "COMMIT"
    )
    database = private_server.create_database()
    upgrade(database)
    clean_catalogue = execute(database, CATALOGUE)[0][0]
    empty(database)
    some = moments_of(statements)[::97] + [(committed, moment) for moment in ("before", "inside", "after")]
    for (number, moment), mode in zip(some, cycle(["fast", "immediate"]), strict=False):
        fault = Fault(number, moment, lambda _, mode=mode: private_server.restart(mode))
        with (
            Proxy(private_server, on_statement=fault) as proxy,
            suppress(DatabaseUnreachableError, MigrationFailedError),
        ):
            upgrade(proxy.url(database))
        assert fault.happened, (number, moment)
        next_call_ends_at_the_head(database, clean_catalogue)


@pytest.mark.parametrize(
    "statement", ["SAVEPOINT", "LOCK TABLE", "CREATE TABLE messages", 'INTO "public".todo_schema_history']
)
@pytest.mark.parametrize("way", ["cut", "terminated"])
def test_a_worker_that_has_lost_its_guard_applies_nothing_twice(
    server: Server, database: str, clean: str, statement: str, way: str
):
    """The worker is held back until a second process, which got the lock, has gone as far as it can."""

    def lose_the_guard(connection: int) -> None:
        if way == "cut":
            proxy.cut(1)
        else:
            server.terminate(proxy.backend_pid(1))
        second.append(threads.submit(upgrade, database))
        wait_for(lambda: second[0].done() or execute(database, WAITING_FOR_A_LOCK))

    second: list[Future[ChangeReport]] = []
    fault = Fault(statement, "before", lose_the_guard)
    with ThreadPoolExecutor() as threads, Proxy(server, on_statement=fault) as proxy:
        reports = [upgrade(proxy.url(database)), second[0].result()]
    assert sorted(step.revision for report in reports for step in report.applied) == [*REVISIONS]
    assert [report.after for report in reports] == [State.CURRENT] * 2
    assert_migrated(database, clean)


FAILING = f"""
import sqlalchemy as sa

revision = "{NEXT}"
down_revision = "{HEAD}"


def upgrade(op):
    op.add_column("tasks", sa.Column("{packages.COLUMN}", sa.Text()))
    op.execute("UPDATE todo_schema_version SET version_num = version_num")
    {{failure}}
"""
FAILURES = {
    'op.execute("SELECT 1 / 0")': "division by zero",
    'op.execute("ALTER TABLE nowhere ADD COLUMN x text")': 'relation "nowhere" does not exist',
    'raise LookupError("no such thing")': "no such thing",
    'raise SystemExit("bye")': "bye",
}


@pytest.mark.parametrize(
    ("failure", "call"),
    [
        *zip(FAILURES, cycle([psycopg, asyncpg]), strict=False),
        # What is no Exception goes another way through a thread than through a caller.
        ('raise SystemExit("bye")', psycopg),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_a_failed_revision_leaves_what_was_there_before_and_the_mended_package_goes_on(
    database: str,
    upgraded_database: str,
    tmp_path: Path,
    next_asked: Asked,
    clean: str,
    failure: str,
    call: Call,
):
    """The revision before it, or, at a first boot, nothing."""
    nothing = dump(database)
    revision = {f"{NEXT}_fails.py": FAILING.format(failure=failure)}
    package = packages.throwaway_package(tmp_path, revision)
    boot = forker.UPGRADE if call is psycopg else forker.UPGRADE_ASYNC
    with forker.forker(boot, pythonpath=package) as replicas:
        for _ in range(2):
            outcomes = [replicas.race(1, url)[0] for url in (database, upgraded_database)]
            assert dump(database) == nothing
            assert_migrated(upgraded_database, clean)
    for outcome in outcomes:
        assert FAILURES[failure] in outcome["error"]
        if "SystemExit" not in failure:
            assert outcome["kind"] == "MigrationFailedError"
            assert f"revision {NEXT} failed and was rolled back" in outcome["error"]
    for url, applied in ((database, [*REVISIONS, NEXT]), (upgraded_database, [NEXT])):
        (done,) = next_asked(call, url, "upgrade")
        assert revisions_of(done) == applied
