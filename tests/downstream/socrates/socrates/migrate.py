"""Both databases up to date in one call: `python -m socrates.migrate`."""

import sys
from pathlib import Path

from alembic import command
from alembic.config import Config

import todo_schema
from socrates.databases import NAMES, url_of, with_chat

INI = Path(__file__).parents[1] / "alembic.ini"


def migrate() -> dict[str, Exception | None]:
    """Bring each database up to date, first todo_schema's tables and then ours.

    One that fails does not keep the other from it.

    Returns:
        What went wrong with each database; None where nothing did.

    """
    chat = with_chat()
    report = todo_schema.upgrade_many([url_of(name) for name in chat])
    problems: dict[str, Exception | None] = dict.fromkeys(NAMES)
    problems |= {name: outcome.error for name, outcome in zip(chat, report.outcomes, strict=True)}
    for name in NAMES:
        if problems[name] is None:
            try:
                command.upgrade(Config(INI, ini_section=name), "head")
            except Exception as error:  # the operator is told which database it was
                problems[name] = error
    return problems


if __name__ == "__main__":
    outcomes = migrate()
    for name, problem in outcomes.items():
        print(f"{name}: {problem or 'up to date'}")
    sys.exit(any(outcomes.values()))
