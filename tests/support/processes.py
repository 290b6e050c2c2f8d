"""Python programs in processes of their own, one by one or many at once."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).parents[2]
SOURCE = CHECKOUT / "src"


def clean_environment(env: Mapping[str, str] | None = None, pythonpath: Path | None = None) -> dict[str, str]:
    """Our environment without what names a database, with the package on PYTHONPATH, and with `env`."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name != "DATABASE_URL" and not name.startswith(("PG", "TODO_SCHEMA_", "PYTHON"))
    }
    return {**kept, "PYTHONPATH": str(pythonpath or SOURCE), **(env or {})}


def start_python(
    code: str,
    *args: str,
    env: Mapping[str, str] | None = None,
    pythonpath: Path | None = None,
    cwd: Path | None = None,
) -> subprocess.Popen[str]:
    """Start `python -c code args…`; the caller waits for it, or kills it.

    Args:
        code: The program; `args` are its sys.argv[1:].
        args: Passed on.
        env: Added to the clean environment.
        pythonpath: The folder of the package, this checkout's where it is None; see `throwaway_package`.
        cwd: The working directory.

    """
    return subprocess.Popen(
        [sys.executable, "-c", code, *args],
        env=clean_environment(env, pythonpath),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_python(
    code: str,
    *args: str,
    env: Mapping[str, str] | None = None,
    pythonpath: Path | None = None,
    cwd: Path | None = None,
    timeout: float = 60,
) -> subprocess.CompletedProcess[str]:
    """Run `python -c code args…` to its end, at most `timeout` seconds; see `start_python`."""
    return _finish(start_python(code, *args, env=env, pythonpath=pythonpath, cwd=cwd), timeout)


def race(
    n: int,
    code: str,
    *args: str,
    env: Mapping[str, str] | None = None,
    pythonpath: Path | None = None,
    timeout: float = 120,
) -> list[subprocess.CompletedProcess[str]]:
    """Start `python -c code args…` n times at once, and wait for all of them; see `start_python`."""
    started = [start_python(code, *args, env=env, pythonpath=pythonpath) for _ in range(n)]
    try:
        return [_finish(process, timeout) for process in started]
    finally:
        for process in started:
            if process.poll() is None:
                _finish_off(process)


def fork_race(
    n: int,
    snippet: str,
    url: str,
    *,
    env: Mapping[str, str] | None = None,
    pythonpath: Path | None = None,
    timeout: float = 120,
) -> list[dict[str, Any]]:
    """Call `boot(url)` in n processes at once, and return what became of each.

    The processes are forked from one that has imported everything, so that twenty of them cost little.

    Args:
        n: How many processes.
        snippet: Python source that defines `boot(url)`, a function or a coroutine function; it runs before
            the fork.
        url: What boot is called with.
        env: Added to the clean environment.
        pythonpath: As for `start_python`.
        timeout: Seconds, for all of them together.

    Returns:
        For each process: `ok`, `error` (None, or the class and the text of the exception, or how the process
        ended), `kind` (the name of the exception's class, or None), `result` (what boot returned, as JSON has
        it; other objects as their str) and `pid`.

    """
    done = _finish(
        subprocess.Popen(
            [sys.executable, Path(__file__).with_name("forking.py"), str(n), snippet, url],
            env=clean_environment(env, pythonpath),
            cwd=CHECKOUT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A group of its own, so that the forked processes can be killed with it.
            start_new_session=True,
        ),
        timeout,
    )
    if done.returncode:
        raise RuntimeError(f"the race did not begin: {done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a process with SIGKILL and wait for its end: its connections are closed by then."""
    process.kill()
    process.wait()


def _finish(process: subprocess.Popen[str], timeout: float) -> subprocess.CompletedProcess[str]:
    with process:
        try:
            out, err = process.communicate(timeout=timeout)
        except BaseException:
            _finish_off(process)
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def _finish_off(process: subprocess.Popen[str]) -> None:
    # A session leader takes its forked processes with it; anyone else would take us.
    if os.getpgid(process.pid) == process.pid:
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
