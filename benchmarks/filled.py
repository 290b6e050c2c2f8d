"""Big tables to change, and packages that change them."""

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.big_table import fill
from tests.support.packages import throwaway_package
from tests.support.processes import start_python
from tests.support.revisions import NEXT
from tests.support.servers import Server, execute

from todo_schema import embedded, upgrade
from todo_schema.compatibility import HEAD

MESSAGES = 1_000_000

_REVISION = """\
\"\"\"What is measured.\"\"\"

import sqlalchemy as sa
from alembic.operations import Operations

from todo_schema import operations

revision = "{revision}"
down_revision = "{below}"


def upgrade(op: Operations) -> None:
    {body}


def downgrade(op: Operations) -> None:
    raise NotImplementedError
"""

# The seconds are those of the call: a service has imported all this anyway.
_UPGRADE = """
import sys, time
from todo_schema import upgrade
started = time.monotonic()
print(started, flush=True)
upgrade(sys.argv[1])
print(time.monotonic() - started)
"""


class Template:
    """A database with big tables, as it would be on a server of somebody who has changed no setting."""

    def __init__(self, server: Server, messages: int) -> None:
        self.server = server
        self.messages = messages
        self.url = server.create_database()
        upgrade(self.url)
        fill(self.url, messages, tasks=messages)

    @contextmanager
    def copy(self, prepare: str = "") -> Iterator[str]:
        """Give the url of a copy, after some SQL; what the copying has left to write is written by then."""
        url = self.server.create_database(template=self.url)
        execute(url, prepare)
        execute(url, "CHECKPOINT")
        yield url
        self.server.drop_database(url)


@contextmanager
def template(messages: int) -> Iterator[Template]:
    """Run a server with one."""
    # Not a server of the tests: theirs do not wait for the disk.
    with embedded.postgres() as url:
        yield Template(Server(url), messages)


def package(folder: Path, body: str) -> Path:
    """Make a package whose next revision does `body`; return its PYTHONPATH."""
    text = _REVISION.format(revision=NEXT, below=HEAD, body=body.strip().replace("\n", "\n    "))
    return throwaway_package(folder, {f"{NEXT}_measured.py": text})


class Upgrade:
    """An upgrade by that package, which has begun, in a process of its own."""

    def __init__(self, url: str, path: Path) -> None:
        self._process = start_python(_UPGRADE, url, pythonpath=path)
        assert self._process.stdout
        self._started = float(self._process.stdout.readline())

    def end(self) -> float:
        """Wait for its end; return the seconds that it took.

        Raises:
            RuntimeError: It failed.

        """
        with self._process:
            out, err = self._process.communicate()
        if self._process.returncode:
            raise RuntimeError(f"the upgrade failed: {err}")
        return float(out)

    def fail(self) -> float:
        """Wait for its end, which is to be a failure; return the seconds since it began."""
        with self._process:
            self._process.communicate()
        assert self._process.returncode, "it has succeeded"
        return time.monotonic() - self._started

    def kill(self) -> float:
        """Kill it; return the seconds since it began."""
        self._process.kill()
        return self.fail()


def messages_asked() -> int:
    """How many messages the command line asks for."""
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--messages", type=int, default=MESSAGES, help="and as many tasks; default: %(default)s"
    )
    return int(parser.parse_args().messages)
