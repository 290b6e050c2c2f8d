"""What the functions return: frozen, printable, and the same facts as JSON."""

import dataclasses
import json
from datetime import UTC, datetime
from typing import Any

import pytest

import todo_schema
from tests.support.revisions import NEXT_VERSION, REVISIONS
from tests.support.servers import execute
from tests.support.states import AHEAD, ALTERED, NO_ROW
from tests.support.waiting import wait_for
from todo_schema import (
    SCHEMA_VERSION,
    AppliedStep,
    ChangeReport,
    Client,
    Clients,
    PendingContract,
    Plan,
    PlannedStep,
    State,
    Status,
    clients,
    history,
    plan,
    session_factory,
    status,
    upgrade,
)
from todo_schema.compatibility import HEAD, Line

BILLING = Client(
    service="billing-api",
    schema_version=1,
    connections=2,
    pids=(11, 12),
    host="10.0.0.7",
    role="app",
    since=datetime(2026, 12, 1, 8, 30, tzinfo=UTC),
    leased=True,
)
BILLING_TEXT = "billing-api: schema 1, 2 connections from 10.0.0.7, role app, since 2026-12-01 08:30:00 UTC"
# What a role without any right sees of a connection that has just gone.
HIDDEN = Client("", 2, 1, (13,), None, None, None, leased=True)
HIDDEN_TEXT = "(no application_name): schema 2, 1 connection from a local or hidden address"
POOLED = dataclasses.replace(BILLING, service="web", connections=1, pids=(14,), since=None, leased=False)
POOLED_TEXT = "web: schema 1, 1 connection from 10.0.0.7, role app, through a pooler, without a lease"
READY = PendingContract("c001", requires=2, floor=2, ready=True, waits_for="", blocked_by=())
BLOCKED = PendingContract(
    "c002", requires=3, floor=3, ready=False, waits_for="those to leave", blocked_by=(BILLING, HIDDEN)
)
TOO_EARLY = PendingContract("c003", requires=9, floor=4, ready=False, waits_for="an upgrade", blocked_by=())
CLIENTS = Clients("public", 1, (BILLING, HIDDEN), (READY, BLOCKED), leases=True)
NARROWING = PlannedStep("c001", "Drop it", "Gain: less.", "ALTER TABLE tasks DROP COLUMN description;")
STATUS = Status(
    state=State.AHEAD,
    schema="todo",
    database_version=2,
    package_schema_version=1,
    package_version="0.1.0",
    floor=1,
    pending=(),
    usable=True,
    contract="c001",
    contract_pending=(BLOCKED, TOO_EARLY),
    clients=(BILLING, POOLED),
    leases=False,
    differences=("column tasks.title: missing",),
    extras=("index tasks.mine: found it, not expected",),
    server="18.6",
)
CONTRACTED = ChangeReport(
    "public", State.CURRENT, State.CURRENT, 2, 2, 1, 2, applied=(AppliedStep("c001", "Drop it", 0.0123),)
)


@pytest.fixture
def reports(database: str) -> list[Any]:
    planned = plan(database)
    told: list[Any] = []
    upgraded = upgrade(database, progress=told.append)
    return [
        planned, planned.steps[0], upgraded, upgraded.applied[0], upgrade(database), status(database),
        history(database)[0], history()[0], told[0], clients(database),
        BILLING, HIDDEN, READY, BLOCKED, CLIENTS, STATUS, CONTRACTED, Plan(State.BEHIND, (), (NARROWING,)),
        dataclasses.replace(history()[0], line=Line.CONTRACT, requires=2, floor=2),
    ]  # fmt: skip


def test_reports_are_frozen(reports: list[Any]):
    for report in reports:
        field = dataclasses.fields(report)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(report, field, None)
        assert hash(report) == hash(dataclasses.replace(report))
        assert report == dataclasses.replace(report)


def test_reports_give_a_program_the_same_facts_as_json(reports: list[Any]):
    for report in reports:
        if isinstance(report, todo_schema.Progress):
            continue
        facts = report.as_dict()
        assert list(facts) == [field.name for field in dataclasses.fields(report)]
        assert json.loads(json.dumps(facts)) == facts
    applied = next(item for item in reports if isinstance(item, todo_schema.Revision)).as_dict()
    assert isinstance(applied["duration"], float)
    assert datetime.fromisoformat(applied["applied_at"]).tzinfo is not None


def test_reports_document_every_attribute(reports: list[Any]):
    for report in reports:
        for field in dataclasses.fields(report):
            assert f"    {field.name}: " in type(report).__doc__


def test_reports_print_for_a_person(database: str):
    listed = [
        f"{revision.revision} {revision.summary}" for revision in history() if revision.line == "expand"
    ]
    assert listed[0] == "001 Users, conversations, messages and tasks"
    first, *described = str(plan(database)).partition("\ntodo-schema contract ")[0].splitlines()
    assert first == f"empty: {len(listed)} to apply"
    assert [line.split(" (")[0] for line in described if not line.startswith("    ")] == [
        f"  {line}" for line in listed
    ]
    assert str(status(database)).splitlines()[:2] == [
        "state     empty: this package may not use it",
        f"database  schema none (in 'public', PostgreSQL {status(database).server})",
    ]
    told: list[Any] = []
    first, *steps = str(upgrade(database, progress=told.append)).splitlines()
    assert first == f"schema none -> {SCHEMA_VERSION}"
    for step, line in zip(steps, listed, strict=True):
        assert step.startswith(f"  {line} (")
    steps_alone = [item for item in told if item.event == "applied" or str(item).startswith("applying ")]
    # A first boot is one transaction: none is applied before all are.
    assert [(item.event, item.revision) for item in steps_alone] == [
        (event, revision) for event in ("applying", "applied") for revision in REVISIONS
    ]
    assert str(told[0]) == f"applying {listed[0]}"
    assert str(upgrade(database)) == f"schema {SCHEMA_VERSION} already: nothing to do"
    assert str(plan(database)).splitlines()[0] == "current: nothing to apply"
    assert str(history(database)[0]).endswith(" UTC")
    execute(database, NO_ROW)
    assert str(upgrade(database)) == f"adopted existing tables as schema {SCHEMA_VERSION}"
    execute(database, AHEAD)
    newer = f"schema {NEXT_VERSION}, newer than this package and still compatible: nothing to do"
    assert str(upgrade(database)) == newer
    execute(database, f"UPDATE todo_schema_version SET version_num = '{HEAD}'; {ALTERED}")
    assert "\ndiffers   column messages.content: found " in str(status(database))


@pytest.mark.parametrize(
    ("report", "text"),
    [
        (BILLING, BILLING_TEXT),
        (HIDDEN, HIDDEN_TEXT),
        (POOLED, POOLED_TEXT),
        (READY, "c001 (floor 2) ready: todo-schema contract"),
        (
            BLOCKED,
            f"c002 (floor 3) waits for those to leave\n    {BILLING_TEXT}\n    {HIDDEN_TEXT}",
        ),
        (TOO_EARLY, "c003 (floor 4) waits for an upgrade"),
        (CLIENTS, f"{BILLING_TEXT}\n{HIDDEN_TEXT}\n{READY}\n{BLOCKED}"),
        (Clients("public", 1, (), (), leases=True), "nobody is connected"),
        (
            Clients("public", 1, (POOLED,), (), leases=False),
            f"{POOLED_TEXT}\nthis URL goes through a pooler: clients behind one hold no lease",
        ),
        (
            STATUS,
            f"""\
state     ahead: this package may use it
database  schema 2 (in 'todo', PostgreSQL 18.6)
package   schema 1 (todo-schema 0.1.0)
floor     1
pending   none
contract  c001
leases    off: this URL goes through a pooler
next      {BLOCKED}
next      {TOO_EARLY}
client    {BILLING_TEXT}
client    {POOLED_TEXT}
differs   column tasks.title: missing
extra     index tasks.mine: found it, not expected""",
        ),
        (CONTRACTED, "schema 2, floor 1 -> 2\n  c001 Drop it (12 ms)"),
        (
            # A contract revision whose floor was in force already.
            dataclasses.replace(CONTRACTED, floor_before=2, waited_seconds=1.25),
            "schema 2 (waited 1.2 s for another process)\n  c001 Drop it (12 ms)",
        ),
        (dataclasses.replace(CONTRACTED, floor_before=2, applied=()), "schema 2 already: nothing to do"),
        (dataclasses.replace(CONTRACTED, version_before=1), "schema 1 -> 2\n  c001 Drop it (12 ms)"),
        (
            Plan(State.BEHIND, (PlannedStep("002", "Add it", "", ""),), (NARROWING,)),
            "behind: 1 to apply\n  002 Add it (required)\ntodo-schema contract would then apply:\n  c001 Drop it",
        ),
        (
            dataclasses.replace(history()[0], revision="c001", summary="Drop it", floor=2),
            "c001 Drop it  floor 2",
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, todo_schema.reports.Report) else "",
)
def test_what_tells_of_clients_and_contract_steps_prints_for_a_person(report: Any, text: str):
    assert str(report) == text


def test_what_tells_of_clients_and_contract_steps_gives_a_program_the_same_facts():
    billing = {
        "service": "billing-api", "schema_version": 1, "connections": 2, "pids": [11, 12], "host": "10.0.0.7",
        "role": "app", "since": "2026-12-01T08:30:00+00:00", "leased": True,
    }  # fmt: skip
    hidden = billing | {
        "service": "", "schema_version": 2, "connections": 1, "pids": [13], "host": None, "role": None, "since": None,
    }  # fmt: skip
    ready = {"revision": "c001", "requires": 2, "floor": 2, "ready": True, "waits_for": "", "blocked_by": []}
    blocked = {
        "revision": "c002", "requires": 3, "floor": 3, "ready": False, "waits_for": "those to leave",
        "blocked_by": [billing, hidden],
    }  # fmt: skip
    assert CLIENTS.as_dict() == {
        "schema": "public",
        "floor": 1,
        "clients": [billing, hidden],
        "contract": [ready, blocked],
        "leases": True,
    }
    facts = STATUS.as_dict()
    asked = ("usable", "floor", "contract", "leases")
    assert {name: facts[name] for name in asked} == {
        "usable": True,
        "floor": 1,
        "contract": "c001",
        "leases": False,
    }
    assert facts["contract_pending"][0] == blocked
    assert facts["clients"][0] == billing
    step = {"revision": "c001", "summary": "Drop it"}
    assert Plan(State.BEHIND, (), (NARROWING,)).as_dict()["contract"] == [
        step
        | {"details": "Gain: less.", "sql": "ALTER TABLE tasks DROP COLUMN description;"}
        | {"deferred": None, "parts": [], "tables": []}
    ]
    facts = CONTRACTED.as_dict()
    assert (facts["floor_before"], facts["floor_after"]) == (1, 2)
    assert facts["applied"] == [step | {"seconds": 0.0123}]


async def test_a_connected_service_is_in_the_reports_and_gone_from_them_when_it_has_left(
    finished_database: str,
):
    async with session_factory(finished_database, service="reporting") as sessions, sessions() as session:
        await session.connection()
        (client,) = clients(finished_database).clients
        found = status(finished_database)
        assert (client.service, client.schema_version, client.connections) == ("reporting", SCHEMA_VERSION, 1)
        assert client.since is not None
        assert client.since.tzinfo is UTC
        assert (found.clients, found.leases, found.usable) == ((client,), True, True)
        assert f"\nclient    reporting: schema {SCHEMA_VERSION}, 1 connection from " in str(found)
    wait_for(lambda: not clients(finished_database).clients)
    assert str(clients(finished_database)) == "nobody is connected"
