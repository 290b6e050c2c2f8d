"""The author's side: `alembic revision --autogenerate` in a checkout writes a revision in the form of ours."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.catalog_dump import dump
from tests.support.packages import COLUMN, NEXT_REVISION
from tests.support.processes import CHECKOUT, SOURCE, clean_environment
from tests.support.revisions import NEXT, NEXT_VERSION
from tests.support.states import version
from todo_schema import SCHEMA_VERSION
from todo_schema.compatibility import HEAD


class Checkout:
    """A copy of this checkout, as an author of revisions has it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copy(CHECKOUT / "pyproject.toml", folder)
        shutil.copytree(SOURCE, folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
        self.versions = folder / "src" / "todo_schema" / "migrations" / "versions"

    def alembic(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Run `alembic args…` in the checkout."""
        return subprocess.run(
            [sys.executable, "-m", "alembic", *args],
            check=False,
            capture_output=True,
            text=True,
            env=clean_environment({"PYTHONPATH": ""}),
            cwd=self.folder,
            timeout=60,
        )

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
    url = ["-x", f"url={database}"] if given != "nothing" else []
    done = checkout.alembic(*url, "revision", "--autogenerate", "-m", "add note", "--rev-id", NEXT)
    assert done.returncode == 0, done.stderr
    written = (checkout.versions / f"{NEXT}_add_note.py").read_text()
    (example,) = NEXT_REVISION.values()
    assert _code(written) == _code(example)
    assert written.startswith('"""Add note.\n\nGain: ')
    for part in ("\nLocks: ", "\nOlder packages: ", "\nGoing back: "):
        assert part in written
    early = checkout.alembic(*url, "check")
    assert f"set SCHEMA_VERSION = {NEXT_VERSION} in compatibility.py" in early.stdout + early.stderr
    line = "\nSCHEMA_VERSION: Final = {}\n"
    checkout.edit("compatibility.py", line.format(SCHEMA_VERSION), line.format(NEXT_VERSION))
    checked = checkout.alembic(*url, "check")
    assert checked.returncode == 0, checked.stdout + checked.stderr


def _code(revision: str) -> list[str]:
    """The lines of a revision without what its docstrings say."""
    tree = ast.parse(revision)
    for node in [tree, *(node for node in tree.body if isinstance(node, ast.FunctionDef))]:
        node.body = [part for part in node.body if not isinstance(getattr(part, "value", None), ast.Constant)]
    module = ast.parse(revision)
    constants = [ast.unparse(node) for node in module.body if isinstance(node, ast.Assign)]
    return [*constants, *ast.unparse(tree).splitlines()]


def test_at_the_head_there_is_nothing_to_write(checkout: Checkout, database: str):
    url = ["-x", f"url={database}"]
    assert checkout.alembic(*url, "check").returncode == 0
    assert checkout.alembic(*url, "revision", "--autogenerate", "-m", "x", "--rev-id", NEXT).returncode == 0
    written = (checkout.versions / f"{NEXT}_x.py").read_text()
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
    url = ["-x", f"url={database}"]
    assert checkout.alembic(*url, "revision", "--autogenerate", "-m", "x", "--rev-id", NEXT).returncode == 0
    written = (checkout.versions / f"{NEXT}_x.py").read_text()
    assert f'sa.Column("{COLUMN}", sa.String(length=9), nullable=True)' in written
    assert "sqlmodel" not in written


@pytest.mark.parametrize("command", [["upgrade", "head", "--sql"], ["downgrade", "base"]])
def test_alembic_itself_applies_nothing(checkout: Checkout, upgraded_database: str, command: list[str]):
    before = dump(upgraded_database)
    done = checkout.alembic("-x", f"url={upgraded_database}", *command)
    assert done.returncode != 0
    assert "TABLE" not in done.stdout
    assert dump(upgraded_database) == before
    assert version(upgraded_database) == [HEAD]
