"""The command that upgrades several databases: what it takes, what it prints, and how it exits."""

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import todo_schema
from tests.support.commands import call as call_command
from tests.support.commands import on_a_terminal
from tests.support.fleets import BAD, BEFORE, Make, databases_behind, fleet, locked, names, waits
from tests.support.migrated import clients
from tests.support.ports import refuse
from tests.support.processes import clean_environment
from tests.support.servers import Server, execute
from tests.support.states import version
from tests.support.waiting import wait_for
from todo_schema import (
    SCHEMA_VERSION,
    MigrationFailedError,
    SchemaTooNewError,
    TodoSchemaError,
    downgrade,
)
from todo_schema.compatibility import HEAD
from todo_schema.exits import _WORST_FIRST, Exit, worst


@pytest.fixture(scope="module")
def made(server: Server) -> Iterator[Make]:
    with databases_behind(server) as make:
        yield make


def test_the_command_says_who_failed_and_exits_by_the_worst(server: Server, made: Make, tmp_path: Path):
    file = tmp_path / "tenants"
    with fleet(server, made, 3) as (urls, bad):
        file.write_text("\n".join(urls))
        said = call_command("upgrade", "--urls-file", str(file))
        assert said.exit_code == Exit.NOT_OURS
        assert [name for name in names(bad) if f"{name}: " not in said.stdout] == []
        assert [said.stdout.count(f"\n  {word}: ") for word in ("found", "needed", "cure")] == [6, 6, 6]
        assert len(said.stderr.splitlines()) == len(urls)
        assert f"\n{len(urls)}/{len(urls)} " in said.stderr
        again = call_command("upgrade", *(part for url in urls for part in ("--url", url)), "--json")
        assert (again.exit_code, again.stderr) == (Exit.NOT_OURS, "")
        outcomes = json.loads(again.stdout)["outcomes"]
        assert [one["error"]["error"] for one in outcomes if one["error"]] == BAD
        assert all(one["error"]["cure"] for one in outcomes if one["error"])
        assert [one["report"]["after"] for one in outcomes if one["report"]] == ["current"] * 3
        too_new = call_command("upgrade", *(part for url in bad[:3] for part in ("--url", url)))
        assert too_new.exit_code == Exit.TOO_NEW
        assert call_command("upgrade", "--url", bad[1], "--url", bad[3]).exit_code == Exit.UNREACHABLE
        assert "secret" not in said.output + again.output + too_new.output


def test_what_another_try_may_mend_is_the_least_bad_of_several():
    assert sorted(_WORST_FIRST) == sorted(Exit)
    too_new, failed = SchemaTooNewError("a", "b", "c"), MigrationFailedError("a", "b", "c", "002")
    locked, nobody = todo_schema.MigrationLockedError("a", "b", "c"), TodoSchemaError("a", "b", "c")
    unreachable = todo_schema.DatabaseUnreachableError("a", "b", "c")
    assert worst([]) == worst([None]) == Exit.OK
    assert worst([None, unreachable]) == Exit.UNREACHABLE
    assert worst([unreachable, locked, None]) == Exit.LOCKED
    assert worst([unreachable, too_new, locked]) == Exit.TOO_NEW
    assert worst([too_new, failed]) == worst([nobody, too_new]) == Exit.FAILED


def test_control_c_at_the_command_waits_for_what_is_under_way_and_a_second_one_does_not(
    made: Make,
):
    slow, other = made(2)
    command = [sys.executable, "-m", "todo_schema", "upgrade", "--concurrency", "1"]
    command += ["--url", slow, "--url", other]
    for times in (1, 2):
        with (
            locked(slow) as release,
            subprocess.Popen(command, stderr=subprocess.PIPE, env=clean_environment(), text=True) as process,
        ):
            wait_for(lambda: waits(slow))
            process.send_signal(signal.SIGINT)
            assert process.stderr
            assert process.stderr.readline().startswith("interrupted: waiting for the end of ")
            if times == 2:
                process.send_signal(signal.SIGINT)
            else:
                release()
            assert process.wait(timeout=60) == 130
        assert version(other) == [BEFORE]
        if times == 1:
            assert version(slow) == [HEAD]
            downgrade(slow, to=BEFORE)
    wait_for(lambda: clients(slow) == [])
    assert version(slow) == [BEFORE]


FILE = """\
# the tenants of the first machine
{url}
  {url}\tone # two\r

   # none
{url}   With "Spaces"
{url}   # says nothing
"""


def test_a_file_names_a_database_a_line_and_its_schema_behind_it(made: Make, tmp_path: Path):
    (url,) = made(1)
    lines = FILE.format(url=url)
    (tmp_path / "urls").write_text(f"\ufeff{lines}", encoding="utf-8", newline="")
    asked = ["upgrade", "--json", "--schema", "a", "--schema", "b", "--url", url]
    for said in (
        call_command(*asked, "--urls-file", str(tmp_path / "urls"), url="postgresql://nobody@host.invalid/x"),
        call_command(*asked, "--urls-file", "-", stdin=lines),
    ):
        assert said.exit_code == 0, said.output
        schemas = [outcome["schema"] for outcome in json.loads(said.stdout)["outcomes"]]
        assert schemas == ["a", "b", "a", "b", "one # two", 'With "Spaces"', "a", "b"]


@pytest.mark.parametrize(
    "line",
    [
        "postgresql://ann:secret word@127.0.0.1:1/x",
        "postgresql://ann:1 secret@127.0.0.1:1/x",
        "postgresql://ann:12 @secret@127.0.0.1:1/x  acme",
        "host=127.0.0.1 port=1 password=secret",
    ],
)
def test_what_stands_behind_a_raw_space_of_a_password_is_not_shown_as_a_schema(tmp_path: Path, line: str):
    (tmp_path / "urls").write_text(line)
    for options in ([], ["--json"]):
        said = call_command("upgrade", "--urls-file", str(tmp_path / "urls"), *options)
        assert said.exit_code in (Exit.USAGE, Exit.UNREACHABLE)
        assert not {"secret", "word"} & set(re.findall(r"\w+", said.output))


def test_an_empty_file_is_nothing_to_do_and_one_that_cannot_be_read_a_mistake_of_usage(
    database: str, tmp_path: Path
):
    file = tmp_path / "urls"
    file.write_bytes(b"# nobody yet\n")
    said = call_command("upgrade", "--urls-file", str(file), url=database)
    assert (said.exit_code, said.stdout[:16]) == (Exit.OK, "no installations")
    file.write_bytes(b"postgresql://u:secret\xff@h/d")
    for path in (file, tmp_path / "nowhere", tmp_path):
        said = call_command("upgrade", "--urls-file", str(path), url=database)
        assert (said.exit_code, "secret" in said.output) == (Exit.USAGE, False)
    assert call_command("upgrade", "--concurrency", "0", url=database).exit_code == Exit.USAGE
    assert execute(database, "SELECT FROM pg_tables WHERE tablename = 'tasks'") == []


def test_a_file_of_one_line_is_answered_as_one_of_many_and_one_url_as_ever(made: Make, tmp_path: Path):
    (url,) = made(1)
    (tmp_path / "urls").write_text(url)
    many = call_command("upgrade", "--urls-file", str(tmp_path / "urls"), "--json")
    assert list(json.loads(many.stdout)) == ["outcomes", "seconds"]
    one = call_command("upgrade", "--url", url, "--schema", "todo", "--json")
    assert json.loads(one.stdout)["after"] == "current"
    assert call_command("upgrade", "--schema", "todo", url=url).stdout.endswith("already: nothing to do\n")
    both = call_command("upgrade", "--schema", "todo", "--schema", "new", url=url)
    assert (
        f"{names([url])[0]}, schema new: schema none -> {SCHEMA_VERSION}\n2 installations in " in both.stdout
    )


def test_on_a_terminal_a_bar_shows_how_many_are_done_and_who_failed(made: Make):
    (url,) = made(1)
    with refuse() as nowhere:
        code, out, shown = on_a_terminal("upgrade", "--url", url, "--url", nowhere, columns=300)
    assert code == Exit.UNREACHABLE
    assert f"failed {names([nowhere])[0]}: DatabaseUnreachableError" in shown
    assert "2/2 " in shown
    assert "\x1b[" in shown
    assert f"{names([url])[0]}: schema {SCHEMA_VERSION - 1} -> {SCHEMA_VERSION}\n" in out
