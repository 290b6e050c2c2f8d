"""What an older package sees of a contract step, and of a history that a package of the future has written."""

import asyncio

import pytest
from sqlmodel import select

from tests.support.contracting import CONTRACTED, Asked, everything, recorded, revisions_of
from tests.support.packages import CONTRACT, DROPPED
from tests.support.revisions import CONTRACT_HEAD, NEXT, NEXT_VERSION, REVISIONS, downgraded, upgraded
from tests.support.servers import execute
from tests.support.states import rows
from tests.support.ways import Call, both_drivers, drivers_by_turns
from todo_schema import SCHEMA_VERSION, SchemaTooNewError, State, Task, User, history, session_factory
from todo_schema.compatibility import HEAD

# What this package has, of both lines.
EVERY = [revision.revision for revision in history()]

# Below the floor


def _use_a_session(url: str) -> int:
    async def use() -> int:
        async with session_factory(url) as sessions:
            async with sessions.begin() as session:
                user = User(email="ann@example.com")
                session.add(user)
                await session.flush()
                session.add(Task(user_id=user.id, title="buy milk", description="two litres"))
            async with sessions() as session:
                return len((await session.exec(select(Task))).all())

    return asyncio.run(use())


@both_drivers
@pytest.mark.parametrize(
    "question",
    [
        *(
            "upgrade",
            "check",
            ("check", {"deep": True}),
            ("wait", {"timeout": 60}),
            "plan",
            "sql",
            "contract",
        ),
        *(("sql", {"to": "base"}), ("downgrade", {"to": "base"}), ("stamp", {"revision": SCHEMA_VERSION})),
    ],
    ids=str,
)
def test_a_package_below_the_floor_is_refused_before_it_touches_anything(
    contracted_database: str, call: Call, question: str | tuple[str, dict[str, object]]
):
    before = everything(contracted_database)
    name, options = (question, {}) if isinstance(question, str) else question
    with pytest.raises(SchemaTooNewError) as refused:
        call(name, contracted_database, **options)
    assert f"schema {NEXT_VERSION} in database " in refused.value.found
    assert refused.value.needed.startswith(f"a package of schema {NEXT_VERSION} or newer")
    assert "pip install --upgrade" in refused.value.cure
    assert everything(contracted_database) == before


@both_drivers
def test_a_package_below_the_floor_can_still_tell_what_is_the_matter(contracted_database: str, call: Call):
    status = call("status", contracted_database)
    assert (status.state, status.usable, status.floor) == (State.TOO_NEW, False, NEXT_VERSION)
    assert (status.database_version, status.contract, status.contract_pending) == (NEXT_VERSION, CONTRACT, ())
    assert f"column tasks.{DROPPED}: missing" in status.differences
    assert [revision.revision for revision in call("history", contracted_database)] == EVERY
    assert call("clients", contracted_database).floor == NEXT_VERSION


# At the floor, and without the contract step


USES = ("upgrade", "check", ("check", {"deep": True}), ("wait", {"timeout": 60}), "read_tasks", "contract")


@both_drivers
@pytest.mark.parametrize("further", [False, True], ids=["current", "ahead"])
def test_a_package_at_the_floor_goes_on_without_knowing_of_the_step(
    contracted_database: str, without_the_step: Asked, call: Call, further: bool
):
    if further:
        after = f"{NEXT_VERSION + 1:03d}"
        execute(
            contracted_database,
            f"UPDATE todo_schema_version SET version_num = '{after}' WHERE version_num = '{NEXT}'",
        )
    state = "ahead" if further else "current"
    before = everything(contracted_database)
    upgrade, check, deep, wait, tasks, contract = without_the_step(call, contracted_database, *USES)
    assert (upgrade["after"], check, deep, wait) == (state,) * 4
    assert (upgrade["applied"], contract["applied"], tasks) == ([], [], 0)
    status, plan, history, clients = without_the_step(
        call, contracted_database, "status", "plan", "history", "clients"
    )
    assert (status["state"], status["usable"], status["floor"]) == (state, True, NEXT_VERSION)
    assert (status["contract"], status["differences"], status["extras"]) == (CONTRACT, [], [])
    assert (status["contract_pending"], clients["contract"]) == ([], [])
    assert (revisions_of(plan, "steps"), revisions_of(plan, "contract")) == ([], [])
    assert [revision["revision"] for revision in history] == [*EVERY, NEXT]
    assert all(revision["applied_at"] for revision in history)
    assert everything(contracted_database) == before


@both_drivers
def test_a_package_at_the_floor_misses_what_it_needs_itself(
    contracted_database: str, without_the_step: Asked, call: Call
):
    execute(contracted_database, "ALTER TABLE tasks DROP title")
    deep, status = without_the_step(call, contracted_database, ("check", {"deep": True}), "status")
    assert deep["error"] == "SchemaDriftError"
    assert status["differences"] == ["column tasks.title: missing"]


# A history from the future

FIELDS = "revision, line, ordinal, action, floor, package_version, duration, host, application_name"
FAR = 999_999_999


def wrote(
    *steps: tuple[str, str, int, str, int], version: str | None = None, contract: str | None = None
) -> str:
    """SQL of what a package of the future does: rows of the history, and where its two lines are then."""
    texts = [
        f"INSERT INTO todo_schema_history (id, {FIELDS}) SELECT max(id) + 1,"
        f" '{revision}', '{line}', {ordinal}, '{action}', {floor}, '99.0.0rc1+local', '0', 'h', ''"
        " FROM todo_schema_history"
        for revision, line, ordinal, action, floor in steps
    ]
    if version:
        texts.append(f"UPDATE todo_schema_version SET version_num = '{version}'")
    if contract:
        texts.append(f"INSERT INTO todo_schema_version VALUES ('{contract}')")
    return "; ".join(texts)


# What it did, as steps and where the lines are then, and what that is to us: (SQL, state).
OURS = SCHEMA_VERSION
FUTURES = {
    "an action that we have no word for": (wrote((HEAD, "expand", OURS, "rehearse", 1)), State.CURRENT),
    "a step of a line far ahead, undone": (
        wrote((f"{FAR}", "expand", FAR, "upgrade", 1), (HEAD, "expand", OURS, "downgrade", 1)),
        State.CURRENT,
    ),
    "contract steps, with a floor that is ours": (
        wrote(*((f"c00{n}", "contract", n, "upgrade", OURS) for n in range(1, 8)), contract="c007"),
        State.CURRENT,
    ),
    "expand steps": (wrote((NEXT, "expand", NEXT_VERSION, "upgrade", 1), version=NEXT), State.AHEAD),
    "steps of both lines": (
        wrote((f"{FAR}", "expand", FAR, "upgrade", 1), (f"c{FAR}", "contract", FAR, "stamp", OURS))
        + "; "
        + wrote(version=f"{FAR}", contract=f"c{FAR}"),
        State.AHEAD,
    ),
    "a floor that fell again": (
        wrote(
            (NEXT, "expand", NEXT_VERSION, "upgrade", 1),
            ("c001", "contract", 1, "upgrade", NEXT_VERSION),
            ("c000", "contract", 0, "revert", OURS),
            version=NEXT,
        ),
        State.AHEAD,
    ),
    "a floor above ours": (
        wrote((NEXT, "expand", NEXT_VERSION, "upgrade", 1), version=NEXT)
        + "; "
        + wrote(("c003", "contract", 3, "upgrade", NEXT_VERSION), contract="c003"),
        State.TOO_NEW,
    ),
    "a floor far above ours, and an expand step after it": (
        wrote(("c003", "contract", 3, "upgrade", 9999), ("10000", "expand", 10000, "upgrade", 9999))
        + "; "
        + wrote(version="10000", contract="c003"),
        State.TOO_NEW,
    ),
}
# What it added to the table, which it may as long as our own inserts succeed.
MORE_COLUMNS = (
    "ALTER TABLE todo_schema_history ADD trace_id uuid, ADD labels jsonb DEFAULT '{}' NOT NULL,"
    " ADD finished_at timestamptz GENERATED ALWAYS AS (applied_at) STORED;"
    " ALTER TABLE todo_schema_version ADD noted_at timestamptz DEFAULT now() NOT NULL"
)


@pytest.mark.parametrize("columns", ["", MORE_COLUMNS], ids=["our columns", "more columns"])
@drivers_by_turns("future", FUTURES)
def test_an_older_package_reads_what_a_package_of_the_future_wrote(
    upgraded_database: str, call: Call, future: str, columns: str
):
    sql, state = FUTURES[future]
    execute(upgraded_database, f"{columns}; {sql}")
    before = everything(upgraded_database)
    status = call("status", upgraded_database)
    assert (status.state, status.usable) == (state, state is not State.TOO_NEW)
    assert status.differences == ()
    assert call("clients", upgraded_database).floor == status.floor == rows(upgraded_database, "floor")[-1][0]
    known = {revision.revision: revision.applied_at for revision in call("history", upgraded_database)}
    assert [*known] == EVERY
    if state is State.TOO_NEW:
        for name in ("upgrade", "check", "wait", "plan"):
            with pytest.raises(SchemaTooNewError):
                call(name, upgraded_database)
        with pytest.raises(SchemaTooNewError):
            _use_a_session(upgraded_database)
    else:
        assert all(known[revision] for revision in REVISIONS)
        assert call("upgrade", upgraded_database).after is state
        assert call("plan", upgraded_database).steps == ()
        for options in ({}, {"deep": True}):
            assert call("check", upgraded_database, **options) is state
        assert call("wait", upgraded_database) is state
        assert _use_a_session(upgraded_database) == 1
    assert everything(upgraded_database) == before


@both_drivers
def test_an_older_package_writes_on_beside_more_columns(database: str, upgraded_database: str, call: Call):
    execute(upgraded_database, f"{MORE_COLUMNS}; {wrote((HEAD, 'expand', OURS, 'rehearse', 1))}")
    call("stamp", upgraded_database, SCHEMA_VERSION)
    call("downgrade", upgraded_database, to="base")
    assert len(call("upgrade", upgraded_database).applied) == len(REVISIONS)
    assert call("check", upgraded_database, deep=True) is State.CURRENT
    actions = [action for (action,) in rows(upgraded_database, "action")]
    up = [action for _, action in upgraded()]
    assert actions == [
        *up,
        *("rehearse", "stamp"),
        *(action for _, action in downgraded()),
        *up,
    ]
    assert set(rows(upgraded_database, "labels::text, trace_id")) == {("{}", None)}
    execute(upgraded_database, "DELETE FROM todo_schema_version")
    assert call("upgrade", upgraded_database).adopted


@both_drivers
def test_a_contract_step_is_applied_and_undone_beside_more_columns(
    expanded_database: str, contracting_asked: Asked, call: Call
):
    execute(expanded_database, MORE_COLUMNS)
    done, deep, undone = contracting_asked(
        call, expanded_database, "contract", ("check", {"deep": True}), ("downgrade", {"to": CONTRACT_HEAD})
    )
    assert (revisions_of(done), deep, revisions_of(undone)) == ([CONTRACT], "current", [CONTRACT])
    contracting_asked(call, expanded_database, "contract")
    assert recorded(expanded_database) == CONTRACTED
