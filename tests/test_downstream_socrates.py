"""Socrates: two databases with a history each, ours beside one of them, or both; all in one call."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import hosts
from tests.support.catalog_dump import dump
from tests.support.forker import Forker
from tests.support.hosts import OURS, Done, Host, failed, succeeded, tables_made, tables_touched
from tests.support.ports import refuse
from tests.support.processes import run_python
from tests.support.servers import Server, execute
from todo_schema import State, check, contract, upgrade, upgrade_many

THEIRS = {"auth": {"accounts", "refresh_tokens"}, "specs": {"projects", "sessions"}}
HEADS = {"auth": ["5b0c97d2e814"], "specs": ["e72b5d1409ac"]}

ROWS_OF_OURS = """INSERT INTO users (id, email) VALUES (gen_random_uuid(), 'ann@example.com');
    INSERT INTO tasks (user_id, title) SELECT id, 'Water the plants' FROM users"""
OF_OURS = "SELECT u.id, email, title FROM users u JOIN tasks t ON t.user_id = u.id"

UPGRADE = "import sys, todo_schema; [todo_schema.upgrade(url) for url in sys.argv[1:]]"

USE = """
import asyncio, json
from socrates import service

async def main():
    ann = await service.sign_up("Ann@example.com", "x")
    account = await service.account_of("ANN@example.com")
    sitting = await service.begin(ann.id, "A boat", "What shall it carry?")
    await service.answer(ann.id, sitting, "Apples.")
    said = await service.history(ann.id, sitting)
    older = await service.history(ann.id, sitting, before=said[0])
    to_do = await service.to_do(ann.id)
    print(json.dumps([
        account.user_id == ann.id, account.role, type(sitting).__module__, sitting.mode,
        [[message.content for message in page] for page in (said, older)], [task.title for task in to_do],
    ]))
    ben = await service.sign_up("ben@example.com", "x")
    await service.begin(ben.id, "A shed", "How large?")
    await service.forget(ben.id)
    await service.close()

asyncio.run(main())
"""


class Section(Host):
    """The project, with the database that a section of its alembic.ini is for."""

    def __init__(self, section: str, folder: Path, url: str, programs: Forker, env: dict[str, str]) -> None:
        super().__init__("socrates", folder / section, url, programs, env)
        self.section = section

    @property
    def versions(self) -> Path:
        return self.folder / "migrations" / self.section / "versions"

    def alembic(self, *arguments: str) -> Done:
        return super().alembic("-n", self.section, *arguments)

    def migrate(self) -> Done:
        """Do what the operator does for both databases."""
        return self.python("-m", "socrates.migrate")

    def tables(self) -> set[str]:
        found = execute(self.url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        return {name for (name,) in found}


@pytest.fixture(scope="module")
def programs() -> Iterator[Forker]:
    with hosts.programs() as running:
        yield running


@pytest.fixture
def env(server: Server) -> Iterator[dict[str, str]]:
    """What names two empty databases to the project."""
    urls = {name: server.create_database() for name in THEIRS}
    yield {f"{name.upper()}_DATABASE_URL": on_psycopg(url) for name, url in urls.items()}
    for url in urls.values():
        server.drop_database(url)


@pytest.fixture
def auth(env: dict[str, str], tmp_path: Path, programs: Forker) -> Section:
    return Section("auth", tmp_path, plain(env["AUTH_DATABASE_URL"]), programs, env)


@pytest.fixture
def specs(env: dict[str, str], tmp_path: Path, programs: Forker) -> Section:
    return Section("specs", tmp_path, plain(env["SPECS_DATABASE_URL"]), programs, env)


@pytest.fixture(scope="module")
def clean(server: Server, template: str) -> str:
    """The catalogue of our tables that one undisturbed call leaves."""
    url = server.create_database(template=template)
    return dump(url, tables=OURS)


def on_psycopg(url: str) -> str:
    return url.replace("postgresql:", "postgresql+psycopg:")


def plain(url: str) -> str:
    return url.replace("postgresql+psycopg:", "postgresql:")


def test_one_call_makes_both_databases_and_each_goes_down_and_up_alone(
    auth: Section, specs: Section, clean: str
):
    assert succeeded(auth.migrate()).stdout == "auth: up to date\nspecs: up to date\n"
    assert auth.tables() == {"alembic_version", *THEIRS["auth"], *OURS}
    assert specs.tables() == {"alembic_version", *THEIRS["specs"]}
    both = dump(auth.url), dump(specs.url)
    for section in (auth, specs):
        succeeded(section.alembic("check"))
        succeeded(section.alembic("downgrade", "base"))
    assert auth.ours() == clean
    assert auth.tables() == {"alembic_version", *OURS}
    assert specs.tables() == {"alembic_version"}
    succeeded(specs.migrate())
    assert (dump(auth.url), dump(specs.url)) == both
    assert check(auth.url, deep=True) is State.CURRENT


def test_autogenerate_writes_for_each_database_its_own_tables_alone(auth: Section, specs: Section):
    upgrade(auth.url)
    for section in (auth, specs):
        section.forget_revisions()
        _, written = section.autogenerated()
        assert tables_made(written) == tables_touched(written) == THEIRS[section.section]
        assert "op.drop" not in written
        # A user is in the other database: nothing there can refer to one.
        assert written.count("['users.id']") == (2 if section is auth else 0)


def test_what_is_written_spans_both_databases_and_is_forgotten_in_both(auth: Section, specs: Section):
    upgrade(auth.url)
    execute(auth.url, ROWS_OF_OURS)
    succeeded(auth.migrate())
    *rest, said, to_do = json.loads(succeeded(auth.python("-c", USE)).stdout)
    assert rest == [True, "user", "socrates.specs", "socratic"]
    assert said == [["Apples.", "What shall it carry?"], ["What shall it carry?"]]
    assert to_do == ["Answer Socrates about A boat", "Water the plants"]
    of_auth = (
        "SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM accounts), count(*) FROM conversations"
    )
    assert execute(auth.url, of_auth) == [(1, 1, 1)]
    assert execute(specs.url, "SELECT name, mode FROM projects p JOIN sessions s ON s.project_id = p.id") == [
        ("A boat", "socratic")
    ]


def test_whoever_comes_before_ours_is_told_so_and_nothing_has_changed(auth: Section, specs: Section):
    # Theirs first: in the database of the specs that is no matter.
    succeeded(specs.alembic("upgrade", "head"))
    told = failed(auth.alembic("upgrade", "head"))
    assert "SchemaOutdatedError: found: none of the tables of todo_schema" in told
    assert not auth.tables() & THEIRS["auth"]
    # Then ours, with rows, and theirs again.
    upgrade(auth.url)
    execute(auth.url, ROWS_OF_OURS)
    before = execute(auth.url, OF_OURS)
    succeeded(auth.alembic("upgrade", "head"))
    assert auth.history() == HEADS["auth"]
    assert execute(auth.url, OF_OURS) == before


def test_right_after_one_of_our_upgrades_there_is_nothing_for_them_to_write(
    auth: Section, specs: Section, old_package: Path
):
    both = [auth, specs]
    for section in both:
        section.env["SOCRATES_CHAT"] = "auth,specs"
    done = run_python(UPGRADE, auth.url, specs.url, pythonpath=old_package)
    assert done.returncode == 0, done.stderr
    for section in both:
        execute(section.url, ROWS_OF_OURS)
        succeeded(section.alembic("upgrade", "head"))
    rows = [execute(section.url, OF_OURS) for section in both]
    report = upgrade_many([section.url for section in both])
    assert all(outcome.report and outcome.report.version_before == 1 for outcome in report.outcomes)
    for section in both:
        succeeded(section.alembic("check"))
        assert contract(section.url).applied
        succeeded(section.alembic("check"))
    assert [execute(section.url, OF_OURS) for section in both] == rows
    assert succeeded(auth.migrate()).stdout == "auth: up to date\nspecs: up to date\n"


@pytest.mark.parametrize("down", ["auth", "specs"])
def test_a_database_that_is_down_does_not_keep_the_other_from_being_upgraded(
    auth: Section, specs: Section, clean: str, down: str
):
    up = specs if down == "auth" else auth
    up.env["SOCRATES_CHAT"] = "auth,specs"
    with refuse() as nobody:
        up.env[f"{down.upper()}_DATABASE_URL"] = on_psycopg(nobody)
        done = up.migrate()
    assert done.returncode == 1
    said = done.stdout
    assert f"{up.section}: up to date\n" in said
    assert f"{down}: found: " in said
    assert up.ours() == clean
    assert up.history() == HEADS[up.section]


@pytest.mark.parametrize("chat", ["auth", "auth,specs"])
def test_a_history_that_fails_is_told_and_the_other_one_goes_on(auth: Section, specs: Section, chat: str):
    # A table of theirs is in the way, as after a run by hand.
    execute(auth.url, "CREATE TABLE accounts (id int)")
    specs.env["SOCRATES_CHAT"] = chat
    done = specs.migrate()
    assert done.returncode == 1
    assert "auth: (psycopg.errors.DuplicateTable)" in done.stdout
    assert "specs: up to date\n" in done.stdout
    assert check(auth.url) is State.CURRENT
    assert (set(OURS) <= specs.tables()) is ("specs" in chat)
