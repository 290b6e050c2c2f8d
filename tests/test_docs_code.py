"""The code on the pages of docs/ for services is run, block by block: see tests/support/doc_code.py."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import doc_code
from tests.support.clusters import Cluster
from tests.support.processes import CHECKOUT, clean_environment
from todo_schema import embedded

DOCS = CHECKOUT / "docs"
NAMES = ("services.md", "adopting.md", "multi-tenant.md")
THERE = [page for page in (DOCS / name for name in NAMES) if page.exists()]


def run_page(page: Path, folder: Path, url: str = "") -> subprocess.CompletedProcess[str]:
    """Run the code of a page in a folder, with psql, our command and those of the environment at hand."""
    (folder / "bin").mkdir()
    # Of this checkout, and there also where the package is not installed.
    ours = folder / "bin" / "todo-schema"
    ours.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m todo_schema "$@"\n')
    ours.chmod(0o755)
    programs = [folder / "bin", Path(sys.executable).parent, embedded.binaries(), os.environ["PATH"]]
    environment = {
        "DATABASE_URL": url,
        "PATH": os.pathsep.join(map(str, programs)),
        "NO_COLOR": "1",
        "COLUMNS": "200",
        "TERMINAL_WIDTH": "200",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTEST_PLUGINS": "todo_schema.testing",  # ditto, without the entry point
    }
    project = folder / "project"
    project.mkdir()
    return subprocess.run(
        [sys.executable, doc_code.__file__, page],
        cwd=project,
        env=clean_environment(environment),
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=150,
    )


def test_each_page_for_services_is_there():
    assert [page.name for page in THERE] == list(NAMES)


@pytest.mark.parametrize("page", THERE, ids=lambda page: page.name)
def test_no_block_on_a_page_is_passed_over(page: Path):
    text = page.read_text(encoding="utf-8")
    blocks = list(doc_code.blocks(text))
    assert len(blocks) == len(re.findall("^ *```", text, re.MULTILINE)) / 2
    assert [b for b in blocks if b.language not in {"python", "console"} and not b.file] == []


@pytest.mark.parametrize("page", THERE, ids=lambda page: page.name)
def test_the_code_on_a_page_does_what_the_page_says(page: Path, tmp_path: Path, private_server: Cluster):
    done = run_page(page, tmp_path, private_server.create_database("shop"))
    assert done.returncode == 0, done.stdout


def test_a_page_may_write_files_and_use_them_and_what_came_before(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text(
        "```python\n# file: shop/names.py\nNAME = 'Ann'\n```\n"
        "```python\nfrom shop.names import NAME\n```\n```toml\na = 1\n```\n"
        "```python\nassert NAME == 'Ann'\n```\n"
        "```console\n$ python -c \"from shop.names import NAME; \\\n print('hello', NAME, 7)\"\nhello A…  7\n"
        "$ exit 3\n# exit 3\n```\n"
    )
    done = run_page(page, tmp_path)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ("```python\n1 / 0\n```\n", ("line 3", "ZeroDivisionError")),
        ("```python\nimport sys; sys.exit(0)\n```\n", ("line 3", "SystemExit")),
        (
            "```console\n$ true\n$ echo so it is; exit 2\n```\n",
            ("line 4", "so it is", "exited with 2, not 0"),
        ),
        ("```console\n$ echo so it is\n# exit 2\n```\n", ("line 3", "exited with 0, not 2")),
        ("```console\n$ echo so it is\nso … was\n```\n", ("line 3", "so it is", "so … was")),
    ],
)
def test_what_a_page_gets_wrong_is_named_by_its_line(tmp_path: Path, block: str, said: tuple[str, ...]):
    page = tmp_path / "page.md"
    page.write_text(f"# A page\n{block}", encoding="utf-8")
    done = run_page(page, tmp_path)
    assert done.returncode == 1
    assert [text for text in said if text not in done.stdout] == [], done.stdout
