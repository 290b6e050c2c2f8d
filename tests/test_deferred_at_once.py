"""Several processes where a revision is deferred: one is at work on it, none waits for that without need."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from tests.support import asking, packages
from tests.support.asking import Package
from tests.support.contracting import recorded
from tests.support.deferring import (
    AFTER,
    BUILDS_ON,
    CONTRACT_BUILDS_ON,
    DONE,
    LAST,
    NEEDED,
    PLAIN_INDEX,
    PUT_OFF,
    actions,
    indexed,
    prepared,
)
from tests.support.forker import kill
from tests.support.holding import Hold
from tests.support.packages import CONTRACT
from tests.support.proxy import Proxy
from tests.support.revisions import NEXT, NEXT_VERSION
from tests.support.servers import Server, execute
from tests.support.waiting import wait_for
from tests.support.ways import Call, both_drivers
from todo_schema import contract
from todo_schema.compatibility import HEAD
from todo_schema.locks import DEFERRED_CLASS, LOCK_CLASS, lock_key

REPLICAS = 20


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Package]:
    """A package that puts a revision off."""
    folder = packages.throwaway_package(tmp_path_factory.mktemp("first"), PUT_OFF)
    with asking.package(folder) as asked:
        yield asked


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The next package, which needs a column of the same table."""
    return packages.throwaway_package(tmp_path_factory.mktemp("needing"), PUT_OFF | NEEDED)


@pytest.fixture(scope="module")
def package(folder: Path) -> Iterator[Package]:
    """That package."""
    with asking.package(folder) as asked:
        yield asked


@pytest.fixture(scope="module")
def another(folder: Path) -> Iterator[Package]:
    """The same, while the other one is at work."""
    with asking.package(folder) as asked:
        yield asked


@pytest.fixture(scope="module")
def last(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Package]:
    """The one after that, which builds on what was put off, in both lines."""
    files = PUT_OFF | NEEDED | BUILDS_ON | CONTRACT_BUILDS_ON
    folder = packages.throwaway_package(tmp_path_factory.mktemp("building"), files)
    catalogue = folder / "todo_schema" / "migrations" / "catalog" / f"{CONTRACT}.txt"
    catalogue.write_text(f"requires = {NEXT_VERSION}\nfloor = {NEXT_VERSION}\n", encoding="utf-8")
    with asking.package(folder) as asked:
        yield asked


@pytest.fixture(scope="module")
def needing_it(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Package]:
    """A package that does not put off the same revision."""
    files = {name: text.replace("\ndeferred =", "\nit_costs =") for name, text in PUT_OFF.items()}
    folder = packages.throwaway_package(tmp_path_factory.mktemp("required"), files)
    with asking.package(folder) as asked:
        yield asked


@pytest.fixture(scope="module")
def templates(server: Server, template: str, package: Package) -> dict[str, str]:
    return prepared(server, template, package)


@pytest.fixture
def behind(server: Server, templates: dict[str, str]) -> Iterator[str]:
    url = server.create_database(template=templates["behind"])
    yield url
    server.drop_database(url)


@pytest.fixture
def pending(server: Server, templates: dict[str, str]) -> Iterator[str]:
    url = server.create_database(template=templates["pending"])
    yield url
    server.drop_database(url)


@contextmanager
def old_snapshot(url: str) -> Iterator[psycopg.Connection]:
    """Keep a snapshot, which no index that is built concurrently becomes valid before; it locks no table."""
    with psycopg.connect(url) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        connection.execute("SELECT 1")
        yield connection


@contextmanager
def written(url: str) -> Iterator[psycopg.Connection]:
    """Keep a transaction open that has written to the table, which no such build begins before."""
    with psycopg.connect(url) as connection:
        connection.execute("LOCK TABLE tasks IN ROW EXCLUSIVE MODE")
        yield connection


def builders(url: str) -> list[int]:
    """The sessions that are building an index and wait for somebody."""
    query = """SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
        AND query ~ '^CREATE (UNIQUE )?INDEX CONCURRENTLY' AND state = 'active'"""
    return [pid for (pid,) in execute(url, query)]


def builder(url: str) -> int:
    """Wait until an index is being built, and return by whom."""
    (pid,) = wait_for(lambda: builders(url))
    return pid


def blockers(url: str, pid: int) -> list[int]:
    """Whom a session waits for."""
    ((found,),) = execute(url, "SELECT pg_blocking_pids(%s)", (pid,))
    return list(found)


def ours(url: str) -> int:
    """How many sessions of this package there are."""
    query = """SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name ~ '^todo-schema'"""
    return int(execute(url, query)[0][0])


def holder(url: str) -> int | None:
    """The session that holds the lock of deferred revisions."""
    found = execute(url, f"SELECT pid FROM pg_locks WHERE classid = {DEFERRED_CLASS} AND granted")
    return found[0][0] if found else None


# Twenty at once


@both_drivers
def test_of_twenty_boots_one_finishes_what_is_deferred_and_the_others_do_not_wait_for_it(
    server: Server, package: Package, pending: str, call: Call
):
    with old_snapshot(pending) as old, Proxy(server, barrier=REPLICAS) as proxy:
        package.start("upgrade", proxy.url(pending), call=call, n=REPLICAS)
        builder(pending)
        # The one that holds the lock, the one that builds, and the one that looks how far it is.
        wait_for(lambda: ours(pending) <= 3)
        assert len(builders(pending)) == 1
        old.rollback()
        said = package.outcomes()
    assert [one for one in said if one.error or one.warnings] == []
    assert sorted(one.applied for one in said) == [[]] * (REPLICAS - 1) + [[NEXT]]
    assert [one.left for one in said if not one.applied] == [[NEXT]] * (REPLICAS - 1)
    assert actions(pending) == [(NEXT, "defer"), (AFTER, "upgrade"), *DONE]
    assert indexed(pending) == [True, True]


def test_of_twenty_boots_of_a_new_package_one_migrates_and_none_fails(package: Package, behind: str):
    package.start("upgrade", behind, n=REPLICAS)
    said = package.outcomes()
    assert [one for one in said if one.error or one.warnings] == []
    assert [one.answer["version_after"] for one in said] == [NEXT_VERSION + 1] * REPLICAS
    assert sorted(step for one in said for step in one.applied) == [NEXT, AFTER]
    # Which part of it comes before which is a matter of who comes first, but not how often.
    assert sorted(actions(behind)) == sorted([(NEXT, "defer"), (AFTER, "upgrade"), *DONE])


@both_drivers
def test_twenty_boots_wait_for_a_build_that_is_needed_and_the_build_for_none_of_them(
    needing_it: Package, behind: str, call: Call
):
    with old_snapshot(behind) as old:
        with written(behind):
            needing_it.start("upgrade", behind, call=call, n=REPLICAS)
            pid = builder(behind)
            wait_for(lambda: ours(behind) > REPLICAS)
        # It waits for whoever has a snapshot by now.
        wait_for(lambda: blockers(behind, pid) == [old.info.backend_pid])
        assert all(blockers(behind, pid) == [old.info.backend_pid] for _ in range(20))
        assert ours(behind) > REPLICAS
    said = needing_it.outcomes()
    assert [one for one in said if one.error or one.warnings] == []
    assert sorted(one.applied for one in said) == [[]] * (REPLICAS - 1) + [[NEXT]]
    assert actions(behind) == [*DONE[:2], (NEXT, "upgrade")]
    assert indexed(behind) == [True, True]


def test_whoever_waited_in_a_statement_for_the_migration_lock_would_stall_the_build(
    needing_it: Package, behind: str
):
    query = f"SELECT pg_advisory_xact_lock({LOCK_CLASS}, {lock_key('public')})"
    with psycopg.connect(behind, autocommit=True) as waiter:

        def wait() -> None:
            with pytest.raises(psycopg.errors.QueryCanceled):
                waiter.execute(query.encode())

        waiting = threading.Thread(target=wait)
        with written(behind):
            needing_it.start("upgrade", behind)
            pid = builder(behind)
            waiting.start()
            wait_for(lambda: blockers(behind, waiter.info.backend_pid))
        # It waits for the lock, whose holder waits for the build, which waits for its snapshot: for ever.
        wait_for(lambda: blockers(behind, pid) == [waiter.info.backend_pid])
        assert indexed(behind) == [False]
        waiter.cancel_safe()
        waiting.join()
    (said,) = needing_it.outcomes()
    assert said.applied == [NEXT]


# One at a time


@both_drivers
def test_two_processes_are_never_at_work_on_deferred_revisions(
    package: Package, another: Package, pending: str, call: Call
):
    with old_snapshot(pending):
        package.start("upgrade", pending, call=call)
        pid, guard = builder(pending), holder(pending)
        said = another("upgrade", pending, call=call, timeout=2)
        assert (said.applied, said.left, said.warnings) == ([], [NEXT], [])
        assert [line.partition(" (")[0] for line in said.told] == [
            f"left deferred revisions: left to pid {guard}"
        ]
        locked = another.ask("upgrade", pending, call=call, deferred="only", timeout=0.3)
        assert locked.error == "MigrationLockedError"
        assert locked.facts["found"].startswith(
            f"the lock of deferred revisions of schema public was held for 0.3 s by pid {guard} (todo-schema"
        )
        assert locked.told[0].startswith(f"waiting deferred revisions: waiting for pid {guard} (")
        assert builders(pending) == [pid]
        sessions = ours(pending)
        another.start("upgrade", pending, call=call, deferred="only")
        wait_for(lambda: ours(pending) > sessions)
    (did,) = package.outcomes()
    (waited,) = another.outcomes()
    assert (did.error, did.applied) == (None, [NEXT])
    assert (waited.error, waited.applied, waited.left) == (None, [], [])
    assert actions(pending) == [(NEXT, "defer"), (AFTER, "upgrade"), *DONE]


@both_drivers
def test_another_process_goes_on_where_the_one_at_work_was_killed(
    package: Package, another: Package, pending: str, call: Call
):
    with old_snapshot(pending):
        (victim,) = package.start("upgrade", pending, call=call)
        pid, guard = builder(pending), holder(pending)
        kill(victim)
        wait_for(lambda: holder(pending) != guard)
        another.start("upgrade", pending, call=call)
        wait_for(lambda: holder(pending))
        # The server goes on with the build of a client that has gone: nobody begins another one beside it.
        assert builders(pending) == [pid]
        before = execute(pending, f"SELECT '{PLAIN_INDEX}'::regclass::oid")
    assert package.outcomes()[0].error is not None
    (said,) = another.outcomes()
    assert (said.error, said.applied, said.left, said.warnings) == (None, [NEXT], [], [])
    # What was built, though nobody had written it down, is kept.
    assert execute(pending, f"SELECT '{PLAIN_INDEX}'::regclass::oid") == before
    assert indexed(pending) == [True, True]
    assert actions(pending) == [(NEXT, "defer"), (AFTER, "upgrade"), *DONE]


# What is needed goes first


@both_drivers
def test_what_a_newer_package_needs_cancels_deferred_work_that_is_in_its_way(
    first: Package, package: Package, behind: str, call: Call
):
    with old_snapshot(behind):
        first.start("upgrade", behind, call=call)
        builder(behind)
        said = package("upgrade", behind, call=call, deferred="skip", timeout=20)
        assert (said.applied, said.left) == ([AFTER], [NEXT])
        assert any(line.startswith(f"retrying {AFTER} waits for ") for line in said.told)
        (cancelled,) = first.outcomes()
    assert (cancelled.error, cancelled.applied, cancelled.left) == (None, [], [NEXT])
    (warning,) = cancelled.warnings
    assert f"WARNING revision {NEXT} is left for later" in warning
    assert "canceling statement due to user request" in warning
    assert indexed(behind) == [False]
    assert package("upgrade", behind, call=call).applied == [NEXT]
    assert indexed(behind) == [True, True]


# What builds on a deferred revision


@both_drivers
def test_what_builds_on_a_deferred_revision_finishes_it_first(last: Package, pending: str, call: Call):
    said = last("upgrade", pending, call=call, deferred="skip")
    assert (said.applied, said.left) == ([NEXT, LAST], [])
    assert actions(pending) == [(NEXT, "defer"), (AFTER, "upgrade"), *DONE, (LAST, "upgrade")]


@both_drivers
def test_a_contract_step_that_builds_on_a_deferred_revision_finishes_it_first(
    last: Package, pending: str, call: Call
):
    contract(pending)
    skip_to_last(pending)
    said = last("contract", pending, call=call)
    assert said.applied == [NEXT, CONTRACT]
    assert recorded(pending) == {LAST, CONTRACT}
    assert actions(pending)[-4:] == [*DONE, (CONTRACT, "upgrade")]


@both_drivers
@pytest.mark.parametrize(("name", "step"), [("upgrade", LAST), ("contract", CONTRACT)])
def test_what_builds_on_a_deferred_revision_waits_for_whoever_is_at_it(
    package: Package, last: Package, pending: str, call: Call, name: str, step: str
):
    contract(pending)
    with old_snapshot(pending):
        package.start("upgrade", pending, call=call)
        pid, guard = builder(pending), holder(pending)
        if name == "contract":
            skip_to_last(pending)
        locked = last.ask(name, pending, call=call, timeout=0.3)
        assert locked.error == "MigrationLockedError"
        assert locked.facts["found"].startswith(
            f"the lock of deferred revisions of schema public was held by pid {guard} (todo-schema"
        )
        assert f"SELECT pg_terminate_backend({guard});" in locked.facts["cure"]
        assert builders(pending) == [pid]
        last.start(name, pending, call=call)
        wait_for(lambda: execute(pending, MIGRATING))
    (said,) = last.outcomes()
    assert (said.error, said.applied) == (None, [step])
    (did,) = package.outcomes()
    assert (did.error, did.applied) == (None, [NEXT])


MIGRATING = f"SELECT FROM pg_locks WHERE locktype = 'advisory' AND classid = {LOCK_CLASS} AND granted"


def skip_to_last(url: str) -> None:
    """Move the version to the last one without what builds on the deferred revision."""
    execute(url, f"UPDATE todo_schema_version SET version_num = '{LAST}' WHERE version_num !~ '^c'")


@both_drivers
def test_what_is_put_off_is_not_undone_under_the_hands_of_who_carries_it_out(
    first: Package, package: Package, server: Server, behind: str, call: Call
):
    package("upgrade", behind, deferred="skip")
    package("downgrade", behind, to=HEAD)
    # It has looked, and found nothing deferred; then another process puts the revision off and begins with it.
    holding = Hold("pg_try_advisory_xact_lock", "before")
    with old_snapshot(behind) as old, Proxy(server, on_statement=holding) as proxy:
        package.start("downgrade", proxy.url(behind), call=call, to="base", timeout=0.3)
        assert holding.reached.wait(20)
        first.start("upgrade", behind)
        guard = (builder(behind), holder(behind))[1]
        holding.go.set()
        (locked,) = package.outcomes()
        assert locked.error == "MigrationLockedError"
        assert f"pid {guard} (todo-schema" in locked.facts["found"]
        assert recorded(behind) == {NEXT}
        old.rollback()
    (did,) = first.outcomes()
    assert (did.error, did.applied) == (None, [NEXT])
    assert package("downgrade", behind, to=HEAD, call=call).error is None
    assert indexed(behind) == []
