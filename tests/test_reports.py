"""What the functions return: frozen, printable, and the same facts as JSON."""

import dataclasses
import json
from datetime import datetime
from typing import Any

import pytest

import todo_schema
from tests.support.servers import execute
from tests.support.states import AHEAD, ALTERED, NO_ROW
from todo_schema import (
    history,
    plan,
    status,
    upgrade,
)


@pytest.fixture
def reports(database: str) -> list[Any]:
    planned = plan(database)
    told: list[Any] = []
    upgraded = upgrade(database, progress=told.append)
    return [
        planned, planned.steps[0], upgraded, upgraded.applied[0], upgrade(database), status(database),
        history(database)[0], history()[0], told[0],
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
    assert str(plan(database)) == "empty: 1 to apply\n  001 Users, conversations, messages and tasks"
    assert str(status(database)).splitlines()[:2] == [
        "state     empty",
        f"database  schema none (in 'public', PostgreSQL {status(database).server})",
    ]
    told: list[Any] = []
    first, *steps = str(upgrade(database, progress=told.append)).splitlines()
    assert first == "schema none -> 1"
    assert len(steps) == 1
    assert steps[0].startswith("  001 Users, conversations, messages and tasks (")
    assert [(item.event, item.revision) for item in told] == [("applying", "001"), ("applied", "001")]
    assert str(told[0]) == "applying 001 Users, conversations, messages and tasks"
    assert str(upgrade(database)) == "schema 1 already: nothing to do"
    assert str(plan(database)) == "current: nothing to apply"
    assert str(history(database)[0]).endswith(" UTC")
    execute(database, NO_ROW)
    assert str(upgrade(database)) == "adopted existing tables as schema 1"
    execute(database, AHEAD)
    assert str(upgrade(database)) == "schema 2, newer than this package and still compatible: nothing to do"
    execute(database, f"UPDATE todo_schema_version SET version_num = '001'; {ALTERED}")
    assert "\ndiffers   column messages.content: found " in str(status(database))
