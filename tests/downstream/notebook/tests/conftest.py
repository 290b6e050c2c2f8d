"""The databases of todo-schema[testing], with our own tables."""

import pytest
from notebook.migrate import migrate


@pytest.fixture(scope="session")
def todo_schema_prepare():
    return migrate


@pytest.fixture
def anyio_backend():
    return "asyncio"
