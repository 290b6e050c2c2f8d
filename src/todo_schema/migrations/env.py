"""What `alembic revision --autogenerate` and `alembic check` run in a checkout. Nothing else runs it.

    alembic revision --autogenerate -m "add note" --rev-id 017
    alembic revision --autogenerate -m "drop note" --rev-id c002

compares the models with a database that the revisions of both lines made: a throw-away PostgreSQL from the extra
`embedded`, or a scratch database of the author's, `alembic -x url=postgresql://… revision …`, which is taken to both
heads first.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from alembic import context
from alembic.operations import MigrationScript
from alembic.util import CommandError
from sqlalchemy import NullPool, TypeDecorator, create_engine

from todo_schema import contract, embedded, revisions, upgrade
from todo_schema.compatibility import (
    BASE,
    SCHEMA_VERSION,
    VERSION_TABLE,
    Line,
    line_of,
    number_of,
    revision_at,
)
from todo_schema.models import TodoBase
from todo_schema.urls import DatabaseUrl


def main() -> None:
    """Compare the models with a database at the heads of both lines."""
    if context.is_offline_mode():
        raise CommandError("the script for psql comes from: todo-schema sql")
    # Of `alembic revision` alone: `alembic check` writes no file.
    if hasattr(context.config.cmd_opts, "rev_id"):
        _require_next(context.config.cmd_opts.rev_id)
    newest = number_of(revisions.of(Line.EXPAND)[-1].revision)
    if newest > SCHEMA_VERSION:
        raise CommandError(
            f"revision {newest:03d} is there: set SCHEMA_VERSION = {newest} in compatibility.py"
        )
    with _database() as url:
        upgrade(url)
        contract(url)
        parsed = DatabaseUrl.parse(url)
        engine = create_engine(
            parsed.sqlalchemy_url("psycopg"), poolclass=NullPool, **parsed.engine_arguments("psycopg")
        )
        with engine.connect() as connection:
            context.configure(
                connection=connection,
                target_metadata=TodoBase.metadata,
                version_table=VERSION_TABLE,
                compare_server_default=True,
                render_item=_plain_type,
                process_revision_directives=_put_in_line,
                template_args={"schema_version": SCHEMA_VERSION},
            )
            # A revision that was run from here would lack its `op` and its row in the history, so it fails.
            context.run_migrations()


@contextmanager
def _database() -> Iterator[str]:
    given = context.get_x_argument(as_dictionary=True).get("url")
    if given:
        yield str(given)
    else:
        with embedded.postgres() as url:
            yield url


def _require_next(asked: str | None) -> None:
    """Raise unless the revision that is asked for is the next of its line: one that is there would be overwritten."""
    expand, narrow = (revision_at(line, len(revisions.of(line)) + 1) for line in Line)
    if asked in (expand, narrow):
        return
    there = [revision for line in Line for revision in revisions.of(line) if revision.revision == asked]
    found = (
        f"revision {asked} is there: edit its file"
        if there
        else f"revision {asked or 'without an ID'} is not next"
    )
    raise CommandError(f'{found}, or: make revision ID={expand} M="what it does", or ID={narrow} to contract')


def _put_in_line(_context: Any, _heads: Any, directives: list[MigrationScript]) -> None:
    """Let a revision follow those of its own line, which its name says: `c002` comes after `c001`."""
    (written,) = directives
    if not number_of(written.rev_id):
        return  # `alembic check` writes nothing, and has a name for it that is none of ours
    line = line_of(written.rev_id)
    begun = bool(revisions.of(line))
    written.head = f"{line}@head" if begun else BASE
    written.branch_label = None if begun else line.value
    written.version_path = str(Path(__file__).parent / ("contract" if line is Line.CONTRACT else "versions"))


def _plain_type(kind: str, item: Any, _autogenerate: Any) -> str | Literal[False]:
    """Write a type of SQLModel's as the SQLAlchemy type behind it: a released revision needs no SQLModel."""
    if kind == "type" and isinstance(item, TypeDecorator) and type(item).__module__.startswith("sqlmodel"):
        return f"sa.{item.impl_instance!r}"
    return False


main()
