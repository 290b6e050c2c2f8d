"""The programs that are compared, of this package and of the libraries below it."""

import contextlib
import io
from pathlib import Path

from alembic import command
from alembic.config import Config

from benchmarks.measuring import Program
from todo_schema.compatibility import HEAD

_STATEMENT = f"SELECT FROM todo_schema_version WHERE version_num = '{HEAD}'"

UPGRADE = Program("`todo_schema.upgrade`", "from todo_schema import upgrade as boot")
UPGRADE_ASYNC = Program(
    "`todo_schema.upgrade_async`",
    """
import asyncio
from todo_schema import upgrade_async
def boot(url):
    asyncio.run(upgrade_async(url))
""",
)
NOTHING = Program("Python alone", "def boot(url): pass")
PSYCOPG = Program(
    "psycopg: connect, `SELECT`",
    f"""
import psycopg
def boot(url):
    connection = psycopg.connect(url, autocommit=True)
    connection.execute({_STATEMENT!r})
    connection.close()
""",
)
ASYNCPG = Program(
    "asyncpg: connect, `SELECT`",
    f"""
import asyncio
import asyncpg
async def ask(url):
    connection = await asyncpg.connect(url)
    await connection.execute({_STATEMENT!r})
    await connection.close()
def boot(url):
    asyncio.run(ask(url))
""",
)
ENGINE = Program(
    "SQLAlchemy, psycopg: connect only",
    """
from sqlalchemy import create_engine
def boot(url):
    engine = create_engine(url)
    with engine.connect():
        pass
    engine.dispose()
""",
    scheme="postgresql+psycopg",
)
ASYNC_ENGINE = Program(
    "SQLAlchemy, asyncpg: connect only",
    """
import asyncio
from sqlalchemy.ext.asyncio import create_async_engine
async def ask(url):
    engine = create_async_engine(url)
    async with engine.connect():
        pass
    await engine.dispose()
def boot(url):
    asyncio.run(ask(url))
""",
    scheme="postgresql+asyncpg",
)
MODELS = Program(
    "a service: models imported, no boot",
    "from todo_schema import Task, session_factory\ndef boot(url): session_factory(url)",
)
SERVICE = Program(
    "a service: models imported, `upgrade`",
    """
from todo_schema import Task, session_factory, upgrade
def boot(url):
    upgrade(url)
    session_factory(url)
""",
)


def alembic_programs(folder: Path) -> tuple[Program, Program]:
    """Make the projects that `alembic init` makes, with our revision in them; return their `upgrade head`."""
    return (
        _alembic(folder / "generic", "generic", "psycopg"),
        _alembic(folder / "async", "async", "asyncpg"),
    )


def _alembic(folder: Path, template: str, driver: str) -> Program:
    ini = folder.with_suffix(".ini")
    with contextlib.redirect_stdout(io.StringIO()):
        command.init(Config(ini), str(folder), template=template)
    (folder / "versions" / f"{HEAD}.py").write_text(_for_stock_alembic())
    return Program(
        f"`alembic upgrade head`, {driver}",
        f"""
from alembic import command
from alembic.config import Config
def boot(url):
    config = Config({str(ini)!r})
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    command.upgrade(config, "head")
""",
        scheme=f"postgresql+{driver}",
        tables=True,
    )


def _for_stock_alembic() -> str:
    """Return revision 001 as Alembic's own env.py calls it: without an argument, and with the global `op`."""
    import todo_schema

    versions = Path(todo_schema.__file__).parent / "migrations" / "versions"
    source = next(versions.glob("001_*.py")).read_text()
    for ours, theirs in (
        ("from alembic.operations import Operations\n", "from alembic import op\n"),
        ("def upgrade(op: Operations)", "def upgrade()"),
        ("def downgrade(op: Operations)", "def downgrade()"),
    ):
        if ours not in source:
            raise LookupError(f"revision 001 no longer says {ours!r}")
        source = source.replace(ours, theirs)
    return source
