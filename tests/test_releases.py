"""Each release that is frozen below tests/releases still works: its revisions, its rows, and its own code.

As long as none is frozen, what `make release` would make of this checkout stands for them.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests import release as program
from tests.support import packages
from tests.support import releases as frozen
from tests.support.clusters import Cluster
from tests.support.filling import AWKWARD, ROLES
from tests.support.nest import run_code
from tests.support.processes import CHECKOUT, SOURCE, run_python, start_python
from tests.support.releases import DUMP, Release, changed, contents, install, restore, within
from tests.support.servers import Server, execute
from tests.support.states import version, with_package
from tests.support.waiting import wait_for
from todo_schema import SCHEMA_VERSION, Conversation, Message, Task
from todo_schema.compatibility import HEAD, PACKAGE_VERSION

FROZEN = {release.version: release for release in frozen.releases()}
SUPPORTED = [name for name, release in FROZEN.items() if release.schema_version >= frozen.floor()]
UNRELEASED = "unreleased"
HEADING = f"## [{PACKAGE_VERSION}] - 2026-12-01 - schema {SCHEMA_VERSION}"
SERVICE = (CHECKOUT / "tests" / "support" / "service.py").read_text(encoding="utf-8")


@pytest.fixture
def changelog(tmp_path: Path) -> Path:
    """A changelog that has the version of this checkout."""
    path = tmp_path / "CHANGELOG.md"
    path.write_text(f"# Changelog\n\n{HEADING}\n", encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def unreleased(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """What `make release` makes of this checkout."""
    folder = tmp_path_factory.mktemp("unreleased")
    (folder / "CHANGELOG.md").write_text(HEADING, encoding="utf-8")
    return Release(program.freeze(PACKAGE_VERSION, folder / "CHANGELOG.md", folder / "releases"))


@pytest.fixture(params=list(FROZEN) or [UNRELEASED])
def release(request: pytest.FixtureRequest) -> Release:
    return FROZEN.get(request.param) or request.getfixturevalue(UNRELEASED)


# A release below the floor has had its time: the others serve on.
supported = pytest.mark.parametrize("release", SUPPORTED or [UNRELEASED], indirect=True)


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Release], Path]:
    """Gives the PYTHONPATH of a release, each installed once."""
    return cache(lambda release: install(release.wheel, tmp_path_factory.mktemp("installed")))


@pytest.fixture(params=["this checkout", "the next version"])
def newest(request: pytest.FixtureRequest) -> Path:
    """The PYTHONPATH of a package that is at least as new as any release."""
    return SOURCE if request.param == "this checkout" else request.getfixturevalue("next_package")


@pytest.fixture
def released_database(server: Server, release: Release) -> Iterator[str]:
    """The database that the release made and filled."""
    url = restore(server, release)
    yield url
    server.drop_database(url)


def test_each_version_in_the_changelog_is_frozen_with_the_schema_that_its_heading_says():
    said = program.headings((CHECKOUT / "CHANGELOG.md").read_text(encoding="utf-8"))
    assert {name: schema for name, (_, schema) in said.items()} == {
        name: str(release.schema_version) for name, release in FROZEN.items()
    }


def test_no_released_revision_or_catalogue_was_changed_or_removed(release: Release):
    assert any(name.endswith("/001_baseline.py") for name in release.migrations)
    assert any(name.endswith("/001.txt") for name in release.migrations)
    assert changed(release, SOURCE) == []


def test_a_changed_or_missing_file_is_noticed_and_another_line_ending_is_not(
    release: Release, tmp_path: Path
):
    shutil.copytree(SOURCE / "todo_schema" / "migrations", tmp_path / "todo_schema" / "migrations")
    baseline, catalogue, *others = [tmp_path / name for name in sorted(release.migrations, reverse=True)]
    for path in (baseline, catalogue, *others):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert changed(release, tmp_path) == []
    baseline.write_bytes(baseline.read_bytes() + b"\n# a remark")
    catalogue.unlink()
    assert {tmp_path / name for name in changed(release, tmp_path)} == {baseline, catalogue}


def test_an_upgrade_keeps_every_row_of_a_released_database(released_database: str, newest: Path):
    before = contents(released_database)
    assert set(before) >= {"conversations", "messages", "tasks", "users", "sequences"}
    assert all(before.values())
    said = with_package(newest, "t.upgrade(url); print(t.check(url, deep=True))", released_database)
    assert said == "current\n"
    assert within(before, contents(released_database)) == before


def test_a_released_database_can_be_restored_on_another_server(
    private_server: Cluster, release: Release, released_database: str
):
    assert contents(restore(private_server, release)) == contents(released_database)


def told(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """What a service printed, which must have had nothing to complain about."""
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    told: dict[str, Any] = json.loads(done.stdout)
    for _, logged in (told["upgrade"], told["check"], told["sessions"]):
        assert not [line for line in logged if not line.startswith("INFO ")]
    assert told["sessions"][1] == []
    return told


@supported
def test_a_release_serves_on_while_the_newest_package_upgrades_its_database_and_works_beside_it(
    released_database: str, release: Release, installed: Callable[[Release], Path], newest: Path
):
    processes = [start_python(SERVICE, released_database, "old", "new", pythonpath=installed(release))]
    try:
        wrote = "SELECT FROM users WHERE email LIKE 'old-%'"
        wait_for(lambda: processes[0].poll() is not None or execute(released_database, wrote))
        processes += [start_python(SERVICE, released_database, "new", "old", pythonpath=newest)]
        outputs = [process.communicate(timeout=60) for process in processes]
    finally:
        for process in processes:
            process.kill()
    old, new = (
        told(subprocess.CompletedProcess(process.args, process.returncode, *output))
        for process, output in zip(processes, outputs, strict=True)
    )
    assert Path(old["file"]).is_relative_to(installed(release))
    assert (old["upgrade"][1], old["check"]) == ([], ["current", []])
    assert new["check"] == ["current", []]
    assert within(old["rows"], new["rows"]) == old["rows"]
    assert {name: len(rows) for name, rows in old["rows"].items()} == {
        name: len(rows) for name, rows in contents(released_database).items() if name in old["rows"]
    }
    for service in ("old", "new"):
        assert [row for row in old["rows"]["tasks"] if row["title"].startswith(f"{service}-")]


@supported
def test_a_release_boots_again_on_the_newest_database_and_says_so_in_one_line_at_most(
    released_database: str, release: Release, installed: Callable[[Release], Path], newest: Path
):
    with_package(newest, "t.upgrade(url); t.contract(url)", released_database)
    before = version(released_database)
    done = told(run_code(SERVICE, released_database, "old", pythonpath=installed(release)))
    assert done["version"] == release.version
    ahead = f"{release.schema_version:03d}" not in before
    for said, logged in (done["upgrade"], done["check"]):
        assert [line.split(" database ")[0] for line in logged] == ["INFO todo_schema"] * ahead
        assert "nothing to do" in said or said == ("ahead" if ahead else "current")
    assert version(released_database) == before


def test_a_release_below_the_floor_is_refused_by_its_own_code_before_it_touches_anything(
    released_database: str, release: Release, installed: Callable[[Release], Path], contracting_package: Path
):
    with_package(contracting_package, "t.upgrade(url); t.contract(url)", released_database)
    before = contents(released_database)
    done = run_code(SERVICE, released_database, "old", pythonpath=installed(release))
    assert "SchemaTooNewError: found: " in done.stderr
    assert contents(released_database) == before


# What the program refuses: VERSION and the changelog's heading, what it finds, what it needs.
REFUSED = {
    "another version": ("9.9.9", HEADING, "VERSION=9.9.9, and PACKAGE_VERSION", "the same in both"),
    "no version": ("", HEADING, "VERSION=, and PACKAGE_VERSION", "the same in both"),
    "no heading": (
        PACKAGE_VERSION,
        "## [Unreleased]",
        "no heading for",
        f"## [{PACKAGE_VERSION}] - YYYY-MM-DD",
    ),
    "no date": (PACKAGE_VERSION, HEADING.replace("2026-12-01", ""), "] -  - schema", "YYYY-MM-DD"),
    "another schema": (PACKAGE_VERSION, HEADING + "7", HEADING + "7", f"schema {SCHEMA_VERSION}"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_released_is_refused_by_name(case: str, changelog: Path, tmp_path: Path):
    named, heading, found, needed = REFUSED[case]
    changelog.write_text(f"{heading}\n\n## [0.0.1] - 2026-11-01 - schema 1\n", encoding="utf-8")
    with pytest.raises(program.ReleaseRefusedError) as refused:
        program.freeze(named, changelog, tmp_path / "releases")
    assert found in refused.value.found
    assert needed in refused.value.needed
    cure = "write this heading" if named == PACKAGE_VERSION else f"make release VERSION={PACKAGE_VERSION}"
    assert refused.value.cure.startswith(cure)
    assert list(tmp_path.iterdir()) == [changelog]


def test_a_release_is_made_once(changelog: Path, tmp_path: Path):
    frozen_before = tmp_path / "releases" / PACKAGE_VERSION
    frozen_before.mkdir(parents=True)
    with pytest.raises(program.ReleaseRefusedError, match="never changes\ncure: raise PACKAGE_VERSION"):
        program.freeze(PACKAGE_VERSION, changelog, tmp_path / "releases")
    assert list(tmp_path.glob("releases/**/*")) == [frozen_before]


def test_the_command_ends_with_the_refusal():
    code = (
        "import runpy, sys; sys.argv[1:] = ['9.9.9']; runpy.run_module('tests.release', run_name='__main__')"
    )
    done = run_python(code, env={"PYTHONPATH": os.pathsep.join([str(SOURCE), str(CHECKOUT)])})
    assert done.returncode == 1
    assert done.stderr.startswith("found: VERSION=9.9.9, and PACKAGE_VERSION = ")


def test_a_build_that_fails_leaves_no_half_a_release(
    monkeypatch: pytest.MonkeyPatch, changelog: Path, tmp_path: Path
):
    monkeypatch.setattr(packages, "CHECKOUT", tmp_path)
    with pytest.raises(RuntimeError, match="the wheel was not built"):
        program.freeze(PACKAGE_VERSION, changelog, tmp_path / "releases")
    assert list(tmp_path.iterdir()) == [changelog]


def _the_wheel_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "_FILLING", CHECKOUT / "LICENSE")


def _the_dump_is_spoilt(monkeypatch: pytest.MonkeyPatch) -> None:
    portable = program.portable
    monkeypatch.setattr(program, "portable", lambda dump: portable(dump).replace("\r", ""))


@pytest.mark.parametrize(
    ("spoil", "error"),
    [(_the_wheel_fails, "filled no database"), (_the_dump_is_spoilt, "does not give back what was dumped")],
)
def test_a_later_step_that_fails_leaves_no_half_a_release_either(
    spoil: Callable[[pytest.MonkeyPatch], None],
    error: str,
    wheel: Path,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    changelog: Path,
    tmp_path: Path,
):
    monkeypatch.setattr(program, "embedded_server", lambda: nullcontext(server))
    monkeypatch.setattr(program, "build_wheel", lambda folder: Path(shutil.copy(wheel, folder)))
    spoil(monkeypatch)
    with pytest.raises(RuntimeError, match=error):
        program.freeze(PACKAGE_VERSION, changelog, tmp_path / "releases")
    assert list(tmp_path.iterdir()) == [changelog]


def test_a_release_is_the_wheel_of_the_checkout_and_the_database_that_it_filled(
    server: Server, unreleased: Release
):
    assert {path.name for path in unreleased.folder.iterdir()} == {unreleased.wheel.name, DUMP}
    assert unreleased.schema_version == SCHEMA_VERSION
    url = restore(server, unreleased)
    assert version(url) == [HEAD]
    assert execute(url, "SELECT DISTINCT package_version, host FROM todo_schema_history") == [
        (PACKAGE_VERSION, "localhost")
    ]
    assert set(execute(url, "SELECT content, role FROM messages")) == {
        (text, role) for text in AWKWARD for role in ROLES
    }
    ((newest, next_number),) = execute(url, "SELECT max(id), nextval('tasks_id_seq') FROM tasks")
    assert next_number > newest + 1
    for column in [c for entity in (Conversation, Message, Task) for c in entity.__table__.c if c.nullable]:
        found = execute(url, f"SELECT DISTINCT {column} IS NULL FROM {column.table} ORDER BY 1")
        assert found == [(False,), (True,)], column


def test_only_what_psql_alone_understands_leaves_a_dump():
    row = "INSERT INTO t VALUES ('it''s\n-- no comment\n\n\\restrict\n', \"a\n--b\");\n"
    body = "CREATE FUNCTION f() AS $x$\n-- no comment: '\n$x$;\n"
    kept = f"SET lock_timeout = 0;\n{row}{body}SELECT 1;\n"
    noise = "--\n-- Name: t's; Type: TABLE\n--\n\n\\restrict key\nSET transaction_timeout = 0;\n"
    assert program.portable(noise + kept.replace(body, body + noise) + "\\unrestrict key\n\n") == kept
