"""The revisions of this package: their files, their order, and their SQL. No database is asked."""

import hashlib
import inspect
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

from alembic.script import Script, ScriptDirectory
from sqlalchemy import Connection

from todo_schema.collecting import collect
from todo_schema.compatibility import BASE, Line, line_of, number_of, revision_at
from todo_schema.errors import UnknownRevisionError
from todo_schema.parts import Part, messages_of
from todo_schema.reports import Revision
from todo_schema.violations import Violation

Preflight = Callable[[Connection], Iterable[Violation]]

_FOLDER = Path(__file__).parent / "migrations"


@cache
def scripts() -> ScriptDirectory:
    """Return the revisions of this package, of both lines."""
    folders = [str(_FOLDER / folder) for folder in ("versions", "contract")]
    directory = ScriptDirectory(str(_FOLDER), version_locations=folders)
    directory.get_heads()  # reads the files now: threads that share it find it complete
    return directory


@cache
def in_order() -> tuple[Revision, ...]:
    """Return the revisions of this package as their files describe them: each after all that it builds on."""
    return tuple(sorted(map(_describe, scripts().walk_revisions()), key=_place))


def _place(revision: Revision) -> tuple[int, Line, int]:
    number = number_of(revision.revision)
    if revision.line is Line.EXPAND:
        return number, Line.EXPAND, 0
    assert revision.requires is not None  # noqa: S101  # _describe read it
    # Among those that need the same schema, and after the schema itself: "expand" sorts behind "contract".
    return revision.requires + 1, Line.CONTRACT, number


def of(line: Line) -> tuple[Revision, ...]:
    """Return the revisions of one line, in order."""
    return tuple(revision for revision in in_order() if revision.line is line)


def find(name: str | int) -> str:
    """Return the revision that a person means: `2`, `"2"`, `"002"`, `"base"`, `"c001"`, or `"c000"` for none of those.

    Raises:
        UnknownRevisionError: This package has no such revision.

    """
    text = str(name)
    wanted = text.lstrip("0").rjust(3, "0") if text.isascii() and text.isdigit() else text
    known = [BASE, *(revision.revision for revision in in_order())]
    if wanted not in known and wanted != revision_at(Line.CONTRACT, 0):
        raise UnknownRevisionError(
            f"revision {wanted!r}",
            f"one of {', '.join(known)}",
            "correct the revision, or install the version of todo-schema that contains it",
        )
    return wanted


def due(version: int | None) -> tuple[Revision, ...]:
    """Return the expand revisions that lead from a schema version to the head, in order."""
    return between(Line.EXPAND, version or 0, len(of(Line.EXPAND)))


def between(line: Line, after: int, last: int) -> tuple[Revision, ...]:
    """Return the revisions of a line after one place and up to another, in order."""
    return tuple(revision for revision in of(line) if after < number_of(revision.revision) <= last)


def at(line: Line, numbers: Iterable[int]) -> tuple[Revision, ...]:
    """Return the revisions at some places of a line, in the order of the places; what is unknown is left out."""
    known = {number_of(revision.revision): revision for revision in of(line)}
    return tuple(known[number] for number in numbers if number in known)


def undue(version: int | None, contract: int, to: str) -> tuple[Revision, ...]:
    """Return the revisions that have to be undone to get down to `to`, in order.

    Before an expand revision is undone, so are the contract revisions that require it.

    Args:
        version: The schema version now.
        contract: The place in the contract line now.
        to: Where to stop. A contract revision, or `c000`, leaves the expand line as it is.

    """
    stop = number_of(to)
    if line_of(to) is Line.CONTRACT:
        return between(Line.CONTRACT, stop, contract)[::-1]
    applied = [*between(Line.EXPAND, stop, version or 0), *between(Line.CONTRACT, 0, contract)]
    kept = {r.revision for r in applied if r.requires is not None and r.requires <= stop}
    return tuple(sorted((r for r in applied if r.revision not in kept), key=_place, reverse=True))


def below(revision: str) -> str:
    """Return what comes before a revision in its line: `base` or `c000` before the first."""
    return revision_at(line_of(revision), number_of(revision) - 1)


def parts(revision: str, *, downward: bool = False) -> tuple[Part, ...]:
    """Return what a revision consists of, upwards or on the way back."""
    module: Any = scripts().get_revision(revision).module
    requires = getattr(module, "requires", None)
    return collect(
        module.downgrade if downward else module.upgrade, revision, requires=requires, downward=downward
    )


def render(revision: str, *, downward: bool = False) -> str:
    """Return the SQL of one revision, without its bookkeeping, for tables that the search_path finds."""
    statements = [s for part in parts(revision, downward=downward) for s in messages_of(part)]
    return "\n\n".join(f"{statement};" for statement in statements)


def preflight_of(revision: str) -> Preflight | None:
    """Return the function of a revision that looks for rows it would fail on, None where it has none."""
    module: Any = scripts().get_revision(revision).module
    return getattr(module, "preflight", None)


def checksum(revision: str) -> str:
    """Return the SHA-256 of a revision file, the same whatever line endings a checkout gave it."""
    source = Path(scripts().get_revision(revision).path).read_bytes()
    return hashlib.sha256(source.replace(b"\r\n", b"\n").replace(b"\r", b"\n")).hexdigest()


def _describe(script: Script) -> Revision:
    summary, _, details = inspect.cleandoc(script.module.__doc__ or "").partition("\n")
    line = line_of(script.revision)
    contract = line is Line.CONTRACT
    return Revision(
        revision=script.revision,
        summary=summary.rstrip("."),
        details=details.strip(),
        checksum=checksum(script.revision),
        line=line,
        requires=script.module.requires if contract else None,
        floor=script.module.floor if contract else None,
        deferred=getattr(script.module, "deferred", None),
        builds_on=tuple(getattr(script.module, "builds_on", ())),
    )
