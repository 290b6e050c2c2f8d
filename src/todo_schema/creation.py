"""The first boot: every revision of a database that has no tables of ours, in one transaction.

Nobody reads or writes these tables yet, so that what is done beside others elsewhere, in parts, takes milliseconds
here; and a run that dies leaves nothing.
"""

import logging
import time

from sqlalchemy import Connection

from todo_schema import bookkeeping, revisions, runner
from todo_schema.drivers import TransactionWire
from todo_schema.inspection import Found
from todo_schema.parts import in_place
from todo_schema.quoting import identifier
from todo_schema.reports import AppliedStep, Progress, Revision
from todo_schema.transactions import expect_recorded, explaining, in_transaction
from todo_schema.work import Work

_log = logging.getLogger("todo_schema")


def create(work: Work, connection: Connection, found: Found, due: tuple[Revision, ...]) -> list[AppliedStep]:
    """Apply all revisions that are due, each with its row of the history. Returns the steps.

    Raises:
        VersionMovedError: Another process has begun meanwhile.
        TodoSchemaError: What `runner.apply` raises.

    """
    steps: list[AppliedStep] = []

    def do(wire: TransactionWire) -> None:
        steps.clear()
        expect_recorded(wire, found)
        begun = time.perf_counter() - _age(wire)
        for revision in due:
            work.tell(Progress("applying", revision.revision, f"applying {revision}"))
            started = time.perf_counter()
            with explaining(found, revision.revision):
                _apply(wire, found, revision, started - begun)
            took = time.perf_counter() - started
            steps.append(AppliedStep(revision.revision, revision.summary, took))
        wire.run(bookkeeping.hand_over_statement(found.schema))

    in_transaction(work, connection, found, due[0].revision, do)
    for step in steps:
        _log.info("applying %s took %.0f ms in schema %s", step.revision, step.seconds * 1000, work.schema)
        work.tell(Progress("applied", step.revision, str(step)))
    return steps


def _age(wire: TransactionWire) -> float:
    """Return for how long the transaction has lasted, in seconds."""
    ((seconds,),) = wire.fetch(
        "SELECT extract(epoch FROM clock_timestamp() - transaction_timestamp())::float8"
    )
    return float(str(seconds))


def _apply(wire: TransactionWire, found: Found, revision: Revision, before: float) -> None:
    """Apply a revision, before which the transaction has lasted some seconds, and say how long this one took."""
    step = runner.step_of(revision, found.floor, downward=False)
    wire.run(bookkeeping.record_statement(found.schema, step, bookkeeping.this_host(), -before))
    for part in revisions.parts(revision.revision):
        for statement in in_place(part, f"{identifier(found.schema)}."):
            wire.run(statement)
    for statement in bookkeeping.finish_statements(found.schema, step):
        wire.run(statement)
