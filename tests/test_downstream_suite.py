"""A service's own tests, with the fixtures of the wheel and not a line in the service that names a plugin."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import clean_environment
from tests.support.releases import install
from todo_schema.throwaway import ABANDONED

NOTEBOOK = Path(__file__).parent / "downstream" / "notebook"


@pytest.fixture(scope="module")
def site(once, wheel):
    """The PYTHONPATH of this checkout's wheel, as pip installs it."""
    return once("site", lambda folder: install(wheel, folder))


@pytest.fixture
def run(site, tmp_path):
    """Runs the service's tests, in a copy of its folder."""
    service = shutil.copytree(NOTEBOOK, tmp_path / "notebook")

    def run(*options, env=None):
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options],
            env=clean_environment(env, site),
            cwd=service,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        return done.stdout + done.stderr

    return run


def test_a_service_runs_its_tests_in_parallel_on_a_server_that_is_there_and_leaves_nothing(server, run):
    said = run("-n", "2", env={"TODO_SCHEMA_TEST_URL": server.url()})
    assert "13 passed" in said, said
    assert server.execute(ABANDONED) == []


def test_a_service_runs_its_tests_with_neither_server_nor_configuration(run):
    """Each worker has a server; also with pytest-asyncio's other mode, and the line that older releases asked for."""
    options = ("-n", "2", "-o", "asyncio_mode=auto", "-p", "todo_schema.testing")
    said = run(*options, "--ignore=tests/test_store_anyio.py")
    assert "11 passed" in said, said


def test_a_service_that_wants_none_of_it_leaves_the_plugin_out(run):
    listed = run("--fixtures", "-p", "no:todo_schema")
    assert "todo_schema_prepare" in listed  # the service's own
    assert "todo_schema_url" not in listed
