"""A host calls `upgrade` inside its own Alembic env.py, and both migrate."""

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config

from tests.support.catalog_dump import dump
from tests.support.migrated import clients
from tests.support.servers import Server, execute
from tests.support.waiting import wait_for
from todo_schema import State, check, upgrade

OURS = ["users", "conversations", "messages", "tasks", "todo_schema_version", "todo_schema_history"]
HOSTS_REVISION = """
import sqlalchemy as sa
from alembic import op

revision, down_revision = "abc", None


def upgrade():
    op.create_table(
        "host_notes",
        sa.Column("user_id", sa.Uuid, sa.ForeignKey("users.id")),
        sa.Column("note", sa.Text),
    )
"""
# Where the host calls us: in front of the last of these in the template's env.py.
PLACES = {
    "before it configures Alembic": "context.configure(",
    "in its own transaction": "context.run_migrations(",
}
HOST_CALLS = """
import todo_schema
from tests.test_host_migrations import logging_state

reports = []


def by_url(connection):
    before = logging_state()
    reports.append(todo_schema.upgrade({url!r}))
    assert logging_state().items() >= before.items()


def by_connection(connection):
    before = logging_state()
    reports.append(todo_schema.upgrade(connection))
    assert logging_state().items() >= before.items()
"""


@pytest.fixture(scope="module")
def clean(server: Server) -> str:
    """The catalogue of our tables that one undisturbed call leaves."""
    url = server.create_database()
    upgrade(url)
    return dump(url, tables=OURS)


def logging_state() -> dict[str, tuple[bool, int, list[logging.Handler], bool]]:
    """How every logger is set up that the program has so far, by its name."""
    loggers = {"root": logging.getLogger(), **logging.Logger.manager.loggerDict}
    return {
        name: (logger.disabled, logger.level, list(logger.handlers), logger.propagate)
        for name, logger in loggers.items()
        if isinstance(logger, logging.Logger)
    }


@pytest.fixture
def loggers_put_back() -> Iterator[None]:
    """The template's env.py calls `fileConfig`, which disables every logger that there is."""
    before = logging_state()
    yield
    for name in logging_state():
        logger = logging.getLogger(name)
        logger.disabled, level, handlers, logger.propagate = before.get(
            name, (False, logging.NOTSET, [], True)
        )
        logger.setLevel(level)
        logger.handlers[:] = handlers


def host_project(folder: Path, template: str, database: str, call: str, place: str) -> Config:
    """A project as `alembic init` makes it, whose env.py also calls us."""
    config = Config(folder / "alembic.ini")
    command.init(config, str(folder / "migrations"), template=template)
    driver = "asyncpg" if template == "async" else "psycopg"
    url = database.replace("postgresql:", f"postgresql+{driver}:").replace("&port=5432", "")
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    (folder / "migrations" / "versions" / "abc.py").write_text(HOSTS_REVISION)
    (folder / "host_calls.py").write_text(HOST_CALLS.format(url=database))
    env = folder / "migrations" / "env.py"
    before, here, after = env.read_text().rpartition(PLACES[place])
    env.write_text(f"{before}import host_calls; host_calls.{call}(connection); {here}{after}")
    return config


@pytest.mark.usefixtures("loggers_put_back")
@pytest.mark.parametrize("template", ["generic", "async"])
@pytest.mark.parametrize("call", ["by_url", "by_connection"])
@pytest.mark.parametrize("place", ["before it configures Alembic", "in its own transaction"])
def test_a_call_in_a_hosts_env_py_migrates_and_the_hosts_own_migration_runs_after_it(
    database: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    clean: str,
    template: str,
    call: str,
    place: str,
):
    config = host_project(tmp_path, template, database, call, place)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "host_calls", raising=False)
    command.upgrade(config, "head")
    import host_calls

    assert [report.after for report in host_calls.reports] == [State.CURRENT]
    assert dump(database, tables=OURS) == clean
    assert execute(database, "SELECT version_num FROM alembic_version") == [("abc",)]
    assert execute(database, "SELECT count(*) FROM host_notes") == [(0,)]
    assert check(database, deep=True) is State.CURRENT
    wait_for(lambda: not clients(database))
