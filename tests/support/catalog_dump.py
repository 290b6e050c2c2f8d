"""The catalogue of a database as text, to compare two databases by."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from tests.support.clusters import debian_binaries
from tests.support.servers import execute
from todo_schema import embedded

# What pg_dump says about itself and the session, not about the database.
_NOISE = re.compile(r"(--|SET |SELECT pg_catalog\.set_config|\\(un)?restrict )")


def dump(url: str, schema: str = "public", tables: Iterable[str] | None = None) -> str:
    """The definitions of everything in `schema`, or of `tables` in it, as pg_dump writes them.

    Two dumps are equal where the catalogues are: names, types, order of columns, defaults, comments,
    owners and rights.
    """
    chosen = [f"--table={schema}.{table}" for table in tables] if tables else [f"--schema={schema}"]
    done = subprocess.run(
        [_pg_dump(url), "--schema-only", *chosen, f"--dbname={url}"],
        check=False,
        capture_output=True,
        timeout=60,
    )
    if done.returncode:
        raise RuntimeError(f"pg_dump ended with {done.returncode}: {done.stderr.decode(errors='replace')}")
    lines = done.stdout.decode().splitlines()
    return "\n".join(line for line in lines if line and not _NOISE.match(line))


def unordered(dumped: str) -> str:
    """A dump without the order of the columns: a column that is added again comes last."""
    statements = []
    for statement in dumped.split(";\n"):
        first, *rest = statement.split("\n")
        statements.append("\n".join([first, *sorted(line.rstrip(",") for line in rest)]))
    return "\n".join(sorted(statements))


def _pg_dump(url: str) -> Path:
    """A pg_dump that is not older than the server: an older one refuses."""
    needed = int(execute(url, "SHOW server_version_num")[0][0]) // 10_000
    folders = [embedded.binaries(), debian_binaries()]
    found = [folder / "pg_dump" for folder in folders if folder]
    found += [Path(program) for program in [shutil.which("pg_dump", path=os.environ.get("PATH"))] if program]
    for program in found:
        if _major_version(program) >= needed:
            return program
    raise FileNotFoundError(f"no pg_dump of version {needed} or newer among {found}")


@cache
def _major_version(program: Path) -> int:
    said = subprocess.run(
        [program, "--version"], check=True, capture_output=True, text=True, timeout=10
    ).stdout
    version = re.search(r"\d+", said)
    return int(version[0]) if version else 0
