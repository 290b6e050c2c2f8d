"""Fixtures for the tests of a service, on a real PostgreSQL. pytest finds them by itself.

The server comes from a wheel (extra `testing`), one for each pytest-xdist worker, and ends with the run;
`TODO_SCHEMA_TEST_URL`, the URL of a role that may create databases, names another one to use instead.

Every pytest of an environment that has this package loads this module: imports stand where they are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlmodel.ext.asyncio.session import AsyncSession

    from todo_schema.rolled_back import RolledBack
    from todo_schema.throwaway import Databases


@pytest.fixture
def todo_schema_url(_todo_schema_databases: Databases, _todo_schema_template: str) -> Iterator[str]:
    """Give the URL of a fresh database at the head of the installed package's schema, for one test alone.

    The database is a copy of one that was upgraded once; it is dropped after the test, whoever is still connected.
    The URL is a text, for `session_factory`, for every other function of todo_schema and for drivers.

    Raises:
        MissingExtraError: The extra `testing` is not installed, and TODO_SCHEMA_TEST_URL not set.
        InvalidUrlError: TODO_SCHEMA_TEST_URL is no URL of a PostgreSQL.
        DatabaseUnreachableError: Its server does not answer.
        DatabaseRefusedError: It refuses the role.
        InsufficientPrivilegeError: The role may not create databases.

    """
    with _todo_schema_databases.database(_todo_schema_template) as url:
        yield url


@pytest.fixture
def todo_schema_session(_todo_schema_rolled_back: RolledBack) -> Iterator[AsyncSession]:
    """Give an async session whose work is rolled back after the test, as `session_factory(url)()` gives it.

    The code under test may flush, commit, roll back and close it: its transactions are savepoints of one that
    never ends otherwise. Faster than a database of the test's own, and less: other connections do not see the
    work, sequences keep counting, `now()` is the same during the whole test, deferred constraints and triggers
    do not fire at a commit, and a session that the code under test opens by itself is another connection.

    It connects as it is first used, in the event loop that runs then, and stays with that loop. The loop is
    asyncio's or uvloop's; pytest-asyncio, anyio and `asyncio.run` in a test without `async` make no difference.

    Raises what `todo_schema_url` raises; its use in another loop, or with Trio, raises WrongEventLoopError.
    """
    with _todo_schema_rolled_back.session() as session:
        yield session


@pytest.fixture(scope="session")
def todo_schema_prepare() -> Callable[[str], Any]:
    """Return what else is done to the template, a function of its URL; a service overrides this in its conftest.py.

    It is called once for each pytest worker, after the upgrade: for a service's own migrations, its extensions, and
    rows that every test finds. A coroutine function is awaited.
    """
    return _nothing_else


def _nothing_else(_url: str) -> None:
    pass


@pytest.fixture(scope="session")
def _todo_schema_databases() -> Iterator[Databases]:
    from todo_schema.throwaway import databases

    with databases() as made:
        yield made


@pytest.fixture(scope="session")
def _todo_schema_template(
    _todo_schema_databases: Databases, todo_schema_prepare: Callable[[str], Any]
) -> Iterator[str]:
    with _todo_schema_databases.template(todo_schema_prepare) as name:
        yield name


@pytest.fixture(scope="session")
def _todo_schema_rolled_back(
    _todo_schema_databases: Databases, _todo_schema_template: str
) -> Iterator[RolledBack]:
    from todo_schema.rolled_back import RolledBack

    with _todo_schema_databases.database(_todo_schema_template) as url:
        yield RolledBack(url, _todo_schema_databases.terminate)
