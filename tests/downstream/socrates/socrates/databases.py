"""The two databases: who somebody is, and what they are specifying."""

import os

NAMES = ("auth", "specs")


def url_of(name: str) -> str:
    """Return the URL of a database, from AUTH_DATABASE_URL or SPECS_DATABASE_URL."""
    return os.environ[f"{name.upper()}_DATABASE_URL"]


def with_chat() -> list[str]:
    """Return the databases that have the tables of todo_schema: those of SOCRATES_CHAT, or `auth` alone."""
    return os.environ.get("SOCRATES_CHAT", "auth").split(",")
