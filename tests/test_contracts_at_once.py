"""Contract steps, boots and other people's locks at the same time: one outcome, recorded once."""

from collections.abc import Iterator

import psycopg as driver
import pytest

from tests.support import contracting, forker
from tests.support.contracting import (
    CONTRACTED,
    EXPANDED,
    ROW_AFTER,
    Asked,
    everything,
    floors,
    recorded,
    revisions_of,
)
from tests.support.packages import CONTRACT
from tests.support.proxy import Moment, Proxy
from tests.support.revisions import LAST_FLOOR, NEXT, NEXT_VERSION
from tests.support.servers import Server, execute
from tests.support.states import FLOOR, rows
from tests.support.waiting import wait_for
from tests.support.ways import Call, both_drivers
from todo_schema import contract
from todo_schema.compatibility import HEAD
from todo_schema.locks import try_lock_query

RACERS = 8
ROUNDS = 3


@pytest.fixture(scope="module")
def booting(contracting_package) -> Iterator[Asked]:
    """The contracting package once more, for what it does at the same time."""
    with contracting.asked(contracting_package) as package:
        yield package


@pytest.fixture(scope="module")
def old_replicas() -> Iterator[forker.Forker]:
    """Replicas of this package."""
    with forker.forker() as running:
        yield running


def answers_of(package: Asked) -> list[dict]:
    """What each of those that were started answered to its one question."""
    outcomes = package.outcomes()
    assert [outcome["error"] for outcome in outcomes if not outcome["ok"]] == []
    return [said.get("answer", said) for outcome in outcomes for said in outcome["result"]]


def assert_applied_once(url: str, answers: list[dict]) -> None:
    assert [answer for answer in answers if "error" in answer] == []
    assert [revisions_of(answer) for answer in answers if answer["applied"]] == [[CONTRACT]]
    assert recorded(url) == CONTRACTED
    assert rows(url, "revision, action")[-1] == (CONTRACT, "upgrade")


@both_drivers
def test_of_many_that_contract_at_once_one_applies_the_step_and_none_fails(
    server: Server, templates: dict[str, str], contracting_asked: Asked, call: Call
):
    for _ in range(ROUNDS):
        url = server.create_database(template=templates["expanded"])
        with Proxy(server, barrier=RACERS) as proxy:
            contracting_asked.start(call, proxy.url(url), "contract", n=RACERS)
            answers = answers_of(contracting_asked)
        assert_applied_once(url, answers)
        assert {answer["floor_after"] for answer in answers} == {NEXT_VERSION}
        server.drop_database(url)


@both_drivers
def test_beside_a_contract_step_replicas_boot_and_the_old_ones_are_refused_or_ahead(
    server: Server,
    templates: dict[str, str],
    contracting_asked: Asked,
    booting: Asked,
    old_replicas: forker.Forker,
    call: Call,
):
    for _ in range(ROUNDS):
        url = server.create_database(template=templates["expanded"])
        with Proxy(server, barrier=3 * 4) as proxy:
            contracting_asked.start(call, proxy.url(url), "contract", n=4)
            booting.start(call, proxy.url(url), "upgrade", n=4)
            old_replicas.start(proxy.url(url), 4)
            contracts, boots, old = (
                answers_of(contracting_asked),
                answers_of(booting),
                old_replicas.outcomes(),
            )
        assert_applied_once(url, contracts)
        assert [(boot["after"], boot["applied"]) for boot in boots] == [("current", [])] * 4
        assert {outcome["kind"] or outcome["result"]["after"] for outcome in old} <= {
            "ahead",
            "SchemaTooNewError",
        }
        server.drop_database(url)


@both_drivers
def test_a_contract_beside_the_upgrade_that_it_needs_comes_too_early_or_goes_through(
    server: Server, template: str, contracting_asked: Asked, booting: Asked, call: Call
):
    for _ in range(ROUNDS):
        url = server.create_database(template=template)
        contract(url)
        before = rows(url, "action")
        with Proxy(server, barrier=RACERS) as proxy:
            contracting_asked.start(call, proxy.url(url), "contract", n=RACERS // 2)
            booting.start(call, proxy.url(url), "upgrade", n=RACERS // 2)
            contracts, boots = answers_of(contracting_asked), answers_of(booting)
        assert [revisions_of(boot) for boot in boots if boot["applied"]] == [[NEXT]]
        early = [answer for answer in contracts if "error" in answer]
        assert {answer["error"] for answer in early} <= {"SchemaOutdatedError"}
        steps = [revisions_of(answer) for answer in contracts if answer not in early and answer["applied"]]
        assert steps == [[CONTRACT]] * (len(early) < len(contracts))
        assert recorded(url) == (CONTRACTED if steps else EXPANDED)
        assert rows(url, "action") == [*before, *[("upgrade",)] * (1 + len(steps))]
        server.drop_database(url)


# Other people's locks


@both_drivers
def test_a_step_that_does_not_get_its_lock_lets_go_and_tries_again(
    server: Server, expanded_database: str, contracting_asked: Asked, call: Call
):
    tries: list[int] = []

    def let_go_at_the_second_try(connection: int, number: int, sql: str, moment: Moment) -> None:
        if "ALTER TABLE tasks" in sql and moment == "before":
            # asyncpg sends a statement in two parts; the lock is asked for in each try once.
            tries.append(number)
            began = execute(
                expanded_database, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'r'"
            )
            if began == [(1,)] and number > tries[0] + 5:
                reader.rollback()
                reader.close()

    with (
        driver.connect(f"{expanded_database}&application_name=r") as reader,
        Proxy(server, on_statement=let_go_at_the_second_try) as proxy,
    ):
        reader.execute("SELECT FROM tasks")
        (done,) = contracting_asked(call, proxy.url(expanded_database), "contract")
    assert revisions_of(done) == [CONTRACT]
    assert max(tries) > tries[0] + 5
    assert floors(expanded_database)[-2:] == [LAST_FLOOR, NEXT_VERSION]


@both_drivers
def test_a_step_that_never_gets_its_lock_names_who_holds_it_and_changes_nothing(
    expanded_database: str, contracting_asked: Asked, call: Call
):
    before = everything(expanded_database)
    with driver.connect(f"{expanded_database}&application_name=report") as reader:
        reader.execute("SELECT FROM tasks")
        (refused,) = contracting_asked(call, expanded_database, ("contract", {"timeout": 0.1}))
        pid = reader.info.backend_pid
    assert refused["error"] == "MigrationLockedError"
    assert f"revision {CONTRACT} could not lock the tables of schema public" in refused["found"]
    assert f"pid {pid} (report, role " in refused["found"]
    assert f"SELECT pg_terminate_backend({pid});" in refused["cure"]
    assert everything(expanded_database) == before
    (done,) = contracting_asked(call, expanded_database, "contract")
    assert revisions_of(done) == [CONTRACT]


@both_drivers
def test_whoever_migrates_is_waited_for_and_named(
    expanded_database: str, contracting_asked: Asked, call: Call
):
    before = everything(expanded_database)
    with driver.connect(f"{expanded_database}&application_name=migrating") as holder:
        assert holder.execute(try_lock_query("public")).rowcount == 1
        (refused,) = contracting_asked(call, expanded_database, ("contract", {"timeout": 0.2}))
        assert refused["error"] == "MigrationLockedError"
        assert "was held for 0.2 s by pid " in refused["found"]
        assert "(migrating, role " in refused["found"]
        assert everything(expanded_database) == before
        contracting_asked.start(call, f"{expanded_database}&application_name=patient", "contract")
        waiting = "SELECT FROM pg_stat_activity WHERE application_name = 'patient'"
        wait_for(lambda: execute(expanded_database, waiting))
    (done,) = answers_of(contracting_asked)
    assert revisions_of(done) == [CONTRACT]


# What somebody else does meanwhile, and what the answer is then.
MEANWHILE = {
    "undone": (
        f"UPDATE todo_schema_version SET version_num = '{HEAD}' WHERE version_num = '{NEXT}'",
        "SchemaOutdatedError",
    ),
    "moved on": (FLOOR.replace(f", {NEXT_VERSION}, ", f", {NEXT_VERSION + 1}, "), "SchemaTooNewError"),
    "contracted": (ROW_AFTER, None),
}


@both_drivers
@pytest.mark.parametrize("case", MEANWHILE)
def test_what_changes_while_it_waits_for_the_lock_is_seen(
    server: Server, expanded_database: str, contracting_asked: Asked, call: Call, case: str
):
    change, error = MEANWHILE[case]
    tries = try_lock_query("public")
    with driver.connect(expanded_database) as holder, Proxy(server) as proxy:
        assert holder.execute(tries).rowcount == 1
        contracting_asked.start(call, proxy.url(expanded_database), "contract")
        wait_for(lambda: [statement for statement in proxy.statements if tries in statement.sql])
        execute(expanded_database, change)
        before = everything(expanded_database)
        holder.rollback()
        (answer,) = answers_of(contracting_asked)
    assert answer.get("error") == error
    assert answer.get("applied") == (None if error else [])
    assert everything(expanded_database) == before
