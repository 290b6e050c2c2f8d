"""What the README shows is what runs."""

import importlib.util
from pathlib import Path

import pytest

from tests import diagram
from todo_schema import SCHEMA_VERSION

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
QUICKSTART = ROOT / "examples" / "quickstart.py"


def test_the_first_code_of_the_readme_is_the_quickstart_to_the_byte():
    first = README.split("```python\n", 1)[1].split("```\n", 1)[0]
    assert first == QUICKSTART.read_text(encoding="utf-8")


async def test_the_quickstart_works_on_an_empty_database_and_again_on_the_next_boot(database, capsys):
    spec = importlib.util.spec_from_file_location("quickstart", QUICKSTART)
    quickstart = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(quickstart)
    assert await quickstart.main(database) == ["task 1: Water the plants"]
    assert f"schema none -> {SCHEMA_VERSION}" in capsys.readouterr().out
    assert len(await quickstart.main(database)) == 2
    assert "nothing to do" in capsys.readouterr().out


@pytest.mark.parametrize("page", diagram.PAGES, ids=lambda page: page.name)
def test_each_diagram_is_what_the_models_say(page: Path):
    assert diagram.drawn(page) == diagram.diagram(), "make diagram"


def test_the_readme_fits_its_bounds():
    lines = README.splitlines()
    assert len(lines) <= 150
    assert next(number for number, line in enumerate(lines, start=1) if line.startswith("```python")) <= 12
