"""The author's side: `make revision` in a checkout writes a revision in the form of ours, in its own line."""

import ast
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support import nest
from tests.support.catalog_dump import dump
from tests.support.packages import COLUMN, CONTRACT, NEXT_CONTRACT, NEXT_REVISION, WITHOUT_DESCRIPTION
from tests.support.processes import CHECKOUT, SOURCE
from tests.support.revisions import CONTRACTS, NEXT, NEXT_VERSION
from tests.support.states import version
from todo_schema import SCHEMA_VERSION, history
from todo_schema.compatibility import HEAD, Line, number_of, revision_at


class Checkout:
    """A copy of this checkout, as an author of revisions has it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copy(CHECKOUT / "pyproject.toml", folder)
        shutil.copytree(SOURCE, folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
        self.migrations = folder / "src" / "todo_schema" / "migrations"

    def alembic(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Run `alembic args…` in the checkout."""
        return nest.run("alembic", *args, env={"PYTHONPATH": ""}, cwd=self.folder)

    def revision(self, url: str | None, revision: str, message: str) -> str:
        """Do what `make revision ID=… M=…` does, and return what it wrote."""
        scratch = ["-x", f"url={url}"] if url else []
        done = self.alembic(*scratch, "revision", "--autogenerate", "--rev-id", revision, "-m", message)
        assert done.returncode == 0, done.stderr
        line = "contract" if revision.startswith("c") else "versions"
        return (self.migrations / line / f"{revision}_{message.replace(' ', '_')}.py").read_text()

    def add(self, revisions: Mapping[str, str]) -> None:
        """Add revisions that somebody wrote."""
        for name, text in revisions.items():
            (self.migrations / ("contract" if name.startswith("c") else "versions") / name).write_text(text)

    def forget(self, line: Line) -> None:
        """Take away the revisions of a line, with what their catalogues say."""
        for revision in (r.revision for r in history() if r.line == line):
            for file in self.migrations.rglob(f"{revision}*"):
                file.unlink()

    def set_version(self, version: int) -> None:
        """Set SCHEMA_VERSION, from what it is in this checkout."""
        line = "\nSCHEMA_VERSION: Final = {}\n"
        self.edit("compatibility.py", line.format(SCHEMA_VERSION), line.format(version))

    def edit(self, file: str, old: str, new: str) -> None:
        """Replace a text that the file contains once."""
        path = self.folder / "src" / "todo_schema" / file
        source = path.read_text()
        assert source.count(old) == 1
        path.write_text(source.replace(old, new))


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


NOTE = f"""
    {COLUMN}: str | None = Field(
        default=None, sa_type=Text, sa_column_kwargs={{"comment": "Anything else."}}
    )"""
COMPLETED = """sa_column_kwargs={"server_default": text("false"), "comment": "Whether it is done."},
    )"""


@pytest.mark.parametrize("given", ["nothing", "a scratch database"])
def test_an_author_gets_a_revision_in_the_form_of_ours(checkout: Checkout, database: str, given: str):
    checkout.edit("models.py", COMPLETED, COMPLETED + NOTE)
    written = checkout.revision(database if given != "nothing" else None, NEXT, "add note")
    (example,) = NEXT_REVISION.values()
    assert _code(written) == _code(example)
    assert written.startswith('"""Add note.\n\nGain: ')
    for part in ("\nLocks: ", "\nOlder packages: ", "\nGoing back: "):
        assert part in written
    early = checkout.alembic("check")
    assert f"set SCHEMA_VERSION = {NEXT_VERSION} in compatibility.py" in early.stdout + early.stderr
    checkout.set_version(NEXT_VERSION)
    checked = checkout.alembic("-x", f"url={database}", "check")
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_first_contract_revision_begins_its_line(checkout: Checkout, database: str):
    checkout.forget(Line.CONTRACT)
    written = checkout.revision(database, "c001", "begin")
    assert _constants(written) == [
        "revision = 'c001'",
        "down_revision = None",
        "branch_labels = 'contract'",
        f"requires = {SCHEMA_VERSION}",
        f"floor = {SCHEMA_VERSION}",
    ]


def test_a_contract_revision_states_what_it_requires_and_its_floor(checkout: Checkout, database: str):
    checkout.add(NEXT_REVISION)
    checkout.set_version(NEXT_VERSION)
    checkout.edit("models.py", COMPLETED, COMPLETED + NOTE)
    for edit in WITHOUT_DESCRIPTION:
        checkout.edit(*edit)
    written = checkout.revision(database, CONTRACT, "drop task description")
    (example,) = NEXT_CONTRACT.values()
    assert _constants(written) == _constants(example)
    assert _constants(written)[-2:] == [f"requires = {NEXT_VERSION}", f"floor = {NEXT_VERSION}"]
    # In the way back Alembic writes the column as the server describes it, and no rule.
    *code, back = _code(written)
    assert code == _code(example)[:-1]
    assert back.strip().startswith("op.add_column('tasks', sa.Column('description', sa.TEXT(), ")
    assert written.startswith('"""Drop task description.\n\nGain: ')
    checked = checkout.alembic("-x", f"url={database}", "check")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert version(database) == [NEXT, CONTRACT]


def test_each_line_goes_on_from_its_own_head(checkout: Checkout, database: str):
    checkout.add(NEXT_REVISION | NEXT_CONTRACT)
    checkout.set_version(NEXT_VERSION)
    stated = [f"requires = {NEXT_VERSION}", f"floor = {NEXT_VERSION}"]
    for line, below, rest in ((Line.CONTRACT, CONTRACT, stated), (Line.EXPAND, NEXT, [])):
        name = revision_at(line, number_of(below) + 1)
        written = checkout.revision(database, name, "more")
        assert _constants(written) == [f"revision = '{name}'", f"down_revision = '{below}'", *rest]


def test_the_models_are_compared_with_a_database_at_both_heads(checkout: Checkout, database: str):
    checkout.add(NEXT_REVISION | NEXT_CONTRACT)
    checkout.set_version(NEXT_VERSION)
    checkout.edit("models.py", COMPLETED, COMPLETED + NOTE)
    done = checkout.alembic("-x", f"url={database}", "check")
    assert done.returncode != 0
    assert "'add_column'" in done.stdout + done.stderr
    assert "description" in done.stdout + done.stderr
    for edit in WITHOUT_DESCRIPTION:
        checkout.edit(*edit)
    assert checkout.alembic("-x", f"url={database}", "check").returncode == 0


def _constants(revision: str) -> list[str]:
    return [ast.unparse(node) for node in ast.parse(revision).body if isinstance(node, ast.Assign)]


def _code(revision: str) -> list[str]:
    """The lines of a revision without what its docstrings say."""
    tree = ast.parse(revision)
    for node in [tree, *(node for node in tree.body if isinstance(node, ast.FunctionDef))]:
        node.body = [part for part in node.body if not isinstance(getattr(part, "value", None), ast.Constant)]
    return [*_constants(revision), *ast.unparse(tree).splitlines()]


def test_at_the_head_there_is_nothing_to_write(checkout: Checkout, database: str):
    assert checkout.alembic("-x", f"url={database}", "check").returncode == 0
    written = checkout.revision(database, NEXT, "x")
    assert "op." not in written
    assert written.count("    pass\n") == 2


def test_a_difference_in_the_models_fails_the_check(checkout: Checkout, database: str):
    checkout.edit("models.py", COMPLETED, COMPLETED + NOTE)
    done = checkout.alembic("-x", f"url={database}", "check")
    assert done.returncode != 0
    assert "New upgrade operations detected" in done.stdout + done.stderr


def test_a_type_of_sqlmodel_is_written_as_the_plain_type_behind_it(checkout: Checkout, database: str):
    checkout.edit(
        "models.py", COMPLETED, COMPLETED + f"\n    {COLUMN}: str | None = Field(default=None, max_length=9)"
    )
    written = checkout.revision(database, NEXT, "x")
    assert f'sa.Column("{COLUMN}", sa.String(length=9), nullable=True)' in written
    assert "sqlmodel" not in written


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (["--rev-id", HEAD], f"revision {HEAD} is there: edit its file, or: make revision ID={NEXT}"),
        (["--rev-id", f"{NEXT_VERSION + 1:03d}"], "is not next"),
        ([], "without an ID is not next"),
    ],
)
def test_a_revision_that_is_not_the_next_is_not_written(
    checkout: Checkout, database: str, asked: list[str], told: str
):
    before = {path: path.read_bytes() for path in checkout.migrations.rglob("*.py")}
    done = checkout.alembic("-x", f"url={database}", "revision", "--autogenerate", *asked, "-m", "x")
    assert done.returncode != 0
    assert told in done.stdout + done.stderr
    assert {path: path.read_bytes() for path in checkout.migrations.rglob("*.py")} == before


@pytest.mark.parametrize("command", [["upgrade", "head", "--sql"], ["downgrade", "base"]])
def test_alembic_itself_applies_nothing(checkout: Checkout, finished_database: str, command: list[str]):
    before = dump(finished_database)
    done = checkout.alembic("-x", f"url={finished_database}", *command)
    assert done.returncode != 0
    assert "TABLE" not in done.stdout
    assert dump(finished_database) == before
    assert version(finished_database) == [HEAD, *CONTRACTS[-1:]]
