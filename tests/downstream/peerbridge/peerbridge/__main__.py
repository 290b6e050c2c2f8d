"""The boot: the shared schema first, then our own tables."""

from pathlib import Path

from alembic import command
from alembic.config import Config

import todo_schema
from peerbridge.database import async_url


def main() -> None:
    print(todo_schema.upgrade(async_url()))
    command.upgrade(Config(Path(__file__).parents[1] / "alembic.ini"), "head")


if __name__ == "__main__":
    main()
