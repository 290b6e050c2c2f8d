"""Contract steps one after the other: each sets its floor, and one that is blocked leaves those before it."""

import pytest

from tests.support import contracting, packages, ways
from tests.support.contracting import FINISHED, Asked, everything, floors, leased, recorded, revisions_of
from tests.support.packages import CONTRACT, DROPPED
from tests.support.psql import apply, psql
from tests.support.revisions import CONTRACTS, LAST_FLOOR, NEXT, NEXT_VERSION
from tests.support.servers import Server
from tests.support.ways import Call, both_drivers
from todo_schema import SCHEMA_VERSION
from todo_schema.compatibility import HEAD, Line, revision_at

# A second pair: another schema version, and the contract step that requires it.
AFTER = f"{NEXT_VERSION + 1:03d}"
SECOND = revision_at(Line.CONTRACT, len(CONTRACTS) + 2)


def _second(text: str, changes: dict[str, str]) -> str:
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    return text


(_EXPAND,), (_CONTRACT,) = packages.NEXT_REVISION.values(), packages.NEXT_CONTRACT.values()
SECOND_PAIR = {
    f"{AFTER}_add_another.py": _second(
        _EXPAND, {f'"{NEXT}"': f'"{AFTER}"', f'"{HEAD}"': f'"{NEXT}"', packages.COLUMN: "throwaway_other"}
    ),
    f"{SECOND}_drop_{packages.COLUMN}.py": _second(
        _CONTRACT,
        {
            f'revision = "{CONTRACT}"\n': f'revision = "{SECOND}"\n',
            f"{packages.BELOW_CONTRACT}\n": f'down_revision = "{CONTRACT}"\n',
            f" = {NEXT_VERSION}\n": f" = {NEXT_VERSION + 1}\n",
            f'"{DROPPED}"': f'"{packages.COLUMN}"',
            f"            sa.{packages.DROPPED_RULE},\n": "",
            "More about it, or null.": "Anything else.",
        },
    ),
}


@pytest.fixture(scope="module")
def two_steps(server: Server, tmp_path_factory: pytest.TempPathFactory):
    """A package two schema versions ahead, with a contract step after each."""
    revisions = packages.NEXT_REVISION | packages.NEXT_CONTRACT | SECOND_PAIR
    folder = packages.throwaway_package(
        tmp_path_factory.mktemp("two"), revisions, edits=packages.WITHOUT_DESCRIPTION
    )
    packages.write_catalogues(folder, server)
    with contracting.asked(folder) as package:
        yield package


@both_drivers
def test_two_steps_are_applied_in_order_and_each_sets_its_floor(
    finished_database: str, two_steps: Asked, call: Call
):
    _, first, status, second, deep = two_steps(
        *(call, finished_database, "upgrade", ("contract", {"to": CONTRACT})),
        *("status", "contract", ("check", {"deep": True})),
    )
    assert (revisions_of(first), first["floor_after"]) == ([CONTRACT], NEXT_VERSION)
    assert [step["revision"] for step in status["contract_pending"]] == [SECOND]
    assert status["differences"] == status["extras"] == []
    assert (revisions_of(second), second["floor_after"]) == ([SECOND], NEXT_VERSION + 1)
    assert deep == "current"
    assert recorded(finished_database) == {AFTER, SECOND}
    assert floors(finished_database)[-2:] == [NEXT_VERSION, NEXT_VERSION + 1]
    # Nothing is left to do up to the first: the second stays.
    (nothing,) = two_steps(call, finished_database, ("contract", {"to": CONTRACT}))
    assert nothing["applied"] == []


@both_drivers
def test_a_step_that_is_blocked_leaves_the_steps_before_it_applied_and_is_repeated(
    finished_database: str, two_steps: Asked, call: Call
):
    two_steps(call, finished_database, "upgrade")
    with leased(finished_database, NEXT_VERSION):
        (refused,) = two_steps(call, finished_database, "contract")
        assert refused["error"] == "ContractBlockedError"
        assert refused["found"].startswith(f"contract revision {SECOND} would break services that are")
        assert [client["service"] for client in refused["clients"]] == ["billing-api"]
        assert recorded(finished_database) == {AFTER, CONTRACT}
        assert floors(finished_database)[-1] == NEXT_VERSION
        deep, status = two_steps(call, finished_database, ("check", {"deep": True}), "status")
    assert (deep, status["floor"]) == ("current", NEXT_VERSION)
    (pending,) = status["contract_pending"]
    assert (pending["revision"], pending["ready"]) == (SECOND, False)
    assert [client["service"] for client in pending["blocked_by"]] == ["billing-api"]
    (done,) = two_steps(call, finished_database, "contract")
    assert (revisions_of(done), done["floor_before"]) == ([SECOND], NEXT_VERSION)


@both_drivers
def test_a_client_below_the_first_floor_blocks_everything(
    finished_database: str, two_steps: Asked, call: Call
):
    two_steps(call, finished_database, "upgrade")
    before = everything(finished_database)
    with leased(finished_database, SCHEMA_VERSION):
        (refused,) = two_steps(call, finished_database, "contract")
    assert refused["error"] == "ContractBlockedError"
    assert f"contract revision {CONTRACT} would break" in refused["found"]
    assert everything(finished_database) == before


@both_drivers
@pytest.mark.parametrize("to", [CONTRACT, SECOND])
def test_a_package_that_is_newer_than_the_database_upgrades_it_before_it_contracts(
    expanded_database: str, two_steps: Asked, call: Call, to: str
):
    before = everything(expanded_database)
    status, refused = two_steps(call, expanded_database, "status", ("contract", {"to": to}))
    assert [step["ready"] for step in status["contract_pending"]] == [False, False]
    assert refused["error"] == "SchemaOutdatedError"
    assert everything(expanded_database) == before


@both_drivers
def test_a_package_may_contract_a_database_that_is_ahead_of_it(
    finished_database: str, contracting_asked: Asked, two_steps: Asked, call: Call
):
    two_steps(call, finished_database, "upgrade")
    (done,) = contracting_asked(call, finished_database, "contract")
    assert (done["before"], done["after"], revisions_of(done)) == ("ahead", "ahead", [CONTRACT])
    assert recorded(finished_database) == {AFTER, CONTRACT}
    deep, rest = two_steps(call, finished_database, ("check", {"deep": True}), "contract")
    assert (deep, revisions_of(rest)) == ("current", [SECOND])
    # The second step left the first package behind.
    (refused,) = contracting_asked(call, finished_database, "contract")
    assert refused["error"] == "SchemaTooNewError"


# With psql


def test_a_script_applies_each_step_in_a_transaction_of_its_own(finished_database: str, two_steps: Asked):
    _, script = two_steps(ways.psycopg, finished_database, "upgrade", ("sql", {"to": SECOND}))
    assert script.count("\nBEGIN ISOLATION LEVEL READ COMMITTED;") == script.count("\nCOMMIT;") == 2
    with leased(finished_database, NEXT_VERSION):
        done = psql(finished_database, script)
    assert done.returncode == 3
    assert f"would break: billing-api at schema {NEXT_VERSION}, pid " in done.stderr
    assert (recorded(finished_database), floors(finished_database)[-1]) == ({AFTER, CONTRACT}, NEXT_VERSION)
    (rest,) = two_steps(ways.psycopg, finished_database, ("sql", {"to": SECOND}))
    assert rest.count("\nCOMMIT;") == 1
    apply(finished_database, rest)
    (deep,) = two_steps(ways.psycopg, finished_database, ("check", {"deep": True}))
    assert (deep, recorded(finished_database)) == ("current", {AFTER, SECOND})


def test_a_script_stops_at_the_step_whose_schema_is_missing(expanded_database: str, two_steps: Asked):
    (script,) = two_steps(ways.psycopg, expanded_database, ("sql", {"to": SECOND}))
    done = psql(expanded_database, script)
    assert done.returncode == 3
    assert f"this contract revision requires schema {NEXT_VERSION + 1}" in done.stderr
    assert recorded(expanded_database) == {NEXT, CONTRACT}


def test_a_script_down_undoes_both_steps_each_before_the_schema_that_it_requires(
    finished_database: str, two_steps: Asked
):
    two_steps(ways.psycopg, finished_database, "upgrade", "contract")
    (script,) = two_steps(ways.psycopg, finished_database, ("sql", {"to": SCHEMA_VERSION}))
    order = [script.index(f"-- {name} ") for name in (SECOND, AFTER, CONTRACT, NEXT)]
    assert order == sorted(order)
    apply(finished_database, script)
    assert (recorded(finished_database), floors(finished_database)[-1]) == (FINISHED, LAST_FLOOR)
    assert ways.psycopg("check", finished_database, deep=True) == "current"
