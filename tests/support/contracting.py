"""Packages that contain a contract step, asked in processes that have imported them; and what a step leaves."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, LiteralString, cast

import psycopg

from tests.support.catalog_dump import dump
from tests.support.forker import Forker, forker
from tests.support.packages import CONTRACT
from tests.support.revisions import CONTRACTS, NEXT
from tests.support.servers import execute
from tests.support.states import rows
from tests.support.ways import Call
from todo_schema.compatibility import HEAD
from todo_schema.leases import class_expression

# What the version table says before the step and after it.
EXPANDED = {NEXT, *CONTRACTS[-1:]}
CONTRACTED = {NEXT, CONTRACT}
# And where no newer package has been.
FINISHED = {HEAD, *CONTRACTS[-1:]}
# The row of the contract line, as the step sets it and as its way back does: the first one has none below it.
_NO_ROW = "DELETE FROM todo_schema_version WHERE version_num ~ '^c'"
ROW_AFTER = f"{_NO_ROW}; INSERT INTO todo_schema_version VALUES ('{CONTRACT}')"
ROW_BEFORE = "; ".join(
    [_NO_ROW, *(f"INSERT INTO todo_schema_version VALUES ('{row}')" for row in CONTRACTS[-1:])]
)

_PROGRAM = """
import asyncio, json

from sqlmodel import select
from todo_schema import TodoSchemaError, revisions
import todo_schema

revisions.in_order()

async def read_tasks_async(url, **options):
    async with todo_schema.session_factory(url, **options) as sessions, sessions() as session:
        return len((await session.exec(select(todo_schema.Task))).all())

def said(driver, url, name, options):
    try:
        if name == "read_tasks":
            return {"answer": asyncio.run(read_tasks_async(url, **options))}
        if driver == "psycopg":
            return {"answer": getattr(todo_schema, name)(url, **options)}
        return {"answer": asyncio.run(getattr(todo_schema, name + "_async")(url, **options))}
    except TodoSchemaError as error:
        facts = {name: getattr(error, name) for name in ("found", "needed", "cure")}
        return {"error": type(error).__name__, **facts, "clients": getattr(error, "clients", ())}

def boot(asked):
    driver, url, questions = json.loads(asked)
    answers = [said(driver, url, *question) for question in questions]
    return json.loads(json.dumps(answers, default=lambda report: report.as_dict()))
"""

Question = str | tuple[str, dict[str, object]]


class Asked:
    """Another version of the package: what its functions say, each call in a process of its own; see `asked`."""

    def __init__(self, replicas: Forker) -> None:
        """Take a forker of the package."""
        self._replicas = replicas

    def start(self, call: Call, url: str | None, *questions: Question, n: int = 1) -> list[int]:
        """Start n processes that ask the same; return their ids. `outcomes` waits for them."""
        asked = [(question, {}) if isinstance(question, str) else question for question in questions]
        driver = call.__name__  # type: ignore[attr-defined]
        return self._replicas.start(json.dumps([driver, url, asked]), n)

    def outcomes(self) -> list[dict[str, Any]]:
        """Wait for all that were started, and return what became of each: its answers are the `result`."""
        return self._replicas.outcomes()

    def __call__(self, call: Call, url: str | None, *questions: Question) -> list[Any]:
        """Return what functions of the package say one after the other.

        An answer is the facts of a report. A refusal is a dictionary of its `error`, the name of the class, of its
        `found`, `needed` and `cure`, and of its `clients`.
        """
        self.start(call, url, *questions)
        (outcome,) = self.outcomes()
        assert outcome["ok"], outcome["error"]
        return [said.get("answer", said) for said in outcome["result"]]


@contextmanager
def asked(package: Path) -> Iterator[Asked]:
    """Give the package in a folder, to be asked."""
    with forker(_PROGRAM, pythonpath=package) as replicas:
        yield Asked(replicas)


def revisions_of(report: dict[str, Any], of: str = "applied") -> list[str]:
    """The revisions that a report lists."""
    return [step["revision"] for step in report[of]]


def recorded(url: str, schema: str = "public") -> set[str]:
    """The rows of the version table."""
    return {row[0] for row in execute(url, f"SELECT version_num FROM {schema}.todo_schema_version")}


def floors(url: str, schema: str = "public") -> list[int]:
    """The floor of each row of the history, oldest first; the last is in force."""
    return [row[0] for row in rows(url, "floor", schema)]


def everything(url: str) -> tuple[object, ...]:
    """All that a step could change: the catalogue, the version and the history."""
    return dump(url), recorded(url), rows(url, "revision, line, ordinal, action, floor")


@contextmanager
def leased(
    url: str, version: int, service: str = "billing-api", schema: str = "public"
) -> Iterator[psycopg.Connection]:
    """Hold the lease of a schema version, as a connection of a session factory does."""
    with psycopg.connect(url, autocommit=True, application_name=service) as connection:
        connection.execute(
            cast("LiteralString", f"SELECT pg_advisory_lock_shared({class_expression(schema)}, {version})")
        )
        yield connection
