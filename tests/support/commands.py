"""The command line, of this package and of others: what it prints, and how it exits."""

import json
import os
import pty
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from typer.testing import CliRunner

from tests.support.nest import run_code
from tests.support.processes import clean_environment
from todo_schema.cli import app

# Wide enough that nothing is broken into lines, and without colour.
_TERMINAL = {"NO_COLOR": "1", "COLUMNS": "200", "TERMINAL_WIDTH": "200"}

_PROGRAM = f"""
import json, sys
from typer.testing import CliRunner
from todo_schema.cli import app

for arguments in json.loads(sys.argv[2]):
    result = CliRunner().invoke(app, arguments, env={_TERMINAL!r} | {{"DATABASE_URL": sys.argv[1]}})
    print(json.dumps([result.exit_code, result.stdout, result.stderr]))
"""


class Answer(NamedTuple):
    """What a command said, and the code that it exited with."""

    exit_code: int
    stdout: str
    stderr: str


def call(*arguments: str, url: str | None = None, stdin: str | None = None) -> Any:
    """Run a command of this package, with `url` as DATABASE_URL."""
    return CliRunner().invoke(app, list(arguments), input=stdin, env=_TERMINAL | {"DATABASE_URL": url})


def call_of(package: Path, url: str, *commands: str) -> list[Answer]:
    """Run commands of another version of the package, one after the other in one process."""
    lists = json.dumps([command.split() for command in commands])
    done = run_code(_PROGRAM, url, lists, pythonpath=package)
    assert done.returncode == 0, done.stderr
    return [Answer(*json.loads(line)) for line in done.stdout.splitlines()]


def on_a_terminal(*arguments: str, columns: int, package: Path | None = None) -> tuple[int, str, str]:
    """Run a command whose standard error is a terminal: its exit code, its output, and what the terminal got."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "todo_schema", *arguments],
        stdout=subprocess.PIPE,
        stderr=follower,
        env=clean_environment({"TERM": "xterm-256color", "COLUMNS": str(columns)}, package),
    )
    os.close(follower)
    shown = b""
    with suppress(OSError):  # what Linux says where the other side has gone
        while more := os.read(leader, 4096):
            shown += more
    os.close(leader)
    out = process.communicate()[0].decode()
    return process.returncode, out, shown.decode()
