"""Which installations a command names: by its options, by a file, or by the environment."""

import os
import sys
from pathlib import Path

import typer

from todo_schema import Installation, InvalidUrlError
from todo_schema.outcomes import understood


def installations_named(urls: list[str], file: str | None, schemas: list[str]) -> list[Installation]:
    """Return each URL with each schema, those of the options first. In a file a line's own schema goes before.

    Raises:
        BadParameter: None is named at all, or the file cannot be read.

    """
    each: list[str | None] = [*schemas] or [None]
    lines = [] if file is None else _lines(file)
    if not urls and file is None:
        if not (url := os.environ.get("DATABASE_URL")):
            raise typer.BadParameter("Missing option '--url' (env var: 'DATABASE_URL'), or '--urls-file'.")
        urls = [url]
    named = [Installation(url, schema) for url in urls for schema in each]
    for line in lines:
        url, *own = line.split(maxsplit=1)
        # What stands behind a raw space of a password is not shown as the name of a schema.
        if own and ("@" in own[0] or isinstance(understood(url), InvalidUrlError)):
            url, own = line, []
        elif own and own[0].startswith("#"):
            own = []
        named += [Installation(url, schema) for schema in own or each]
    return named


def _lines(file: str) -> list[str]:
    """Return the lines of a file that say something."""
    try:
        # Some editors begin a file with a mark of its encoding.
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        # What cannot be decoded is repeated in the error, and may be a password.
        said = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise typer.BadParameter(f"--urls-file {file}: {said}") from None
    lines = (line.strip() for line in text.split("\n"))
    return [line for line in lines if line and not line.startswith("#")]
