"""Between a lease and a contract step there is no window: each side is stopped at each of its steps.

The old side is this checkout: it takes its lease, then reads the floor. The new one drops a column that the old one
reads: it asks for the leases, then commits. In whatever order these four come, either the step is applied and the
old session refused, or the session is open and the step refused.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import packages
from tests.support.holding import (
    BEFORE_THE_FLOOR,
    BEFORE_THE_LEASE,
    Hold,
    build_gates,
    gate_shut,
    wait_at_gate,
)
from tests.support.leases import MESSAGE
from tests.support.peers import SERVICE, Answer, Stage, peer
from tests.support.proxy import Moment, Proxy
from tests.support.revisions import LAST_FLOOR, NEWEST_CONTRACT, NEXT
from tests.support.servers import Server, execute
from tests.support.states import rows
from tests.support.thorough import series
from tests.support.waiting import wait_for
from todo_schema import SCHEMA_VERSION

# In the question whether leases are held, and in no other statement of the step.
CLAIM = "generate_series("
UNDEFINED_COLUMN = "42703"

both_drivers = pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])

# Each takes away what closes a window: (file, text, text to put there instead).
NO_CLAIM = (
    "runner.py",
    "leaseholders.claim(wire, found, revision.revision, revision.line, *concerned)",
    "pass",
)
# Sees who is connected, as a registry of instances would, and keeps nobody out meanwhile.
ONLY_A_LOOK = (
    "leases.py",
    'f"WHERE NOT pg_try_advisory_xact_lock({key}, version)"',
    'f"WHERE NOT (pg_try_advisory_lock({key}, version) AND pg_advisory_unlock({key}, version))"',
)
FLOOR_FIRST = [
    (
        "leases.py",
        '    answer = f"CASE',
        '    first, doubt = doubt, "current_setting(\'todo_schema.floor\')::int"\n    answer = f"CASE',
    ),
    (
        "leases.py",
        '            f"SET LOCAL lock_timeout',
        (
            "            f\"SELECT set_config('todo_schema.floor', ({first})::text, true)\",\n"
            '            f"SET LOCAL lock_timeout'
        ),
    ),
]
ONE_STATEMENT = [
    ("leases.py", "CASE {_LEASE} WHEN 'busy'", "CASE {lease} WHEN 'busy'"),
    (
        "leases.py",
        "set_config('todo_schema.lease', {lease}, true)",
        "set_config('todo_schema.lease', '', true)",
    ),
]
ONE_SNAPSHOT = [("leases.py", '            "SET TRANSACTION ISOLATION LEVEL READ COMMITTED",\n', "")]


def assert_blocked(step: Answer, url: str) -> None:
    """Assert that the step was refused by the name of the old service, and has left no trace."""
    assert step.error == "ContractBlockedError", step
    assert f"{SERVICE}: schema {SCHEMA_VERSION}, 1 connection" in step.text
    assert [(client["service"], client["schema_version"]) for client in step.result] == [
        (SERVICE, SCHEMA_VERSION)
    ]
    assert rows(url, "revision, floor")[-1] == (NEWEST_CONTRACT or NEXT, LAST_FLOOR)


def assert_applied(step: Answer, connect: Answer) -> None:
    """Assert that the step was applied, and that the old side was refused."""
    assert step.result == [packages.CONTRACT], step
    assert connect.error == "SchemaTooNewError", connect


@both_drivers
@pytest.mark.parametrize("then", [[], ["use"], ["use", "hand_back"]], ids=["idle", "in use", "in the pool"])
def test_an_open_connection_has_the_step_refused_until_it_is_closed(
    stage: Stage, driver: str, then: list[str]
):
    stage.old.do("connect", url=stage.url, driver=driver)
    for request in then:
        stage.old.do(request)
    assert_blocked(stage.new.ask("contract", url=stage.url), stage.url)
    stage.old.do("hand_back")
    stage.old.do("connect_and_use", url=stage.url, driver=driver)
    stage.leave()
    step = stage.new.ask("contract", url=stage.url)
    assert_applied(step, stage.old.ask("connect", url=stage.url, driver=driver))


def test_a_connection_that_was_open_before_the_factory_is_admitted_at_its_first_session(stage: Stage):
    stage.old.do("fill_pool", url=stage.url)
    stage.old.do("connect", url=stage.url, driver="psycopg")
    assert_blocked(stage.new.ask("contract", url=stage.url), stage.url)
    stage.leave()
    stage.old.do("fill_pool", url=stage.url)
    step = stage.new.ask("contract", url=stage.url)
    assert_applied(step, stage.old.ask("connect", url=stage.url, driver="psycopg"))


@both_drivers
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_connect_message_comes_too_late_before_it_is_sent_and_counts_once_it_is_answered(
    server: Server, stage: Stage, driver: str, moment: Moment
):
    hold = Hold(MESSAGE, moment)
    with Proxy(server, on_statement=hold) as proxy:
        stage.old.tell("connect_and_use", url=proxy.url(stage.url), driver=driver)
        assert hold.reached.wait(20)
        step = stage.new.ask("contract", url=stage.url)
        hold.go.set()
        connect = stage.old.answer()
        if moment == "before":
            assert_applied(step, connect)
        else:
            assert_blocked(step, stage.url)
            assert connect.error is None, connect
        stage.old.do("leave")


@both_drivers
@pytest.mark.parametrize("isolation", ["read committed", "repeatable read", "serializable"])
def test_a_connect_message_comes_too_late_before_it_has_its_lease_and_counts_before_it_reads_the_floor(
    stage: Stage, driver: str, isolation: str
):
    build_gates(stage.url)
    set_isolation(stage.url, isolation)
    step, connect = contract_at_gate(stage, BEFORE_THE_FLOOR, driver)
    assert_blocked(step, stage.url)
    assert connect.error is None, connect
    stage.old.do("use")
    stage.leave()
    assert_applied(*contract_at_gate(stage, BEFORE_THE_LEASE, driver))


@pytest.mark.parametrize(
    ("gate", "broken"),
    [
        pytest.param(BEFORE_THE_FLOOR, FLOOR_FIRST, id="the floor is read before the lease is taken"),
        pytest.param(BEFORE_THE_LEASE, ONE_STATEMENT, id="both in one statement"),
        pytest.param(BEFORE_THE_LEASE, ONE_SNAPSHOT, id="both in one snapshot"),
    ],
)
def test_a_connect_message_that_takes_a_short_cut_leaves_a_window(
    stage: Stage, tmp_path: Path, gate: int, broken: list[tuple[str, str, str]]
):
    """That a window would be seen, shown by packages that have one."""
    build_gates(stage.url)
    set_isolation(stage.url, "repeatable read")
    with peer(packages.throwaway_package(tmp_path, edits=broken)) as old:
        step, connect = contract_at_gate(stage._replace(old=old), gate)
        assert (step.error, connect.error) == (None, None), (step, connect)
        assert old.ask("use").sqlstate == UNDEFINED_COLUMN


def set_isolation(url: str, isolation: str) -> None:
    """Set the default of all that connect to a database."""
    execute(
        url,
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation = %L',"
        f" current_database(), '{isolation}'); END $$",
    )


def contract_at_gate(stage: Stage, gate: int, driver: str = "asyncpg") -> tuple[Answer, Answer]:
    """Run the step while the old side's connect message stands at a gate; return what became of both."""
    with gate_shut(stage.url, gate):
        stage.old.tell("connect", url=stage.url, driver=driver)
        wait_at_gate(stage.url)
        step = stage.new.ask("contract", url=stage.url)
        assert not stage.old.has_answered()
    return step, stage.old.answer()


@pytest.fixture
def way(server: Server) -> Iterator[Proxy]:
    """The way of the old side to the server."""
    with Proxy(server) as proxy:
        yield proxy


@pytest.mark.parametrize(("driver", "every"), [("asyncpg", series(3, 1)), ("psycopg", series(9, 3))])
def test_at_each_statement_of_the_step_a_newcomer_is_seen_or_waits_and_is_refused(
    server: Server, stage: Stage, way: Proxy, driver: str, every: int
):
    statements, claim, commit = statements_of_the_step(server, stage)
    # Where the answer becomes another one, and some of those between.
    tips = {claim, claim + 1, commit, commit + 1}
    moments: list[tuple[int, Moment]] = [
        (number, "before") for place, number in enumerate(statements) if number in tips or place % every == 0
    ]
    for number, moment in [*moments, (commit, "after")]:
        step, connect, waited = connect_at(Hold(number, moment), server, stage, way, driver)
        outcome = (step.error, connect.error, waited)
        if number <= claim:
            expected = ("ContractBlockedError", None, False)
        else:
            has_ended = number > commit or moment == "after"
            expected = (None, "SchemaTooNewError", not has_ended)
        assert outcome == expected, (statements[number], moment, step, connect)


@both_drivers
def test_while_the_server_works_on_a_statement_of_the_step_it_is_one_or_the_other(
    server: Server, stage: Stage, way: Proxy, driver: str
):
    """Here nobody decides who comes first: the server has the statement as the newcomer starts."""
    statements, claim, commit = statements_of_the_step(server, stage)
    for number in range(claim - 1, commit + 1):
        step, connect, _ = connect_at(Hold(number, "inside"), server, stage, way, driver)
        one_or_the_other = {("ContractBlockedError", None), (None, "SchemaTooNewError")}
        assert (step.error, connect.error) in one_or_the_other, (statements[number], step, connect)


@pytest.mark.parametrize("broken", [NO_CLAIM, ONLY_A_LOOK], ids=["it asks nobody", "it only looks"])
def test_a_step_that_keeps_nobody_out_leaves_a_window(
    server: Server,
    stage: Stage,
    way: Proxy,
    contracting_package: Path,
    tmp_path: Path,
    broken: tuple[str, str, str],
):
    """That a window would be seen here, too."""
    with peer(packages.edited_copy(contracting_package, tmp_path, broken)) as new:
        step, connect, _ = connect_at(Hold("UPDATE", "before"), server, stage._replace(new=new), way)
    assert step.error is None, step
    assert connect.sqlstate == UNDEFINED_COLUMN


def statements_of_the_step(server: Server, stage: Stage) -> tuple[dict[int, str], int, int]:
    """The statements of `contract` by their numbers, on all its connections; where it asks, and where it commits."""
    told: dict[int, str] = {}
    with Proxy(server, on_statement=lambda *call: told.update({call[1]: call[2]})) as proxy:
        assert stage.new.do("contract", url=proxy.url(stage.url)) == [packages.CONTRACT]
    stage.new.do("undo", url=stage.url)
    claim = next(number for number, sql in told.items() if CLAIM in sql)
    commit = next(number for number, sql in told.items() if number > claim and sql == "COMMIT")
    assert 20 < claim < commit < len(told)
    return told, claim, commit


def connect_at(
    hold: Hold, server: Server, stage: Stage, way: Proxy, driver: str = "asyncpg"
) -> tuple[Answer, Answer, bool]:
    """Connect from the old side while the step is held, read when the step has ended, and make all undone.

    Returns:
        What became of the step and of the old side, and whether the latter had to wait for the former.

    """
    way.reset()
    with Proxy(server, on_statement=hold) as proxy:
        stage.new.tell("contract", url=proxy.url(stage.url))
        assert hold.reached.wait(20)
        stage.old.tell("connect", url=way.url(stage.url), driver=driver)
        # Who asks for a lease a second time has been told to wait.
        wait_for(lambda: stage.old.has_answered() or sum(MESSAGE in said.sql for said in way.statements) > 1)
        waited = not stage.old.has_answered()
        hold.go.set()
        step, connect = stage.new.answer(), stage.old.answer()
    if connect.error is None:
        connect = stage.old.ask("use")
    stage.leave()
    stage.new.do("undo", url=stage.url)
    return step, connect, waited
