"""The contract step with psql: the script does what `contract` does, or stops and changes nothing."""

import pytest

from tests.support.catalog_dump import dump, unordered
from tests.support.contracting import (
    CONTRACTED,
    EXPANDED,
    FINISHED,
    Asked,
    everything,
    floors,
    leased,
    recorded,
    revisions_of,
)
from tests.support.packages import CONTRACT
from tests.support.psql import apply, psql
from tests.support.revisions import CONTRACT_HEAD, CONTRACTS, LAST_FLOOR, NEXT, NEXT_VERSION
from tests.support.servers import execute
from tests.support.states import NO_ROW, rows
from tests.support.ways import Call, both_drivers, psycopg
from todo_schema import SCHEMA_VERSION, SchemaTooNewError, State, check, contract, upgrade
from todo_schema.compatibility import HEAD

UP = ("sql", {"to": CONTRACT})
DEEP_CHECK = ("check", {"deep": True})


@pytest.fixture
def script(contracting_asked: Asked) -> str:
    """The script of the step, made without asking a database."""
    (text,) = contracting_asked(psycopg, None, ("sql", {"to": CONTRACT, "start": CONTRACT_HEAD}))
    return text


def assert_stops(url: str, script: str, said: str) -> None:
    before = everything(url)
    done = psql(url, script)
    assert done.returncode == 3
    assert said in done.stderr
    assert everything(url) == before


@both_drivers
def test_a_database_that_the_script_contracted_is_like_one_that_contract_did(
    expanded_database: str, contracted_database: str, contracting_asked: Asked, call: Call
):
    (script,) = contracting_asked(call, expanded_database, UP)
    assert f"schema {CONTRACT_HEAD} -> {CONTRACT} in 'public'" in script
    apply(expanded_database, script)
    upgrade_again, again, deep, status, nothing = contracting_asked(
        call, expanded_database, "upgrade", "contract", DEEP_CHECK, "status", UP
    )
    assert (upgrade_again["before"], upgrade_again["applied"], again["applied"]) == ("current", [], [])
    assert (deep, status["contract"], status["floor"]) == ("current", CONTRACT, NEXT_VERSION)
    assert "nothing to apply" in nothing
    assert recorded(expanded_database) == CONTRACTED
    assert dump(expanded_database) == dump(contracted_database)
    facts = "revision, line, ordinal, action, floor, package_version, checksum, role, duration > '0'"
    assert rows(expanded_database, facts) == rows(contracted_database, facts)
    assert rows(expanded_database, "host, application_name")[-1] == ("offline script", "psql")
    with pytest.raises(SchemaTooNewError):
        upgrade(expanded_database)


@both_drivers
def test_without_a_database_the_script_starts_before_the_first_step(
    expanded_database: str, contracting_asked: Asked, call: Call
):
    starts = [("sql", {"to": CONTRACT, "start": start}) for start in ("c000", "base", NEXT, CONTRACT_HEAD)]
    *scripts, step = contracting_asked(call, None, UP, *starts)
    assert len(set(scripts)) == 1
    assert [step] == contracting_asked(call, expanded_database, UP)
    assert scripts[0].endswith(step.partition("\nBEGIN ISOLATION")[2])
    expand, comment, unknown = contracting_asked(
        call,
        None,
        *("sql", ("sql", {"to": CONTRACT, "start": CONTRACT}), ("sql", {"to": "c999"})),
    )
    assert f"schema base -> {NEXT} " in expand
    assert CONTRACT not in expand
    assert "nothing to apply" in comment
    assert unknown["error"] == "UnknownRevisionError"


@both_drivers
@pytest.mark.parametrize("asked", [True, False], ids=["from the database", "from nobody"])
def test_the_script_down_undoes_the_step_and_lowers_the_floor(
    contracted_database: str, expanded_database: str, contracting_asked: Asked, call: Call, asked: bool
):
    down = {"to": CONTRACT_HEAD} if asked else {"start": CONTRACT, "to": CONTRACT_HEAD}
    (script,) = contracting_asked(call, contracted_database if asked else None, ("sql", down))
    apply(contracted_database, script)
    assert unordered(dump(contracted_database)) == unordered(dump(expanded_database))
    assert recorded(contracted_database) == EXPANDED
    assert rows(contracted_database)[-1] == (CONTRACT_HEAD, "downgrade", LAST_FLOOR, not CONTRACTS)
    assert upgrade(contracted_database).after is State.AHEAD
    deep, again = contracting_asked(call, contracted_database, DEEP_CHECK, "contract")
    assert (deep, revisions_of(again)) == ("current", [CONTRACT])


@both_drivers
def test_the_script_down_the_expand_line_undoes_the_step_first(
    contracted_database: str, contracting_asked: Asked, call: Call
):
    (script,) = contracting_asked(call, contracted_database, ("sql", {"to": SCHEMA_VERSION}))
    apply(contracted_database, script)
    assert rows(contracted_database, "revision, action, floor")[-2:] == [
        (CONTRACT_HEAD, "downgrade", LAST_FLOOR),
        (HEAD, "downgrade", LAST_FLOOR),
    ]
    assert recorded(contracted_database) == FINISHED
    assert check(contracted_database, deep=True) is State.CURRENT


def test_a_script_down_that_knows_of_no_step_stops_before_the_schema_that_one_requires(
    contracted_database: str, expanded_database: str, contracting_asked: Asked
):
    (script,) = contracting_asked(psycopg, None, ("sql", {"start": NEXT, "to": SCHEMA_VERSION}))
    assert_stops(contracted_database, script, f"contract revision {CONTRACT} requires revision {NEXT}")
    apply(expanded_database, script)
    assert recorded(expanded_database) == FINISHED


def test_a_service_below_the_floor_stops_the_script_which_names_it(
    expanded_database: str, contracting_asked: Asked, script: str
):
    with leased(expanded_database, SCHEMA_VERSION) as client:
        pid = client.info.backend_pid
        said = f"would break: billing-api at schema {SCHEMA_VERSION}, pid {pid}"
        assert_stops(expanded_database, script, said)
    # Whoever is as new as the floor may stay.
    with leased(expanded_database, NEXT_VERSION):
        apply(expanded_database, script)
    assert contracting_asked(psycopg, expanded_database, DEEP_CHECK) == ["current"]


def test_a_service_that_needs_what_a_script_would_undo_stops_it_too(
    contracted_database: str, contracting_asked: Asked
):
    (script,) = contracting_asked(psycopg, contracted_database, ("sql", {"to": SCHEMA_VERSION}))
    with leased(contracted_database, NEXT_VERSION):
        done = psql(contracted_database, script)
    assert done.returncode == 3
    assert f"would break: billing-api at schema {NEXT_VERSION}, pid " in done.stderr
    assert (recorded(contracted_database), floors(contracted_database)[-1]) == (EXPANDED, LAST_FLOOR)


def test_a_script_stops_where_the_schema_that_it_requires_is_missing(finished_database: str, script: str):
    assert_stops(finished_database, script, f"this contract revision requires schema {NEXT_VERSION}")
    execute(finished_database, f"{NO_ROW} WHERE version_num = '{HEAD}'")
    assert_stops(finished_database, script, f"this contract revision requires schema {NEXT_VERSION}")


def test_a_script_stops_on_an_empty_database(database: str, script: str):
    before = dump(database)
    done = psql(database, script)
    assert (done.returncode, dump(database)) == (3, before)
    assert 'relation "public.todo_schema_version" does not exist' in done.stderr


def test_a_script_that_is_applied_twice_stops(expanded_database: str, contracting_asked: Asked, script: str):
    apply(expanded_database, script)
    said = f"this script starts from revision {CONTRACT_HEAD}, and the database is at {CONTRACT}"
    assert_stops(expanded_database, script, said)
    (down,) = contracting_asked(psycopg, expanded_database, ("sql", {"to": CONTRACT_HEAD}))
    apply(expanded_database, down)
    said = f"this script starts from revision {CONTRACT}, and the database is at {CONTRACT_HEAD}"
    assert_stops(expanded_database, down, said)


@pytest.mark.parametrize("schema", ['we"ird 100%', "it's", r"back\slash", "$todo_schema$"])
def test_a_script_for_a_schema_contracts_the_installation_there(
    expanded_database: str, contracting_asked: Asked, schema: str
):
    there = {"schema": schema}
    contracting_asked(psycopg, expanded_database, ("upgrade", there))
    contract(expanded_database, schema=schema)
    public = everything(expanded_database)
    (script,) = contracting_asked(psycopg, expanded_database, ("sql", {"to": CONTRACT, **there}))
    with leased(expanded_database, SCHEMA_VERSION, schema=schema):
        done = psql(expanded_database, script)
    assert f"would break: billing-api at schema {SCHEMA_VERSION}" in done.stderr
    # Whoever is connected to the installation beside it does not matter.
    with leased(expanded_database, SCHEMA_VERSION):
        apply(expanded_database, script)
    deep, down = contracting_asked(
        psycopg, expanded_database, ("check", there | {"deep": True}), ("sql", there | {"to": SCHEMA_VERSION})
    )
    assert deep == "current"
    assert everything(expanded_database) == public
    apply(expanded_database, down)
    assert check(expanded_database, schema=schema, deep=True) is State.CURRENT
