"""What docs/ speaks of exists: links, functions, commands and options, states, error classes."""

import ast
import re
import textwrap
from pathlib import Path

import pytest
import typer

import todo_schema
from tests.support.processes import CHECKOUT
from tests.support.revision_rules import RevisionFile
from todo_schema import State, operations
from todo_schema.cli import app

PAGES = [*sorted((CHECKOUT / "docs").glob("*.md")), CHECKOUT / "README.md"]
COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@every_page
def test_each_link_leads_to_a_file(page: Path):
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


@every_page
def test_each_error_and_each_function_that_is_named_is_public(page: Path):
    text = page.read_text(encoding="utf-8")
    errors = set(re.findall(r"\b[A-Z]\w+Error\b", text))
    functions = set(
        re.findall(r"`(upgrade|check|wait|status|clients|contract|downgrade|stamp|session_factory)\b", text)
    )
    assert (errors | functions) - set(todo_schema.__all__) == set()


@every_page
def test_each_command_and_option_exists(page: Path):
    for command, rest in re.findall(
        r"todo-schema ([a-z]+)((?: [^\s`|,;]+)*)", page.read_text(encoding="utf-8")
    ):
        known = {name for parameter in COMMANDS[command].params for name in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", rest)) - known == set(), (command, rest)


def test_the_table_of_states_has_each_once_in_order():
    text = (CHECKOUT / "docs" / "compatibility.md").read_text(encoding="utf-8")
    assert re.findall(r"^\|[^|]*\| `(\w+)` \|", text, re.MULTILINE) == [state.value for state in State]


def test_the_table_of_operations_has_each():
    text = (CHECKOUT / "docs" / "writing-revisions.md").read_text(encoding="utf-8")
    listed = "\n".join(re.findall(r"^\| `.*$", text, re.MULTILINE))
    functions = {name for name in operations.__all__ if name.islower()} - {"violation"}
    assert {name for name in functions if not re.search(rf"`{name}\b", listed)} == set()
    assert set(re.findall(r"^\| `(\w+)", listed, re.MULTILINE)) - {"operations"} <= functions


def test_the_revision_on_the_page_keeps_the_rules_of_revisions(tmp_path: Path):
    text = (CHECKOUT / "docs" / "writing-revisions.md").read_text(encoding="utf-8")
    (code,) = (
        block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "down_revision" in block
    )
    path = tmp_path / "004_tasks_newest_first.py"
    path.write_text(code, encoding="utf-8")
    assert list(RevisionFile(path).problems_of_form()) == []


def test_code_on_the_pages_is_python():
    for page in PAGES:
        for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            ast.parse(f"async def block():\n{textwrap.indent(block, '    ')}")
