"""Squawk, which others write, reads each revision as well: a second opinion on what stalls a live service."""

import re

import pytest

from tests.support.lock_cases import every_operation
from tests.support.squawk import LEFT_OUT, LEFT_OUT_OF_REMOVALS, complaints
from todo_schema import history
from todo_schema.collecting import collect
from todo_schema.compatibility import Line
from todo_schema.parts import Transaction
from todo_schema.revisions import parts

REVISIONS = [(revision.revision, revision.line) for revision in history()]


@pytest.mark.parametrize(("revision", "line"), REVISIONS)
def test_squawk_is_content_with_each_revision(revision: str, line: Line):
    assert complaints(parts(revision), LEFT_OUT if line is Line.EXPAND else LEFT_OUT_OF_REMOVALS) == ""


@pytest.mark.parametrize(("revision", "line"), REVISIONS)
def test_squawk_is_content_with_each_way_back(revision: str, line: Line):
    assert complaints(parts(revision, downward=True), LEFT_OUT_OF_REMOVALS) == ""


def test_squawk_is_content_with_what_our_operations_write():
    assert complaints(collect(every_operation, "002", downward=False), LEFT_OUT_OF_REMOVALS) == ""


def test_no_rule_of_squawk_is_left_out_for_nothing():
    said = complaints(collect(every_operation, "002", downward=False), ["ban-drop-function"])
    assert set(re.findall(r"warning: (\S+)", said)) == set(LEFT_OUT)


@pytest.mark.parametrize(
    ("statement", "rule"),
    [
        ("CREATE INDEX ix_tasks_title ON tasks (title)", "require-concurrent-index-creation"),
        ("CREATE INDEX CONCURRENTLY ix ON tasks (title)", "ban-concurrent-index-creation-in-transaction"),
        (
            "ALTER TABLE tasks ADD CONSTRAINT fk FOREIGN KEY (user_id) REFERENCES users (id)",
            "adding-foreign-key-constraint",
        ),
        ("ALTER TABLE tasks ADD CONSTRAINT ck CHECK (id > 0)", "constraint-missing-not-valid"),
        ("ALTER TABLE tasks ALTER COLUMN description SET NOT NULL", "adding-not-nullable-field"),
        ("ALTER TABLE tasks ALTER COLUMN title TYPE varchar(20)", "changing-column-type"),
        ("ALTER TABLE tasks DROP COLUMN description", "ban-drop-column"),
        ("SELEC 1", "syntax-error"),
    ],
)
def test_squawk_refuses_a_naive_statement(statement: str, rule: str):
    assert rule in complaints([Transaction((statement,))])
