"""What the functions return: frozen, printable, and the same facts as JSON."""

import dataclasses
import json
from datetime import datetime
from typing import Any

import pytest

import todo_schema
from tests.support.revisions import NEXT_VERSION, REVISIONS
from tests.support.servers import execute
from tests.support.states import AHEAD, ALTERED, NO_ROW
from todo_schema import (
    SCHEMA_VERSION,
    history,
    plan,
    status,
    upgrade,
)
from todo_schema.compatibility import HEAD


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
    listed = [f"{revision.revision} {revision.summary}" for revision in history()]
    assert listed[0] == "001 Users, conversations, messages and tasks"
    assert str(plan(database)).splitlines() == [
        f"empty: {len(listed)} to apply",
        *(f"  {line}" for line in listed),
    ]
    assert str(status(database)).splitlines()[:2] == [
        "state     empty",
        f"database  schema none (in 'public', PostgreSQL {status(database).server})",
    ]
    told: list[Any] = []
    first, *steps = str(upgrade(database, progress=told.append)).splitlines()
    assert first == f"schema none -> {SCHEMA_VERSION}"
    for step, line in zip(steps, listed, strict=True):
        assert step.startswith(f"  {line} (")
    assert [(item.event, item.revision) for item in told] == [
        (event, revision) for revision in REVISIONS for event in ("applying", "applied")
    ]
    assert str(told[0]) == f"applying {listed[0]}"
    assert str(upgrade(database)) == f"schema {SCHEMA_VERSION} already: nothing to do"
    assert str(plan(database)) == "current: nothing to apply"
    assert str(history(database)[0]).endswith(" UTC")
    execute(database, NO_ROW)
    assert str(upgrade(database)) == f"adopted existing tables as schema {SCHEMA_VERSION}"
    execute(database, AHEAD)
    newer = f"schema {NEXT_VERSION}, newer than this package and still compatible: nothing to do"
    assert str(upgrade(database)) == newer
    execute(database, f"UPDATE todo_schema_version SET version_num = '{HEAD}'; {ALTERED}")
    assert "\ndiffers   column messages.content: found " in str(status(database))
