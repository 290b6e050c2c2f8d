"""contract: the step that removes what only older packages used; no boot implies it."""

from pathlib import Path

import pytest

from tests.support.contracting import (
    CONTRACTED,
    EXPANDED,
    Asked,
    everything,
    floors,
    leased,
    recorded,
    revisions_of,
)
from tests.support.packages import CONTRACT, DROPPED
from tests.support.proxy import Proxy
from tests.support.revisions import (
    CONTRACT_HEAD,
    CONTRACTS,
    LAST_FLOOR,
    NEWEST_CONTRACT,
    NEXT,
    NEXT_VERSION,
    REVISIONS,
)
from tests.support.servers import Server, execute
from tests.support.states import NO_ROW, STATES, rows, with_package
from tests.support.ways import Call, both_drivers, drivers_by_turns, role, role_of
from todo_schema import SCHEMA_VERSION, SchemaOutdatedError, State, UnknownRevisionError
from todo_schema.compatibility import HEAD, PACKAGE_VERSION

# A boot does not imply it


@both_drivers
@pytest.mark.parametrize("start", ["empty", "behind", "current"])
def test_an_upgrade_never_applies_a_contract_revision(
    request: pytest.FixtureRequest, contracting_asked: Asked, call: Call, start: str
):
    name = {"empty": "database", "behind": "upgraded_database", "current": "expanded_database"}[start]
    url = request.getfixturevalue(name)
    before, done, plan, status = contracting_asked(call, url, "plan", "upgrade", "plan", "status")
    due = {"empty": [*REVISIONS, NEXT], "behind": [NEXT], "current": []}[start]
    pending = [CONTRACT] if start == "current" else [*CONTRACTS, CONTRACT]
    assert (revisions_of(before, "steps"), revisions_of(before, "contract")) == (due, pending)
    assert (before["state"], done["after"], revisions_of(done)) == (start, "current", due)
    assert (revisions_of(plan, "steps"), revisions_of(plan, "contract")) == ([], pending)
    assert status["differences"] == []
    told = [(step["revision"], step["ready"]) for step in status["contract_pending"]]
    assert told == [(revision, True) for revision in pending]
    if start == "current":
        assert (status["contract"], status["floor"]) == (NEWEST_CONTRACT, LAST_FLOOR)
        assert (recorded(url), floors(url)[-1]) == (EXPANDED, LAST_FLOOR)
    else:
        assert (status["contract"], status["floor"]) == (None, 1)
        assert (recorded(url), set(floors(url))) == ({NEXT}, {1})


# What it does


@both_drivers
def test_contract_applies_what_is_due_once_and_reports_it(
    expanded_database: str, contracting_asked: Asked, call: Call
):
    done, again, named = contracting_asked(
        call, expanded_database, "contract", "contract", ("contract", {"to": CONTRACT})
    )
    assert (done["before"], done["after"], done["schema"]) == ("current", "current", "public")
    assert done["version_before"] == done["version_after"] == NEXT_VERSION
    assert (done["floor_before"], done["floor_after"]) == (LAST_FLOOR, NEXT_VERSION)
    (step,) = done["applied"]
    assert (step["revision"], step["summary"]) == (CONTRACT, "Drop the description of a task")
    assert step["seconds"] > 0
    for nothing in (again, named):
        assert nothing["applied"] == []
        assert nothing["floor_before"] == nothing["floor_after"] == NEXT_VERSION
    assert recorded(expanded_database) == CONTRACTED
    assert rows(expanded_database, "revision")[-1] == (CONTRACT,)
    dropped = f"SELECT FROM pg_attribute WHERE attrelid = 'tasks'::regclass AND attname = '{DROPPED}'"
    assert execute(expanded_database, dropped) == []


@both_drivers
def test_the_history_says_what_was_done_and_by_whom(
    expanded_database: str, contracting_asked: Asked, call: Call
):
    url = f"{expanded_database}&application_name=operator"
    revisions, _ = contracting_asked(call, url, "history", "contract")
    (checksum,) = (revision["checksum"] for revision in revisions if revision["revision"] == CONTRACT)
    columns = "revision, line, ordinal, action, floor, package_version, checksum, role, application_name"
    (me,) = execute(expanded_database, "SELECT current_user")[0]
    assert rows(expanded_database, columns)[-1] == (
        *(CONTRACT, "contract", len(CONTRACTS) + 1, "upgrade", NEXT_VERSION),
        *(PACKAGE_VERSION, checksum, me, "operator"),
    )
    lasted = "duration > '0' AND duration < '1 minute', applied_at > now() - interval '1 minute', host <> ''"
    assert rows(expanded_database, lasted)[-1] == (True, True, True)


def test_contract_says_what_it_applies_while_it_does(expanded_database: str, contracting_package: Path):
    code = "print(t.contract(url, progress=lambda news: print(news.event, news.revision)))"
    *said, step = with_package(contracting_package, code, expanded_database).splitlines()
    changed = f"schema {NEXT_VERSION}, floor {LAST_FLOOR} -> {NEXT_VERSION}"
    assert said == [f"applying {CONTRACT}", f"applied {CONTRACT}", changed]
    assert step.startswith(f"  {CONTRACT} Drop the description of a task (")


@both_drivers
def test_after_the_step_everything_of_the_package_says_so_and_goes_on_working(
    contracted_database: str, contracting_asked: Asked, call: Call
):
    questions = (
        "check",
        ("check", {"deep": True}),
        "status",
        "plan",
        "history",
        "clients",
        "upgrade",
        "wait",
    )
    check, deep, status, plan, history, clients, upgrade, wait = contracting_asked(
        call, contracted_database, *questions
    )
    assert check == deep == wait == "current"
    assert (status["state"], status["usable"], status["contract"]) == ("current", True, CONTRACT)
    assert (status["floor"], clients["floor"]) == (NEXT_VERSION, NEXT_VERSION)
    assert status["differences"] == status["extras"] == []
    assert status["contract_pending"] == clients["contract"] == []
    assert plan["steps"] == plan["contract"] == []
    assert upgrade["applied"] == []
    last = history[-1]
    assert (last["revision"], last["line"], last["floor"]) == (CONTRACT, "contract", NEXT_VERSION)
    assert last["package_version"] == PACKAGE_VERSION
    assert all(revision["applied_at"] for revision in history)
    nothing, undo, tasks = contracting_asked(
        call, contracted_database, ("sql", {"to": CONTRACT}), ("sql", {"to": CONTRACT_HEAD}), "read_tasks"
    )
    assert "nothing to apply" in nothing
    assert f"schema {CONTRACT} -> {CONTRACT_HEAD} in 'public'" in undo
    assert tasks == 0


@pytest.mark.parametrize("name", ["upgrade", "check"])
@both_drivers
def test_a_boot_on_a_contracted_database_is_still_one_statement(
    server: Server, contracted_database: str, contracting_asked: Asked, call: Call, name: str
):
    with Proxy(server) as proxy:
        (answer,) = contracting_asked(call, proxy.url(contracted_database), name)
    assert (answer if name == "check" else answer["after"]) == "current"
    assert (proxy.connections, proxy.round_trips, len(proxy.statements)) == (1, 2, 1)


# The revision to stop at


@drivers_by_turns("to", ["c999", "c1", f"{CONTRACT_HEAD}1", "x", "c000", "base", NEXT, HEAD, "1", ""])
def test_contract_refuses_a_revision_that_is_none_of_its_line(
    expanded_database: str, contracting_asked: Asked, call: Call, to: str
):
    before = everything(expanded_database)
    (refused,) = contracting_asked(call, expanded_database, ("contract", {"to": to}))
    assert refused["error"] == "UnknownRevisionError"
    assert CONTRACT in refused["needed"]
    assert everything(expanded_database) == before


@both_drivers
def test_a_package_without_contract_revisions_has_nothing_to_do_and_says_so(
    finished_database: str, call: Call
):
    before = everything(finished_database)
    done = call("contract", finished_database)
    assert (done.before, done.after, done.applied) == (State.CURRENT, State.CURRENT, ())
    for to in (CONTRACT, HEAD):
        with pytest.raises(UnknownRevisionError):
            call("contract", finished_database, to=to)
    assert everything(finished_database) == before


# What it refuses

UNUSABLE = {
    "empty": (STATES[State.EMPTY], "SchemaOutdatedError", "none of our tables"),
    "behind": (
        f"UPDATE todo_schema_version SET version_num = '{HEAD}' WHERE version_num = '{NEXT}'",
        "SchemaOutdatedError",
        "schema ",
    ),
    "unversioned": (NO_ROW, "UnversionedSchemaError", f"the tables of schema {NEXT_VERSION}"),
    "unversioned, and not ours": (
        f"{NO_ROW}; ALTER TABLE tasks ADD theirs text",
        "UnversionedSchemaError",
        "column tasks.theirs",
    ),
    "foreign": ("INSERT INTO todo_schema_version VALUES ('d3adb33f')", "ForeignVersionError", "'d3adb33f'"),
    "without a table": ("DROP TABLE messages", "SchemaDriftError", "table messages: missing"),
    "without the column": (
        f"ALTER TABLE tasks DROP {DROPPED}",
        "MigrationFailedError",
        f'column "{DROPPED}" of relation "tasks" does not exist',
    ),
}


@drivers_by_turns("case", UNUSABLE)
def test_contract_refuses_by_name_a_database_that_it_does_not_know_and_changes_nothing(
    expanded_database: str, contracting_asked: Asked, call: Call, case: str
):
    change, error, found = UNUSABLE[case]
    execute(expanded_database, change)
    before = everything(expanded_database) if case != "empty" else None
    (refused,) = contracting_asked(call, expanded_database, "contract")
    assert refused["error"] == error
    assert found in refused["found"]
    if before:
        assert everything(expanded_database) == before
    else:
        assert execute(expanded_database, "SELECT FROM pg_class WHERE relname = 'todo_schema_version'") == []


@both_drivers
def test_a_package_without_contract_revisions_refuses_what_it_may_not_use_too(database: str, call: Call):
    with pytest.raises(SchemaOutdatedError):
        call("contract", database)


@both_drivers
def test_a_role_without_the_right_to_change_the_tables_is_refused_by_name(
    server: Server, expanded_database: str, contracting_asked: Asked, call: Call
):
    before = everything(expanded_database)
    with role(server, expanded_database) as url:
        execute(expanded_database, f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role_of(url)}")
        (refused,) = contracting_asked(call, url, "contract")
        assert refused["error"] == "InsufficientPrivilegeError"
        assert role_of(url) in refused["found"]
        # With the right to write the history it comes as far as the step itself.
        execute(
            expanded_database,
            f"GRANT INSERT, UPDATE, DELETE ON todo_schema_history, todo_schema_version TO {role_of(url)}",
        )
        (refused,) = contracting_asked(call, url, "contract")
        assert refused["error"] == "InsufficientPrivilegeError"
        assert "must be owner of table tasks" in refused["found"]
        execute(expanded_database, f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {role_of(url)}")
    assert everything(expanded_database) == before


@both_drivers
def test_a_role_that_may_only_read_is_told_so(
    server: Server, expanded_database: str, contracting_asked: Asked, call: Call
):
    before = everything(expanded_database)
    with role(server, expanded_database, "SUPERUSER") as url:
        execute(expanded_database, f"ALTER ROLE {role_of(url)} SET default_transaction_read_only = on")
        (refused,) = contracting_asked(call, url, "contract")
    assert (refused["error"], everything(expanded_database)) == ("ReadOnlyDatabaseError", before)


# Schemas


@both_drivers
def test_an_installation_in_another_schema_is_contracted_alone(
    expanded_database: str, contracting_asked: Asked, call: Call
):
    there = {"schema": "other"}
    contracting_asked(call, expanded_database, ("upgrade", there))
    call("contract", expanded_database, **there)
    public = everything(expanded_database)
    # Whoever is connected to the one does not concern the other.
    with leased(expanded_database, SCHEMA_VERSION):
        done, deep = contracting_asked(
            call, expanded_database, ("contract", there), ("check", there | {"deep": True})
        )
        (refused,) = contracting_asked(call, expanded_database, "contract")
    assert (revisions_of(done), done["schema"], deep) == ([CONTRACT], "other", "current")
    assert refused["error"] == "ContractBlockedError"
    assert (recorded(expanded_database, "other"), floors(expanded_database, "other")[-1]) == (
        CONTRACTED,
        NEXT_VERSION,
    )
    assert everything(expanded_database) == public
    assert call("upgrade", expanded_database).after is State.AHEAD
    undone, done = contracting_asked(
        call, expanded_database, ("downgrade", there | {"to": CONTRACT_HEAD}), ("contract", {})
    )
    assert (revisions_of(undone), revisions_of(done)) == ([CONTRACT], [CONTRACT])
    assert (recorded(expanded_database), recorded(expanded_database, "other")) == (CONTRACTED, EXPANDED)
