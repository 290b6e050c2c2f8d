"""What can be seen of a statement only from another connection: who is in its way, and how far it has come."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from todo_schema import locks
from todo_schema.alongside import Pause, beside
from todo_schema.locks import Session
from todo_schema.parts import IndexBuild, Part
from todo_schema.quoting import identifier, literal
from todo_schema.reports import Progress
from todo_schema.wire import Wire
from todo_schema.work import NEVER_IDLE, Work

_LOOK_EVERY = 0.04  # seconds; a lock timeout is 0.1 at least
_REPORT_EVERY = 0.5
# What is done by then needs no second connection.
_REPORT_AFTER = 1.0


@contextmanager
def blockers(work: Work, pid: int) -> Iterator[dict[str, Session]]:
    """Note who is in the way of a session, by process id. Deferred work that is gets cancelled: it can wait."""
    seen: dict[str, Session] = {}

    def watch(pause: Pause) -> None:
        with work.database.wire() as wire:
            wire.run(NEVER_IDLE)
            while True:
                seen.update((session.pid, session) for session in _blockers(wire, pid))
                if pause(_LOOK_EVERY):
                    return

    with beside(work.database, watch):
        yield seen


def _blockers(wire: Wire, pid: int) -> list[Session]:
    found = locks.blockers(wire, pid)
    for session in found:
        if session.gives_way:
            with suppress(Exception):  # another role's, perhaps
                wire.run(f"SELECT pg_cancel_backend({session.pid})")
    return found


@contextmanager
def long_statement(work: Work, revision: str, part: Part, pid: int) -> Iterator[None]:
    """Report how far an index has been built, while it is built in the block; deferred work in its way is cancelled.

    Args:
        work: The run.
        revision: The revision.
        part: What is carried out.
        pid: The session that does it.

    """
    build = part if isinstance(part, IndexBuild) else None
    table = literal(f"{identifier(work.schema)}.{identifier(build.table)}") if build else "NULL"
    query = f"""SELECT phase, blocks_done, blocks_total, tuples_done, tuples_total
        FROM pg_stat_progress_create_index WHERE relid = to_regclass({table})"""

    def watch(pause: Pause) -> None:
        if pause(_REPORT_AFTER):
            return
        with work.database.wire() as wire:
            wire.run(NEVER_IDLE)
            while True:
                if found := _blockers(wire, pid):
                    text = f"{revision} {part.about} waits for {locks.named(found)}"
                    work.tell(Progress("waiting", revision, text))
                if build is not None:
                    for row in wire.fetch(query):
                        work.tell(_progress(revision, build, row))
                if pause(_REPORT_EVERY):
                    return

    with beside(work.database, watch):
        yield


def _progress(revision: str, part: IndexBuild, row: tuple[object, ...]) -> Progress:
    phase = str(row[0])
    blocks, all_blocks, rows, all_rows = (int(str(number or 0)) for number in row[1:])
    done, total, unit = (rows, all_rows, "rows") if all_rows else (blocks, all_blocks, "blocks")
    share = f", {done} of {total} {unit}" if total else ""
    return Progress(
        "building", revision, f"{revision} {part.about}: {phase}{share}", done, total or None, unit
    )
