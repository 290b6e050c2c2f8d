"""Copies of the package with other revisions, other code, or as a wheel."""

import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.nest import run_code
from tests.support.processes import CHECKOUT, SOURCE
from tests.support.revisions import CONTRACT, CONTRACTS, NEXT, NEXT_VERSION
from tests.support.servers import Server
from todo_schema import SCHEMA_VERSION
from todo_schema.compatibility import HEAD

_WRITE_CATALOGUES = """
import sys
from pathlib import Path

from tests.support.servers import given_server
from tests.write_catalog import write_catalogs
from todo_schema import SCHEMA_VERSION

with given_server(sys.argv[1]) as server:
    write_catalogs(server, Path(sys.argv[2], "todo_schema", "migrations", "catalog"), SCHEMA_VERSION)
"""

# A column that no revision of ours will ever add.
COLUMN = "throwaway_note"

# What the contract step of tests drops: a column, and with it the rule that it has.
DROPPED = "description"
DROPPED_RULE = f'CheckConstraint("length({DROPPED}) <= 16384", name="ck_tasks_{DROPPED}_length")'

# In the models of a package that no longer uses the dropped column: (file, text, text to put there instead).
WITHOUT_DESCRIPTION = [
    ("models.py", f'    {DROPPED}: str | None = optional(Text, "More about it, or null.")\n', ""),
    ("models.py", f"        {DROPPED_RULE},\n", ""),
]

# A revision that nobody has released, for tests of what happens after the head: {name of the file: its text}.
NEXT_REVISION = {
    f"{NEXT}_add_task_{COLUMN}.py": f'''\
"""A note on a task.

Gain: a task can carry a note.
Locks: tasks, for a few milliseconds.
Older packages: do not see it.
Going back: loses every note.
"""

import sqlalchemy as sa
from alembic.operations import Operations

revision = "{NEXT}"
down_revision = "{HEAD}"


def upgrade(op: Operations) -> None:
    """Add the column."""
    op.add_column("tasks", sa.Column("{COLUMN}", sa.Text(), nullable=True, comment="Anything else."))


def downgrade(op: Operations) -> None:
    """Drop the column."""
    op.drop_column("tasks", "{COLUMN}")
'''
}


# The contract step after it: only packages below the next schema version still read `description`.
# Where it stands in its line: the first names the line.
BELOW_CONTRACT = (
    f'down_revision = "{CONTRACTS[-1]}"' if CONTRACTS else 'down_revision = None\nbranch_labels = "contract"'
)
NEXT_CONTRACT = {
    f"{CONTRACT}_drop_task_{DROPPED}.py": f'''\
"""Drop the description of a task.

Gain: one column less.
Locks: tasks, for a few milliseconds.
Older packages: below schema {NEXT_VERSION} cannot read tasks any more.
Going back: the column is there again, every description is lost.
"""

import sqlalchemy as sa
from alembic.operations import Operations

revision = "{CONTRACT}"
{BELOW_CONTRACT}
requires = {NEXT_VERSION}
floor = {NEXT_VERSION}


def upgrade(op: Operations) -> None:
    """Drop the column."""
    op.drop_column("tasks", "{DROPPED}")


def downgrade(op: Operations) -> None:
    """Add the column again, with its rule and its comment."""
    op.add_column(
        "tasks",
        sa.Column(
            "{DROPPED}",
            sa.Text(),
            sa.{DROPPED_RULE},
            nullable=True,
            comment="More about it, or null.",
        ),
    )
'''
}


def throwaway_package(
    folder: Path,
    revisions: Mapping[str, str] | None = None,
    *,
    edits: Sequence[tuple[str, str, str]] = (),
) -> Path:
    """Copy the package into `folder` with more revisions, and return `folder`: the PYTHONPATH of the copy.

    Args:
        folder: Where the package goes, as `folder/todo_schema`.
        revisions: The text of each revision to add, by the name of its file; the copy's SCHEMA_VERSION counts those
            of the expand line.
        edits: (path inside the package, text that it contains once, text to put there instead).

    """
    package = folder / "todo_schema"
    shutil.copytree(SOURCE / "todo_schema", package, ignore=shutil.ignore_patterns("__pycache__"))
    added = revisions or {}
    for name, text in added.items():
        folder_of_line = "contract" if name.startswith("c") else "versions"
        (package / "migrations" / folder_of_line / name).write_text(text, encoding="utf-8")
    newest = SCHEMA_VERSION + sum(not name.startswith("c") for name in added)
    line = "\nSCHEMA_VERSION: Final = {}\n"
    counted = ("compatibility.py", line.format(SCHEMA_VERSION), line.format(newest))
    _edit(package, (counted, *edits))
    return folder


def edited_copy(original: Path, folder: Path, *edits: tuple[str, str, str]) -> Path:
    """Copy a throw-away package into `folder`, with its catalogues, edit the copy, and return `folder`."""
    shutil.copytree(
        original / "todo_schema", folder / "todo_schema", ignore=shutil.ignore_patterns("__pycache__")
    )
    _edit(folder / "todo_schema", edits)
    return folder


def _edit(package: Path, edits: Sequence[tuple[str, str, str]]) -> None:
    for name, old, new in edits:
        path = package / name
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{name} contains {text.count(old)} times: {old}"
        path.write_text(text.replace(old, new), encoding="utf-8")


def write_catalogues(folder: Path, server: Server) -> None:
    """Write the catalogue file of each schema version of a throw-away package, with the package's own code."""
    done = run_code(_WRITE_CATALOGUES, server.url(), str(folder), pythonpath=folder)
    if done.returncode:
        raise RuntimeError(f"the catalogues of {folder} were not written: {done.stderr}")


def build_wheel(destination: Path) -> Path:
    """Build the wheel of this checkout into `destination` and return its path."""
    done = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", *_isolation(), "--outdir", destination, CHECKOUT],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    if done.returncode:
        raise RuntimeError(f"the wheel was not built: {done.stdout}\n{done.stderr}")
    (wheel,) = destination.glob("*.whl")
    return wheel


def _isolation() -> tuple[str, ...]:
    """Without an environment of its own the build needs no network, but then hatchling has to be here."""
    from importlib.util import find_spec

    return ("--no-isolation",) if find_spec("hatchling") else ()
