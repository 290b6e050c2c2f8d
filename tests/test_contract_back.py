"""The contract line backwards and by hand: downgrade, stamp, and the adoption of tables without a version."""

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
from tests.support.packages import CONTRACT, DROPPED
from tests.support.revisions import (
    CONTRACT_HEAD,
    CONTRACTS,
    LAST_FLOOR,
    NEWEST_CONTRACT,
    NEXT,
    NEXT_VERSION,
    REVISIONS,
)
from tests.support.servers import execute
from tests.support.states import NO_ROW, rows
from tests.support.ways import Call, both_drivers, drivers_by_turns
from todo_schema import SCHEMA_VERSION, SchemaTooNewError, State, UnknownRevisionError
from todo_schema.compatibility import HEAD
from todo_schema.revisions import in_order

# What going back to `base` undoes of this package.
UNDONE = [revision.revision for revision in in_order()[::-1]]
FLOORS = (NEXT_VERSION, LAST_FLOOR)
ADDED_BY_HAND = f"""ALTER TABLE tasks ADD {DROPPED} text
    CONSTRAINT ck_tasks_{DROPPED}_length CHECK (length({DROPPED}) <= 16384);
    COMMENT ON COLUMN tasks.{DROPPED} IS 'More about it, or null.'"""


# downgrade


@both_drivers
def test_a_downgrade_undoes_the_contract_step_first_and_restores_the_catalogue_and_the_floor(
    finished_database: str, contracting_asked: Asked, call: Call
):
    before = dump(finished_database)
    _, _, done = contracting_asked(
        call, finished_database, "upgrade", "contract", ("downgrade", {"to": SCHEMA_VERSION})
    )
    assert (done["before"], done["after"]) == ("current", "behind")
    assert (done["version_before"], done["version_after"]) == (NEXT_VERSION, SCHEMA_VERSION)
    assert (done["floor_before"], done["floor_after"]) == FLOORS
    assert revisions_of(done) == [CONTRACT, NEXT]
    assert rows(finished_database, "revision, line, ordinal, action, floor, checksum IS NULL")[-2:] == [
        (CONTRACT_HEAD, "contract", len(CONTRACTS), "downgrade", LAST_FLOOR, not CONTRACTS),
        (HEAD, "expand", SCHEMA_VERSION, "downgrade", LAST_FLOOR, False),
    ]
    assert recorded(finished_database) == FINISHED
    assert unordered(dump(finished_database)) == unordered(before)
    # The older package works again, as if nothing had been.
    assert call("check", finished_database, deep=True) is State.CURRENT
    assert call("upgrade", finished_database).after is State.CURRENT
    (status,) = contracting_asked(call, finished_database, "status")
    assert (status["state"], status["contract"], status["floor"]) == ("behind", NEWEST_CONTRACT, LAST_FLOOR)


@both_drivers
def test_a_downgrade_of_the_contract_line_leaves_the_expand_line_as_it_is(
    expanded_database: str, contracting_asked: Asked, call: Call
):
    before = dump(expanded_database)
    stays, done, again, deep = contracting_asked(
        call,
        expanded_database,
        *(("downgrade", {"to": CONTRACT}), "contract"),
        *(("downgrade", {"to": CONTRACT_HEAD}), ("check", {"deep": True})),
    )
    assert stays["error"] == "UnknownRevisionError"
    assert f"above {CONTRACT_HEAD}" in stays["found"]
    assert revisions_of(done) == [CONTRACT]
    assert (again["version_after"], again["floor_before"], again["floor_after"]) == (NEXT_VERSION, *FLOORS)
    assert (again["after"], deep) == ("current", "current")
    assert unordered(dump(expanded_database)) == unordered(before)
    assert recorded(expanded_database) == EXPANDED
    assert call("upgrade", expanded_database).after is State.AHEAD


@both_drivers
def test_a_downgrade_to_where_a_line_is_does_nothing(
    expanded_database: str, contracted_database: str, contracting_asked: Asked, call: Call
):
    for url, to in (
        (expanded_database, CONTRACT_HEAD),
        (expanded_database, NEXT),
        (contracted_database, CONTRACT),
        (contracted_database, NEXT),
    ):
        before = everything(url)
        (nothing,) = contracting_asked(call, url, ("downgrade", {"to": to}))
        assert nothing["applied"] == []
        assert everything(url) == before


@both_drivers
def test_a_downgrade_to_base_undoes_both_lines(
    contracted_database: str, contracting_asked: Asked, call: Call
):
    done, status, again = contracting_asked(
        call, contracted_database, ("downgrade", {"to": "base"}), "status", "upgrade"
    )
    assert revisions_of(done) == [CONTRACT, NEXT, *UNDONE]
    assert (done["after"], done["floor_after"], status["contract"]) == ("empty", 1, None)
    # And from there everything goes up again, without the contract step.
    assert revisions_of(again) == [*REVISIONS, NEXT]
    assert recorded(contracted_database) == {NEXT}


@drivers_by_turns("to", [CONTRACT_HEAD, SCHEMA_VERSION, "base", CONTRACT, NEXT])
def test_a_package_undoes_no_contract_revision_that_it_does_not_know(
    contracted_database: str, without_the_step: Asked, call: Call, to: str | int
):
    before = everything(contracted_database)
    refused = without_the_step(call, contracted_database, ("downgrade", {"to": to}))[0]
    if to == CONTRACT:
        assert refused["error"] == "UnknownRevisionError"
    else:
        assert refused["error"] == "SchemaTooNewError"
        assert refused["found"].startswith(f"contract revision {CONTRACT} in database ")
    assert everything(contracted_database) == before


@drivers_by_turns("to", ["base", HEAD, CONTRACT_HEAD])
def test_a_package_below_the_floor_undoes_nothing(contracted_database: str, call: Call, to: str):
    before = everything(contracted_database)
    with pytest.raises(SchemaTooNewError):
        call("downgrade", contracted_database, to=to)
    assert everything(contracted_database) == before


@both_drivers
def test_an_expand_revision_stays_where_its_clients_do_and_the_contract_step_above_it_is_undone(
    contracted_database: str, contracting_asked: Asked, call: Call
):
    with leased(contracted_database, NEXT_VERSION):
        (refused,) = contracting_asked(call, contracted_database, ("downgrade", {"to": SCHEMA_VERSION}))
        assert refused["error"] == "ClientsConnectedError"
        assert [client["schema_version"] for client in refused["clients"]] == [NEXT_VERSION]
    assert (recorded(contracted_database), floors(contracted_database)[-1]) == (EXPANDED, LAST_FLOOR)
    (done,) = contracting_asked(call, contracted_database, ("downgrade", {"to": SCHEMA_VERSION}))
    assert revisions_of(done) == [NEXT]


# stamp


@both_drivers
def test_stamp_records_the_contract_line_and_its_floor_and_forgets_them_where_the_tables_allow(
    expanded_database: str, contracting_asked: Asked, call: Call
):
    execute(expanded_database, f"ALTER TABLE tasks DROP {DROPPED}")
    done, deep, status = contracting_asked(
        call, expanded_database, ("stamp", {"revision": CONTRACT}), ("check", {"deep": True}), "status"
    )
    assert (done["applied"], done["floor_before"], done["floor_after"]) == ([], LAST_FLOOR, NEXT_VERSION)
    assert (deep, status["contract"], status["extras"]) == ("current", CONTRACT, [])
    assert recorded(expanded_database) == CONTRACTED
    assert rows(expanded_database)[-1] == (CONTRACT, "stamp", NEXT_VERSION, False)
    with pytest.raises(SchemaTooNewError):
        call("upgrade", expanded_database)
    # The floor would fall, and older packages would look for the column.
    (refused,) = contracting_asked(call, expanded_database, ("stamp", {"revision": CONTRACT_HEAD}))
    assert refused["error"] == "SchemaDriftError"
    assert f"column tasks.{DROPPED}: missing" in refused["found"]
    assert f"downgrade --to {CONTRACT_HEAD}" in refused["cure"]
    assert floors(expanded_database)[-1] == NEXT_VERSION
    execute(expanded_database, ADDED_BY_HAND)
    (forgotten,) = contracting_asked(call, expanded_database, ("stamp", {"revision": CONTRACT_HEAD}))
    assert (forgotten["floor_before"], forgotten["floor_after"]) == FLOORS
    assert recorded(expanded_database) == EXPANDED
    assert rows(expanded_database)[-1] == (CONTRACT_HEAD, "stamp", LAST_FLOOR, not CONTRACTS)


@both_drivers
def test_a_stamp_of_the_expand_line_keeps_the_contract_line_and_the_floor(
    contracted_database: str, contracting_asked: Asked, call: Call
):
    (done,) = contracting_asked(call, contracted_database, ("stamp", {"revision": NEXT}))
    assert done["floor_after"] == NEXT_VERSION
    assert recorded(contracted_database) == CONTRACTED
    assert rows(contracted_database)[-1] == (NEXT, "stamp", NEXT_VERSION, False)


@both_drivers
def test_no_stamp_leaves_a_contract_revision_without_the_schema_that_it_requires(
    finished_database: str, contracted_database: str, contracting_asked: Asked, call: Call
):
    for url, revision in ((finished_database, CONTRACT), (contracted_database, HEAD)):
        before = everything(url)
        (refused,) = contracting_asked(call, url, ("stamp", {"revision": revision}))
        assert refused["error"] == "UnknownRevisionError"
        assert refused["needed"].startswith(f"schema {NEXT_VERSION}")
        assert everything(url) == before


@both_drivers
def test_a_stamp_without_tables_or_by_a_package_that_lacks_the_revision_is_refused(
    database: str, expanded_database: str, contracted_database: str, contracting_asked: Asked, call: Call
):
    (refused,) = contracting_asked(call, database, ("stamp", {"revision": CONTRACT}))
    assert refused["error"] == "SchemaOutdatedError"
    with pytest.raises(UnknownRevisionError):
        call("stamp", expanded_database, CONTRACT)
    for revision in (HEAD, CONTRACT_HEAD):
        with pytest.raises(SchemaTooNewError):
            call("stamp", contracted_database, revision)
    assert (recorded(expanded_database), recorded(contracted_database)) == (EXPANDED, CONTRACTED)


# Adoption


@drivers_by_turns("lost", ["the rows", "the rows and the history", "both tables", "the expand row"])
def test_tables_in_the_contracted_state_are_adopted_with_both_lines_and_the_floor(
    contracted_database: str, contracting_asked: Asked, call: Call, lost: str
):
    change = {
        "the rows": NO_ROW,
        "the rows and the history": f"{NO_ROW}; DELETE FROM todo_schema_history",
        "both tables": "DROP TABLE todo_schema_version, todo_schema_history",
        "the expand row": f"{NO_ROW} WHERE version_num = '{NEXT}'",
    }[lost]
    execute(contracted_database, change)
    plan, done, deep, status = contracting_asked(
        call, contracted_database, "plan", "upgrade", ("check", {"deep": True}), "status"
    )
    assert (plan["state"], plan["steps"], plan["contract"]) == ("unversioned", [], [])
    assert (done["adopted"], done["after"], done["floor_after"]) == (True, "current", NEXT_VERSION)
    assert (deep, status["contract"], status["floor"]) == ("current", CONTRACT, NEXT_VERSION)
    assert recorded(contracted_database) == CONTRACTED
    adopted = [(CONTRACT, "adopt", NEXT_VERSION, False), (NEXT, "adopt", NEXT_VERSION, False)]
    if lost == "the expand row":
        adopted = adopted[1:]
    assert rows(contracted_database)[-len(adopted) :] == adopted
    with pytest.raises(SchemaTooNewError):
        call("upgrade", contracted_database)


@both_drivers
def test_tables_in_the_expanded_state_are_adopted_without_the_contract_line(
    expanded_database: str, contracting_asked: Asked, call: Call
):
    execute(expanded_database, "DROP TABLE todo_schema_version, todo_schema_history")
    done, plan = contracting_asked(call, expanded_database, "upgrade", "plan")
    assert (done["adopted"], done["floor_after"]) == (True, LAST_FLOOR)
    assert recorded(expanded_database) == EXPANDED
    assert revisions_of(plan, "contract") == [CONTRACT]


@both_drivers
def test_tables_that_were_expanded_again_by_hand_are_adopted_for_what_they_are(
    contracted_database: str, contracting_asked: Asked, call: Call
):
    execute(contracted_database, f"{ADDED_BY_HAND}; {NO_ROW} WHERE version_num = '{NEXT}'")
    done, status = contracting_asked(call, contracted_database, "upgrade", "status")
    assert (done["adopted"], done["after"]) == (True, "current")
    assert (status["differences"], status["extras"]) == ([], [])
    assert recorded(contracted_database) == EXPANDED
    assert floors(contracted_database)[-1] == LAST_FLOOR


@both_drivers
def test_an_older_package_does_not_recognise_tables_in_the_contracted_state(
    contracted_database: str, call: Call, without_the_step: Asked
):
    execute(contracted_database, "DROP TABLE todo_schema_version, todo_schema_history")
    before = dump(contracted_database)
    (refused,) = without_the_step(call, contracted_database, "upgrade")
    assert refused["error"] == "UnversionedSchemaError"
    assert f"column tasks.{DROPPED}: missing" in refused["found"]
    assert dump(contracted_database) == before
