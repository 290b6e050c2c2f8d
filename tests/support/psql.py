"""Scripts for psql, run by psql."""

import subprocess

from tests.support.processes import clean_environment
from todo_schema import embedded


def psql(url: str, script: str) -> subprocess.CompletedProcess[str]:
    """Run a script to its end, and return what psql said."""
    return subprocess.run(
        [embedded.binaries() / "psql", "--no-psqlrc", "--quiet", url],
        input=script,
        check=False,
        capture_output=True,
        text=True,
        env=clean_environment({"PGCLIENTENCODING": "UTF8"}),
        timeout=60,
    )


def apply(url: str, script: str) -> None:
    """Run a script that has to succeed in silence."""
    done = psql(url, script)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
