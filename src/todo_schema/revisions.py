"""The revisions of this package: their files, their order, and their SQL. No database is asked."""

import hashlib
import inspect
import io
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import Script, ScriptDirectory

from todo_schema.compatibility import BASE, ordinal_of
from todo_schema.errors import UnknownRevisionError
from todo_schema.reports import Revision

_FOLDER = Path(__file__).parent / "migrations"


@cache
def scripts() -> ScriptDirectory:
    """Return the revisions of this package."""
    directory = ScriptDirectory(str(_FOLDER), version_locations=[str(_FOLDER / "versions")])
    directory.get_heads()  # reads the files now: threads that share it find it complete
    return directory


@cache
def in_order() -> tuple[Revision, ...]:
    """Return the revisions of this package, oldest first, as their files describe them."""
    newest_first: Iterable[Script] = scripts().walk_revisions()
    return tuple(_describe(script) for script in reversed(list(newest_first)))


def find(name: str | int) -> str:
    """Return the revision that a person means: `2`, `"2"`, `"002"`, or `"base"`.

    Raises:
        UnknownRevisionError: This package has no such revision.

    """
    text = str(name)
    wanted = text.lstrip("0").rjust(3, "0") if text.isascii() and text.isdigit() else text
    known = [BASE, *(revision.revision for revision in in_order())]
    if wanted not in known:
        raise UnknownRevisionError(
            f"revision {wanted!r}",
            f"one of {', '.join(known)}",
            "correct the revision, or install the version of todo-schema that contains it",
        )
    return wanted


def due(version: int | None) -> tuple[Revision, ...]:
    """Return the revisions that lead from a schema version to the head, in order."""
    return tuple(revision for revision in in_order() if (ordinal_of(revision.revision) or 0) > (version or 0))


def undue(version: int | None, to: str) -> tuple[Revision, ...]:
    """Return the revisions that have to be undone to get from a schema version down to `to`, in order."""
    floor = ordinal_of(to) or 0
    between = [r for r in in_order() if floor < (ordinal_of(r.revision) or 0) <= (version or 0)]
    return tuple(reversed(between))


def below(revision: str) -> str:
    """Return the revision that comes before, `base` before the first."""
    down = scripts().get_revision(revision).down_revision
    return down if isinstance(down, str) else BASE


def render(revision: str, *, downward: bool = False) -> str:
    """Return the SQL of one revision, without its bookkeeping."""
    buffer = io.StringIO()
    context = MigrationContext.configure(
        dialect_name="postgresql",
        # With the driver's own parameter style a per cent sign would come out doubled.
        dialect_opts={"paramstyle": "named"},
        opts={"as_sql": True, "output_buffer": buffer},
    )
    script = scripts().get_revision(revision)
    (script.module.downgrade if downward else script.module.upgrade)(Operations(context))
    return buffer.getvalue().strip()


def checksum(revision: str) -> str:
    """Return the SHA-256 of a revision file, the same whatever line endings a checkout gave it."""
    source = Path(scripts().get_revision(revision).path).read_bytes()
    return hashlib.sha256(source.replace(b"\r\n", b"\n").replace(b"\r", b"\n")).hexdigest()


def _describe(script: Script) -> Revision:
    summary, _, details = inspect.cleandoc(script.module.__doc__ or "").partition("\n")
    return Revision(script.revision, summary.rstrip("."), details.strip(), checksum(script.revision))
