"""Freezes a release: its wheel, and a dump of a database that the wheel's own code made and filled.

For a maintainer: `make release VERSION=0.1.0`. What is below tests/releases never changes afterwards.
"""

import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.packages import build_wheel
from tests.support.processes import CHECKOUT, run_python
from tests.support.releases import DUMP, RELEASES, contents, install
from tests.support.servers import embedded_server, execute
from todo_schema import SCHEMA_VERSION, TodoSchemaError, embedded
from todo_schema.compatibility import PACKAGE_VERSION

CHANGELOG = CHECKOUT / "CHANGELOG.md"
_FILLING = Path(__file__).parent / "support" / "filling.py"

# What psql alone understands, what only newer servers know, and what is not needed. Strings, quoted names and
# bodies come first in the pattern, so that a text of a row which looks like one of these is left alone.
_NOT_NEEDED = re.compile(
    r"""(?P<kept>'[^']*'|"[^"]*"|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$)"""
    r"|^(?:--|\\|SET\ transaction_timeout\b)[^\n]*\n|^\n",
    re.DOTALL | re.MULTILINE,
)


class ReleaseRefusedError(TodoSchemaError):
    """A release that cannot be frozen as things are."""


def headings(changelog: str) -> dict[str, tuple[str, str | None]]:
    """Return the headings of versions in a changelog: the version, and (the heading, its schema version).

    The schema version is None where the heading has not the form `## [0.1.0] - 2026-12-01 - schema 1`.
    """
    found = {}
    for line in re.findall(r"^## .*$", changelog, re.MULTILINE):
        if name := re.match(r"## \[?(\d[^]\s]*)", line):
            form = re.fullmatch(r"## \[[^]\s]+\] - \d{4}-\d{2}-\d{2} - schema (\d+)", line)
            found[name[1]] = (line, form and form[1])
    return found


def require_releasable(version: str, changelog: str, folder: Path) -> None:
    """Raise unless this checkout can be frozen as a version.

    Raises:
        ReleaseRefusedError: The package says another version, its changelog has no heading for it, or it is frozen.

    """
    if version != PACKAGE_VERSION:
        raise ReleaseRefusedError(
            f"VERSION={version}, and PACKAGE_VERSION = {PACKAGE_VERSION!r}",
            "the same in both",
            f"make release VERSION={PACKAGE_VERSION}, or correct PACKAGE_VERSION in compatibility.py",
        )
    if (folder / version).exists():
        raise ReleaseRefusedError(
            f"release {version} in {folder}",
            "a version that is not released: a release never changes",
            "raise PACKAGE_VERSION in compatibility.py, give CHANGELOG.md a heading for it, and release that",
        )
    heading, schema = headings(changelog).get(version, (f"no heading for {version} in CHANGELOG.md", None))
    if schema != str(SCHEMA_VERSION):
        raise ReleaseRefusedError(
            heading,
            f"## [{version}] - YYYY-MM-DD - schema {SCHEMA_VERSION}",
            "write this heading in CHANGELOG.md, with the day of the release, over what is released",
        )


def freeze(version: str, changelog: Path = CHANGELOG, folder: Path = RELEASES) -> Path:
    """Freeze this checkout as a version in `folder`; return the folder of the release, whole or not there at all.

    Raises:
        ReleaseRefusedError: See `require_releasable`.
        RuntimeError: The wheel was not built, or did not fill a database.

    """
    require_releasable(version, changelog.read_text(encoding="utf-8"), folder)
    # Near what it becomes, because only inside of one file system a folder appears at once.
    with TemporaryDirectory(dir=folder.parent, prefix=".release-") as scratch:
        made = Path(scratch, version)
        made.mkdir()
        wheel = build_wheel(made)
        dump = filled_by(install(wheel, Path(scratch, "installed")))
        (made / DUMP).write_bytes(f"-- As todo-schema {version} made and filled it.\n{dump}".encode())
        folder.mkdir(exist_ok=True)
        return made.rename(folder / version)


def filled_by(package: Path) -> str:
    """Return the dump of a fresh database that the package in a folder upgraded and filled."""
    with embedded_server() as server:
        url = server.create_database()
        done = run_python(_FILLING.read_text(encoding="utf-8"), url, pythonpath=package)
        if done.returncode:
            raise RuntimeError(f"the package of the wheel filled no database: {done.stderr}")
        # On which machine it was frozen concerns nobody.
        execute(url, "UPDATE todo_schema_history SET host = 'localhost'")
        dump = portable(_pg_dump(url))
        copy = server.create_database()
        execute(copy, dump)
        if contents(copy) != contents(url):
            raise RuntimeError("the dump does not give back what was dumped")
    return dump


def portable(dump: str) -> str:
    """Return what pg_dump wrote as SQL that any driver can run as one text, on PostgreSQL 14 and later."""
    return _NOT_NEEDED.sub(lambda match: match["kept"] or "", dump)


def _pg_dump(url: str) -> str:
    done = subprocess.run(
        [
            *(embedded.binaries() / "pg_dump", "--column-inserts", "--no-owner", "--no-privileges"),
            *("--encoding=UTF8", f"--dbname={url}"),
        ],
        check=False,
        capture_output=True,
        timeout=60,
    )
    if done.returncode:
        raise RuntimeError(f"pg_dump ended with {done.returncode}: {done.stderr.decode(errors='replace')}")
    return done.stdout.decode()


if __name__ == "__main__":
    try:
        print(f"{freeze(sys.argv[1])}: commit it, it never changes")
    except ReleaseRefusedError as refused:
        sys.exit(str(refused))
