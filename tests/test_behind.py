"""A session factory on a database that is older than its package: refused, until somebody has upgraded it."""

import json
from pathlib import Path

import pytest

from tests.support.processes import run_python
from tests.support.servers import Server
from tests.support.states import rows, with_package
from todo_schema import SCHEMA_VERSION, State, check

CONNECT = """
import asyncio, json, sys
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
import todo_schema

url, way, check = sys.argv[1:]

async def main():
    address = url if way == "url" else create_async_engine(url.replace("postgresql:", f"postgresql+{way}:", 1))
    async with todo_schema.session_factory(address, check=check) as factory:
        for _ in range(2):  # before and after somebody upgraded it
            try:
                async with factory() as session:
                    found = await session.exec(text("SELECT count(*) > 0 FROM pg_class"))
                    print(json.dumps(found.one()[0]), flush=True)
            except todo_schema.TodoSchemaError as error:
                print(json.dumps(type(error).__name__), flush=True)
            await todo_schema.upgrade_async(address)
    if way != "url":
        await address.dispose()

asyncio.run(main())
"""


def outcomes(package: Path, url: str, way: str, check: str = "connect") -> list[object]:
    """What a session of another package says to a database, and what once that package has upgraded it."""
    done = run_python(CONNECT, url, way, check, pythonpath=package)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("way", ["url", "asyncpg", "psycopg"])
def test_a_connection_to_a_database_that_is_behind_is_refused_until_it_is_upgraded(
    upgraded_database: str, next_package: Path, way: str
):
    assert check(upgraded_database) is State.CURRENT
    assert outcomes(next_package, upgraded_database, way) == ["SchemaOutdatedError", True]


def test_without_the_check_it_is_let_in(upgraded_database: str, next_package: Path):
    assert outcomes(next_package, upgraded_database, "url", "never") == [True, True]


def test_a_database_without_our_tables_passes(database: str, next_package: Path):
    assert outcomes(next_package, database, "url") == [True, True]


def test_after_a_downgrade_a_newcomer_that_needs_what_is_gone_is_refused(
    server: Server, upgraded_database: str, next_package: Path
):
    before = rows(upgraded_database, "id")
    with_package(next_package, f"t.upgrade(url); t.downgrade(url, to={SCHEMA_VERSION})", upgraded_database)
    assert outcomes(next_package, upgraded_database, "url") == ["SchemaOutdatedError", True]
    # Up, down, and up again.
    assert len(rows(upgraded_database, "id")) == len(before) + 3
