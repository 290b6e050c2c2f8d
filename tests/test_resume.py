"""A revision of several parts that dies anywhere goes on where it stopped, and ends as one that was left alone."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import psycopg
import pytest

from tests.support import clusters, contracting, forker, packages
from tests.support.contracting import CONTRACTED, EXPANDED, Asked, floors, recorded
from tests.support.in_parts import (
    BEFORE,
    REVISIONS,
    UP,
    WAYS,
    WIDENED,
    Ended,
    dies,
    ended,
    goes_on,
    moments_by_kind,
    seeded,
    shut,
)
from tests.support.online import facts
from tests.support.revisions import LAST_FLOOR, NEXT, NEXT_VERSION
from tests.support.servers import Server, execute
from tests.support.states import rows
from tests.support.thorough import series
from tests.support.waiting import wait_for
from tests.support.ways import Call, asyncpg, both_drivers
from tests.support.ways import psycopg as blocking
from todo_schema import SCHEMA_VERSION, SchemaTooNewError, check, upgrade
from todo_schema.compatibility import HEAD


@pytest.fixture(scope="module")
def package(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    folder = packages.throwaway_package(tmp_path_factory.mktemp("resume"), REVISIONS)
    packages.write_catalogues(folder, server)
    with contracting.asked(folder) as running:
        yield running


@pytest.fixture(scope="module")
def templates(server: Server, package: Asked) -> dict[str, str]:
    """For each way a database that it may begin in, to be copied."""
    urls = {}
    for way, questions in BEFORE.items():
        urls[way] = seeded(server)
        package(blocking, urls[way], *questions)
    return urls


@pytest.fixture(scope="module")
def clean(server: Server, package: Asked, templates: dict[str, str]) -> dict[str, Ended]:
    """What an undisturbed run of each way leaves."""
    left = {}
    for way, question in WAYS.items():
        url = server.create_database(template=templates[way])
        (report,) = package(blocking, url, question)
        assert "error" not in report, report
        left[way] = ended(url)
        server.drop_database(url)
    return left


@contextmanager
def copied(server: Server, template: str) -> Iterator[str]:
    url = server.create_database(template=template)
    yield url
    server.drop_database(url)


@pytest.mark.parametrize(
    ("way", "call", "how", "every"),
    [
        ("up", blocking, "killed", series(29, 15)),
        ("up", blocking, "terminated", series(43, 29)),
        ("up", asyncpg, "killed", series(53, 31)),
        ("down", blocking, "killed", 23),
        ("contract", blocking, "killed", series(37, 23)),
        ("widen", asyncpg, "terminated", 31),
    ],
    ids=["up, killed", "up, terminated", "up on asyncpg, killed", "down", "contract", "widen on asyncpg"],
)
def test_a_run_may_die_at_any_statement(
    server: Server,
    package: Asked,
    templates: dict[str, str],
    clean: dict[str, Ended],
    way: str,
    call: Call,
    how: str,
    every: int,
):
    with copied(server, templates[way]) as url:
        moments = moments_by_kind(server, package, call, url, way)
    for at in moments[1::every]:
        with copied(server, templates[way]) as url:
            dies(server, package, call, url, way, at, how)
            goes_on(server, package, call, url, way, clean, at)


INSIDE = {
    "an index build": (1, "CREATE INDEX CONCURRENTLY"),
    "a validation": (2, "VALIDATE CONSTRAINT"),
    "the second batch of a backfill": (3, "id BETWEEN"),
}


@both_drivers
@pytest.mark.parametrize("how", ["killed", "terminated"])
@pytest.mark.parametrize("part", INSIDE)
def test_a_run_may_die_inside_a_long_part(
    server: Server,
    package: Asked,
    templates: dict[str, str],
    clean: dict[str, Ended],
    part: str,
    how: str,
    call: Call,
):
    """The session of a process that was killed goes on by itself, and the next run comes while it does."""
    gate, statement = INSIDE[part]
    at_work = f"SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND query LIKE '%{statement}%'"
    with copied(server, templates["up"]) as url, ThreadPoolExecutor() as threads:
        with shut(url, gate):
            (pid,) = package.start(call, url, UP)
            ((backend,),) = wait_for(lambda: execute(url, f"{at_work} AND datname = current_database()"))
            if how == "killed":
                forker.kill(pid)
            else:
                execute(url, f"SELECT pg_terminate_backend({backend}, 5000)")
            package.outcomes()
            if part.startswith("the second"):
                assert [action for (action,) in rows(url, "action")][-1] == "part 5 of 10 at 10, 10 rows"
            index = execute(url, "SELECT oid FROM pg_class WHERE relname = 'ix_n'")
            next_run = threads.submit(goes_on, server, package, call, url, "up", clean, part)
            wait_for(lambda: next_run.done() or execute(url, COME, (backend,)))
        next_run.result()
        if gate > 1 or how == "killed":
            assert execute(url, "SELECT oid FROM pg_class WHERE relname = 'ix_n'") == index


# Waits at the gate, for a lock, or for whoever builds the index.
COME = """SELECT FROM pg_stat_activity WHERE datname = current_database() AND pid NOT IN (%s, pg_backend_pid())
    AND (wait_event = 'PgSleep' OR wait_event_type = 'Lock' OR query LIKE '%%''ShareUpdateExclusiveLock''%%')"""


def test_the_server_may_be_restarted_in_a_build(package: Asked):
    with clusters.own_server() as running:
        url = seeded(running)
        for mode in ("fast", "immediate"):
            with suppress(psycopg.OperationalError), shut(url, 1):
                package.start(blocking, url, UP)
                wait_for(lambda: execute(url, "SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep'"))
                running.restart(mode)
            ((answer,),) = (outcome["result"] for outcome in package.outcomes())
            assert answer["error"] in ("MigrationFailedError", "DatabaseUnreachableError")
            # After a crash it may be gone: a test's server does not wait for its commits to be on the disk.
            valid = execute(url, "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('ix_n')")
            assert valid == [(False,)] or (mode == "immediate" and valid == [])
        (report,) = package(blocking, url, UP)
        assert report["after"] == "current"
        assert execute(url, "SELECT FROM pg_index WHERE NOT indisvalid") == []
        assert execute(url, "SELECT DISTINCT n FROM tasks") == [(1,)]


def refused(url: str) -> bool:
    """Whether an older package, this one, may use the database no more."""
    try:
        check(url)
    except SchemaTooNewError:
        return True
    return False


@both_drivers
def test_the_floor_rises_before_a_contract_step_and_falls_after_it(
    server: Server, package: Asked, templates: dict[str, str], clean: dict[str, Ended], call: Call
):
    with copied(server, templates["contract"]) as url:
        assert not refused(url)
        dies(server, package, call, url, "contract", ("CREATE INDEX CONCURRENTLY", "before"), "killed")
        assert refused(url)
        assert recorded(url) == EXPANDED
        with pytest.raises(SchemaTooNewError):
            upgrade(url)
        dies(server, package, call, url, "contract", ("DROP COLUMN", "before"), "terminated")
        assert refused(url)
        goes_on(server, package, call, url, "contract", clean, "contract")
        assert refused(url)
        for statement in ("ADD COLUMN", "todo_rows", "DROP INDEX CONCURRENTLY"):
            dies(server, package, call, url, "widen", (statement, "before"), "killed")
            assert refused(url)
            assert recorded(url) == CONTRACTED
        package(call, url, WIDENED)
        assert not refused(url)
        assert (recorded(url), floors(url)[-1]) == (EXPANDED, LAST_FLOOR)


@both_drivers
@pytest.mark.parametrize("following", ["up", "down"])
def test_an_undo_that_died_is_ended_first(
    server: Server,
    package: Asked,
    templates: dict[str, str],
    clean: dict[str, Ended],
    following: str,
    call: Call,
):
    with copied(server, templates["down"]) as url:
        dies(server, package, call, url, "down", ("DROP COLUMN", "before"), "killed")
        assert recorded(url) == {HEAD}
        assert not refused(url)
        assert execute(url, "SELECT n IS NULL, count(*) FROM tasks GROUP BY 1") == [(False, 70)]
        (report,) = package(call, url, WAYS[following])
        assert report.get("version_after") == (NEXT_VERSION if following == "up" else SCHEMA_VERSION), report
        history = rows(url, "revision, action")
        assert history.count((NEXT, "undone")) == 1
        assert history.count((NEXT, "undo 2 of 5")) == 1
        assert execute(url, "SELECT DISTINCT title FROM tasks") == [("x+",)]
        if following == "up":
            assert (NEXT, "part 1 of 10") in history[history.index((NEXT, "undone")) :]
            assert facts(url) == clean["up"][0]
            assert execute(url, "SELECT DISTINCT n FROM tasks") == [(1,)]
