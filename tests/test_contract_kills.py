"""A contract step that is killed at any moment has done nothing or all, and the next call ends well."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support import contracting, forker
from tests.support.contracting import CONTRACTED, EXPANDED, Asked, revisions_of
from tests.support.faults import WAITING_FOR_A_LOCK, Fault, moments_of
from tests.support.packages import CONTRACT, DROPPED
from tests.support.proxy import Moment, Proxy
from tests.support.revisions import CONTRACT_HEAD, LAST_FLOOR, NEXT_VERSION
from tests.support.servers import Server, execute
from tests.support.thorough import series
from tests.support.waiting import wait_for
from tests.support.ways import Call, asyncpg, both_drivers, psycopg

UP, DOWN = ("contract", {}), ("downgrade", {"to": CONTRACT_HEAD})
BEFORE, AFTER = (EXPANDED, LAST_FLOOR, True), (CONTRACTED, NEXT_VERSION, False)

# The step is one transaction: of the moments before its COMMIT, one of so many.
EVERY = series(3, 1)

At = tuple[int, Moment]
State = tuple[set[str], int, bool]


class Standing(NamedTuple):
    """What a database says: its version rows, the floor in force, whether the column is there, and the history."""

    recorded: set[str]
    floor: int
    column: bool
    history: list[str]

    @property
    def state(self) -> State:
        """All but the history."""
        return self[:3]


def standing(url: str) -> Standing:
    """Ask for all of it at once: it is asked for at every moment."""
    query = f"""SELECT array(SELECT version_num FROM todo_schema_version),
        (SELECT floor FROM todo_schema_history ORDER BY id DESC LIMIT 1),
        EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'tasks'::regclass AND attname = '{DROPPED}'),
        array(SELECT action || ' ' || revision FROM todo_schema_history ORDER BY id)"""
    ((recorded, *rest),) = execute(url, query)
    return Standing(set(recorded), *rest)


@pytest.fixture(scope="module")
def second(contracting_package: Path) -> Iterator[Asked]:
    """The contracting package once more, for what it does at the same time."""
    with contracting.asked(contracting_package) as package:
        yield package


def moments_of_the_step(
    server: Server, package: Asked, call: Call, url: str, question: contracting.Question
) -> list[At]:
    """Those of the one transaction that matters; what comes before it and after it only reads."""
    told: dict[int, str] = {}
    with Proxy(server, on_statement=lambda *said: told.update({said[1]: said[2]})) as proxy:
        (done,) = package(call, proxy.url(url), question)
    assert revisions_of(done) == [CONTRACT]
    *_, locked = (number for number, sql in told.items() if sql.startswith("LOCK TABLE"))
    first = max(number for number, sql in told.items() if sql.startswith("BEGIN") and number < locked)
    last = min(number for number, sql in told.items() if sql.startswith("COMMIT") and number > locked)
    assert last - first >= 12
    return moments_of({number: told[number] for number in range(first, last + 1)})


def assert_nothing_or_all(url: str, *, upward: bool, at: At, last: int) -> Standing:
    start, end = (BEFORE, AFTER) if upward else (AFTER, BEFORE)
    found = standing(url)
    assert found.state in (start, end), at
    # Only a COMMIT that the server has got may have been carried out.
    if at[0] < last or at[1] == "before":
        assert found.state == start, at
    return found


def repeat_and_go_back(
    package: Asked, call: Call, url: str, before: Standing, *, upward: bool, at: At
) -> None:
    """Do the same again, and then the opposite; each is recorded once, whoever did it."""
    end = AFTER if upward else BEFORE
    steps = (f"upgrade {CONTRACT}", f"downgrade {CONTRACT_HEAD}")
    done, undone = steps if upward else steps[::-1]
    again, deep = package(call, url, UP if upward else DOWN, ("check", {"deep": True}))
    after = standing(url)
    assert (after.state, deep) == (end, "current"), (at, again)
    assert after.history == before.history + [done] * (before.state != end), at
    package(call, url, DOWN if upward else UP)
    assert standing(url).history == [*after.history, undone], at


@pytest.mark.parametrize(
    ("call", "upward", "every"),
    [(psycopg, True, EVERY), (asyncpg, True, 4 * EVERY), (psycopg, False, 4 * EVERY)],
    ids=["contract", "contract on asyncpg", "its downgrade"],
)
def test_a_process_may_be_killed_before_and_inside_the_statements_of_the_step(
    server: Server,
    expanded_database: str,
    contracted_database: str,
    contracting_asked: Asked,
    second: Asked,
    call: Call,
    upward: bool,
    every: int,
):
    url = expanded_database if upward else contracted_database
    question = UP if upward else DOWN
    moments = moments_of_the_step(server, contracting_asked, call, url, question)
    contracting_asked(call, url, DOWN if upward else UP)
    last = moments[-1][0]
    for at in (*moments[:-3:every], *moments[-3:]):
        known = threading.Event()
        pids: list[int] = []

        def act(_: int, known: threading.Event = known, pids: list[int] = pids) -> None:
            known.wait()
            forker.kill(pids[0])

        fault = Fault(*at, act)
        with Proxy(server, on_statement=fault) as proxy:
            pids += second.start(call, proxy.url(url), question)
            known.set()
            (outcome,) = second.outcomes()
        assert fault.happened, at
        assert outcome["error"] == "ended with -9 and said nothing", at
        found = assert_nothing_or_all(url, upward=upward, at=at, last=last)
        repeat_and_go_back(contracting_asked, call, url, found, upward=upward, at=at)


@both_drivers
@pytest.mark.parametrize("way", ["terminated", "cut"])
def test_its_backend_or_its_connection_may_be_lost_at_any_statement_of_the_step(
    server: Server, expanded_database: str, contracting_asked: Asked, call: Call, way: str
):
    url = expanded_database
    moments = moments_of_the_step(server, contracting_asked, call, url, UP)
    contracting_asked(call, url, DOWN)
    last = moments[-1][0]
    # The three moments of COMMIT are the last.
    for at in (*moments[: -3 : 5 * EVERY], *moments[-3:]):

        def lose(connection: int) -> None:
            if way == "cut":
                proxy.cut(connection)
            else:
                server.terminate(proxy.backend_pid(connection))

        fault = Fault(*at, lose)
        with Proxy(server, on_statement=fault) as proxy:
            (answer,) = contracting_asked(call, proxy.url(url), UP)
        assert fault.happened, at
        # Where COMMIT was carried out, it is the look afterwards that fails.
        said = {
            "MigrationFailedError": " was lost while revision ",
            "DatabaseUnreachableError": "no connection to ",
        }
        assert said[answer["error"]] in answer["found"], (at, answer)
        found = assert_nothing_or_all(url, upward=True, at=at, last=last)
        repeat_and_go_back(contracting_asked, call, url, found, upward=True, at=at)


@both_drivers
@pytest.mark.parametrize("statement", ["LOCK TABLE", "generate_series(", "ALTER TABLE tasks", "COMMIT"])
def test_a_worker_that_has_lost_its_guard_applies_nothing_twice(
    server: Server,
    expanded_database: str,
    contracting_asked: Asked,
    second: Asked,
    call: Call,
    statement: str,
):
    """The worker is held back until a second process, which got the lock, has gone as far as it can."""
    others: list[Future[list[Any]]] = []

    def lose_the_guard(_: int) -> None:
        server.terminate(proxy.backend_pid(1))
        others.append(threads.submit(second, call, expanded_database, UP))
        wait_for(lambda: others[0].done() or execute(expanded_database, WAITING_FOR_A_LOCK))

    fault = Later("LOCK TABLE", statement, lose_the_guard)
    with ThreadPoolExecutor() as threads, Proxy(server, on_statement=fault) as proxy:
        (first,) = contracting_asked(call, proxy.url(expanded_database), UP)
        (other,) = others[0].result()
    assert sorted([*revisions_of(first), *revisions_of(other)]) == [CONTRACT]
    left = standing(expanded_database)
    assert left.state == AFTER
    assert left.history.count(f"upgrade {CONTRACT}") == 1


class Later(Fault):
    """A fault before a statement that comes at or after another one."""

    def __init__(self, other: str, statement: str, act: Callable[[int], None]) -> None:
        super().__init__(statement, "before", act)
        self._other = other
        self._seen = False

    def __call__(self, connection: int, number: int, sql: str, moment: Moment) -> None:
        self._seen = self._seen or self._other in sql
        if self._seen:
            super().__call__(connection, number, sql, moment)
