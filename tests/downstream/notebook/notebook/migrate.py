"""What runs before the service starts."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, make_url

import todo_schema


def migrate(url: str) -> None:
    """Bring todo_schema's tables up to date, which ours refer to, and then ours."""
    todo_schema.upgrade(url)
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"))
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    with engine.begin() as config.attributes["connection"]:
        command.upgrade(config, "head")
    engine.dispose()
