"""A fresh, upgraded database for each test of a service, on a real PostgreSQL. Needs the extra `testing`.

In the service's conftest.py: `pytest_plugins = ["todo_schema.testing"]`. The server comes from a wheel;
`TODO_SCHEMA_TEST_URL`, the URL of a role that may create databases, names another one to use instead.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import URL, make_url

from todo_schema import upgrade
from todo_schema.embedded import postgres
from todo_schema.urls import DatabaseUrl


@pytest.fixture
def todo_schema_url(_todo_schema_template: URL) -> Iterator[str]:
    """Give the URL of a database at the head of this package's schema, for one test alone."""
    with _database(_todo_schema_template, template=_todo_schema_template.database) as url:
        yield url.render_as_string(hide_password=False)


@pytest.fixture(scope="session")
def _todo_schema_template() -> Iterator[URL]:
    given = os.environ.get("TODO_SCHEMA_TEST_URL")
    with _given(given) if given else postgres() as admin, _database(make_url(admin)) as template:
        upgrade(template)
        yield template


@contextmanager
def _given(url: str) -> Iterator[str]:
    yield url


@contextmanager
def _database(server: URL, *, template: str | None = None) -> Iterator[URL]:
    name = f"todo_schema_{uuid4().hex}"
    # Nobody may be connected to a template that is being copied: the statements go by another database.
    admin = server.set(drivername="postgresql", database="postgres").render_as_string(hide_password=False)
    arguments = DatabaseUrl.parse(admin).connect_arguments("psycopg")
    with psycopg.connect(autocommit=True, **arguments) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template or "template1"}"'.encode())
        try:
            yield server.set(drivername="postgresql", database=name)
        finally:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())
