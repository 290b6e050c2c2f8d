"""Programs of ours in processes of their own, without the second that it takes each to import the libraries.

They are forked from one process that has imported the libraries, and nothing of this package: so each has the version
of the package that is in the folder that it is given. As a program, that process.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import closing, suppress
from functools import cache
from pathlib import Path
from typing import IO, Any

from tests.support.processes import CHECKOUT, SOURCE, clean_environment

# Bytes: more than any environment and arguments have.
_LONGEST = 1 << 20
# What the command of that name imports besides.
_ALEMBIC = ("alembic.autogenerate", "alembic.command", "alembic.config", "mako.template")
_one_at_a_time = threading.Lock()


class Hatched:
    """A process that was forked, the leader of a group of its own.

    Attributes:
        pid: Its process id.
        stdin: What it reads.
        stdout: What it writes.

    """

    def __init__(self, pid: int, stdin: IO[str], stdout: IO[str], status: int) -> None:
        """Take its id, our ends of its pipes, and where it says its exit code."""
        self.pid = pid
        self.stdin = stdin
        self.stdout = stdout
        self._status = status
        # None where it has ended already.
        self._end: int | None = None
        with suppress(ProcessLookupError):
            self._end = os.pidfd_open(pid)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end, at most so many seconds, and return its exit code; that of one that was killed is -9."""
        if self._end is not None and not select.select([self._end], [], [], timeout)[0]:
            raise TimeoutError(f"process {self.pid} has not ended after {timeout} seconds")
        said = os.read(self._status, 16) if select.select([self._status], [], [], 0)[0] else b""
        return int(said or b"-9")

    def kill(self) -> None:
        """Kill its group with SIGKILL and wait for its end: its connections are closed by then."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        if self._end is not None:
            select.select([self._end], [], [])

    def close(self) -> None:
        """Kill it if it is there, and close our ends of its pipes."""
        self.kill()
        # What it did not read any more is lost.
        with suppress(BrokenPipeError):
            self.stdin.close()
        self.stdout.close()
        for end in (self._status, self._end):
            if end is not None:
                os.close(end)
        self._end = None


def hatch(
    module: str,
    *arguments: str,
    pythonpath: Path | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path = CHECKOUT,
    stderr: IO[Any] | None = None,
) -> Hatched:
    """Run a module as a program, in text with pipes.

    Args:
        module: Its name.
        arguments: Its sys.argv[1:].
        pythonpath: The folder of the package, this checkout's where it is None.
        env: Added to the clean environment.
        cwd: The working directory.
        stderr: Where its errors go, where ours go if it is None.

    """
    reading, stdin = os.pipe()
    stdout, writing = os.pipe()
    status, ending = os.pipe()
    theirs = [reading, writing, ending, *([] if stderr is None else [stderr.fileno()])]
    asked = json.dumps([module, arguments, clean_environment(env, pythonpath or SOURCE), str(cwd)])
    with _one_at_a_time:
        nest = _nest()
        socket.send_fds(nest, [asked.encode()], theirs)
        pid = int(nest.recv(16) or 0)
    for end in (reading, writing, ending):
        os.close(end)
    if not pid:
        raise RuntimeError("the nest has ended")
    return Hatched(pid, os.fdopen(stdin, "w"), os.fdopen(stdout), status)


def run(module: str, *arguments: str, **options: Any) -> "subprocess.CompletedProcess[str]":
    """Run a module as `hatch` does, to its end, at most a minute, with nothing to read; return what it said."""
    with (
        tempfile.TemporaryFile("w+") as errors,
        closing(hatch(module, *arguments, **options, stderr=errors)) as process,
    ):
        process.stdin.close()
        said = process.stdout.read()
        status = process.wait(60)
        errors.seek(0)
        return subprocess.CompletedProcess([module, *arguments], status, said, errors.read())


def run_code(
    code: str, *arguments: str, pythonpath: Path | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run a text as `python -c` does."""
    return run("tests.support.snippet", code, *arguments, pythonpath=pythonpath)


@cache
def _nest() -> socket.socket:
    """Start the nest, which ends when we do; return the way to it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.nest", str(theirs.fileno())],
            env=clean_environment({"PYTHONPATH": str(CHECKOUT)}),
            cwd=CHECKOUT,
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            # A key at the terminal is for us; its children lead groups of their own, too.
            start_new_session=True,
        )

    @atexit.register
    def end() -> None:
        ours.close()
        process.wait()

    return ours


def main(way: int) -> None:
    """Fork a process for each request, until nobody can ask any more."""
    from tests.support import forking

    forking.import_libraries()
    for name in _ALEMBIC:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, _bury)
    with socket.socket(fileno=way) as asking:
        while True:
            asked, ends, _, _ = socket.recv_fds(asking, _LONGEST, 4)
            if not asked:
                return
            pid = os.fork()
            if not pid:
                asking.close()
                _be(asked, ends)
            for end in ends:
                os.close(end)
            asking.send(str(pid).encode())


def _bury(*_: object) -> None:
    # Who asked sees the end of each; it is only not to be left.
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _be(asked: bytes, ends: list[int]) -> None:
    """Become the program that was asked for."""
    code = 1
    status = ends[2]
    try:
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        module, arguments, environment, folder = json.loads(asked)
        for end, standard in zip([*ends[:2], *ends[3:]], (0, 1, 2), strict=False):
            os.dup2(end, standard)
            os.close(end)
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        sys.path[:0] = [path for path in environment["PYTHONPATH"].split(os.pathsep) if path]
        sys.argv[1:] = arguments
        try:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
            code = 0
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):
                stream.flush()
        os.write(status, str(code).encode())
    finally:
        os._exit(code)


if __name__ == "__main__":
    main(int(sys.argv[1]))
