"""A service with an Alembic history of its own beside ours, and the author of our next revision."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import nest
from tests.support.catalog_dump import dump
from tests.support.revisions import CONTRACTS
from tests.support.servers import execute
from tests.support.states import version
from todo_schema import contract, upgrade
from todo_schema.catalog import contracts
from todo_schema.compatibility import BOOKKEEPING_TABLES, ENTITY_TABLES, HEAD

OURS = ENTITY_TABLES | BOOKKEEPING_TABLES
# What the version table says at the heads of both lines.
HEADS = [HEAD, *CONTRACTS[-1:]]

# The env.py that `alembic init` writes, less its comments and its logging.
ENV = """
import os
from alembic import context
from sqlalchemy import NullPool, create_engine
import models

engine = create_engine(os.environ["HOST_URL"], poolclass=NullPool)
with engine.connect() as connection:
    context.configure(connection=connection, target_metadata=models.metadata{options})
    with context.begin_transaction():
        context.run_migrations()
"""

# A service that imports our models, and has tables that refer to them.
IMPORTING = """
import uuid
import todo_schema.models
from sqlmodel import Field, SQLModel

class Note(SQLModel, table=True):
    __tablename__ = "notes"
    id: int | None = Field(default=None, primary_key=True)
    user_id: uuid.UUID = Field(foreign_key="users.id", index=True)

metadata = SQLModel.metadata
"""

# A service that does not, with a foreign key to ours by name: it reflects the table that it refers to.
INDEPENDENT = """
from sqlalchemy import BigInteger, Column, ForeignKey, Index, MetaData, Table, Text, Uuid

metadata = MetaData()
notes = Table(
    "notes", metadata, Column("id", BigInteger, primary_key=True), Column("body", Text), Column("user_id", Uuid),
)
Index("ix_notes_body", notes.c.body)
"""

FILTER = ",\n        include_object=__import__('todo_schema').include_object"


class Host:
    """A service's own Alembic project, in a folder of its own, on a database."""

    def __init__(self, folder: Path, url: str, models: str, options: str = "") -> None:
        self.folder = folder
        self.url = url
        scripts = folder / "migrations"
        (scripts / "versions").mkdir(parents=True)
        (folder / "models.py").write_text(models)
        (scripts / "env.py").write_text(ENV.format(options=options))
        shutil.copy(Path(_alembic_templates(), "script.py.mako"), scripts)
        (folder / "alembic.ini").write_text("[alembic]\nscript_location = migrations\nprepend_sys_path = .\n")

    def alembic(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Run `alembic args…` in the project."""
        environment = {"HOST_URL": self.url.replace("postgresql://", "postgresql+psycopg://")}
        return nest.run("alembic", *args, env=environment, cwd=self.folder)

    def autogenerate(self) -> str:
        """Write a revision of what differs, and return its `upgrade`."""
        before = set(self.revisions())
        done = self.alembic("revision", "--autogenerate", "-m", "host")
        assert done.returncode == 0, done.stderr
        (new,) = set(self.revisions()) - before
        return new.read_text().split("def upgrade", 1)[1].split("def downgrade", 1)[0]

    def revisions(self) -> list[Path]:
        """The revision files."""
        return list((self.folder / "migrations" / "versions").glob("*.py"))


def _alembic_templates() -> Path:
    import alembic

    return Path(alembic.__file__).parent / "templates" / "generic"


def mentioned(operations: str) -> set[str]:
    return {table for table in OURS if f"'{table}'" in operations.replace("['users.id']", "")}


@pytest.mark.parametrize("before", ["ours", "theirs"])
def test_a_service_that_imports_the_models_gets_only_its_own_tables_without_a_filter(
    tmp_path: Path, database: str, before: str
):
    host = Host(tmp_path, database, IMPORTING)
    if before == "theirs":
        # The service migrates first: ours are then made beside what it has.
        execute(database, "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)")
    upgrade(database)
    contract(database)
    operations = host.autogenerate()
    assert "op.create_table('notes'" in operations
    assert operations.count("op.create_table") == 1
    assert not mentioned(operations)
    assert host.alembic("upgrade", "head").returncode == 0
    checked = host.alembic("check")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "No new upgrade operations detected" in checked.stdout + checked.stderr
    assert version(database) == HEADS


def test_between_an_upgrade_and_its_contract_step_a_filter_keeps_what_the_step_will_drop(
    tmp_path: Path, upgraded_database: str
):
    pending = {name.rpartition(".")[2] for step in contracts() for name, _ in step.removed}
    unfiltered = Host(tmp_path / "unfiltered", upgraded_database, IMPORTING).autogenerate()
    drops = [line for line in unfiltered.splitlines() if "op.drop_" in line]
    assert drops
    assert all(any(f"'{name}'" in line for name in pending) for line in drops)
    filtered = Host(tmp_path / "filtered", upgraded_database, IMPORTING, FILTER).autogenerate()
    assert "op.create_table('notes'" in filtered
    assert "op.drop_" not in filtered
    assert not mentioned(filtered)


def test_the_histories_of_a_service_and_of_this_package_do_not_meet(tmp_path: Path, database: str):
    host = Host(tmp_path, database, IMPORTING)
    upgrade(database)
    contract(database)
    ours = dump(database, tables=sorted(OURS))
    host.autogenerate()
    assert host.alembic("upgrade", "head").returncode == 0
    theirs = execute(database, "SELECT version_num FROM alembic_version")
    assert upgrade(database).applied == ()
    assert execute(database, "SELECT version_num FROM alembic_version") == theirs
    assert host.alembic("downgrade", "base").returncode == 0
    assert dump(database, tables=sorted(OURS)) == ours
    assert version(database) == HEADS


def test_without_our_models_and_without_the_filter_autogenerate_would_drop_our_tables(
    tmp_path: Path, upgraded_database: str
):
    operations = Host(tmp_path, upgraded_database, INDEPENDENT).autogenerate()
    for table in OURS:
        assert f"op.drop_table('{table}')" in operations


@pytest.mark.parametrize("installed", [True, False], ids=["with our tables", "before our tables"])
def test_include_object_keeps_a_service_without_our_models_to_its_own_tables(
    tmp_path: Path, database: str, installed: bool
):
    host = Host(tmp_path, database, INDEPENDENT, FILTER)
    if installed:
        upgrade(database)
    operations = host.autogenerate()
    assert "op.create_table('notes'" in operations
    assert "op.create_index('ix_notes_body'" in operations
    assert not mentioned(operations)
    assert "drop" not in operations
    assert host.alembic("upgrade", "head").returncode == 0
    upgrade(database)
    checked = host.alembic("check")
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_include_object_also_serves_a_service_that_imports_the_models(tmp_path: Path, upgraded_database: str):
    host = Host(tmp_path, upgraded_database, IMPORTING, FILTER)
    operations = host.autogenerate()
    assert "op.create_table('notes'" in operations
    assert "op.create_index(op.f('ix_notes_user_id')" in operations
    assert host.alembic("upgrade", "head").returncode == 0
    assert host.alembic("check").returncode == 0


def test_include_object_still_lets_a_service_drop_its_own_tables_and_indexes(
    tmp_path: Path, upgraded_database: str
):
    execute(
        upgraded_database,
        "CREATE TABLE old (id int); CREATE TABLE notes (id bigint PRIMARY KEY, body text, user_id uuid);"
        "CREATE INDEX ix_notes_old ON notes (id); CREATE INDEX ix_notes_body ON notes (body)",
    )
    operations = Host(tmp_path, upgraded_database, INDEPENDENT, FILTER).autogenerate()
    assert "op.drop_table('old')" in operations
    assert "op.drop_index(op.f('ix_notes_old')" in operations
    assert not mentioned(operations)


def test_after_a_column_is_added_beside_the_package_only_its_owner_sees_a_difference(
    tmp_path: Path, upgraded_database: str
):
    execute(upgraded_database, "ALTER TABLE tasks ADD extra text")
    filtered = Host(tmp_path / "filtered", upgraded_database, INDEPENDENT, FILTER)
    assert not mentioned(filtered.autogenerate())
    importing = Host(tmp_path / "importing", upgraded_database, IMPORTING)
    assert "op.drop_column('tasks', 'extra')" in importing.autogenerate()
