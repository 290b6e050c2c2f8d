"""The command line: what it prints, for people and for programs, and how it exits."""

import json
import subprocess
import sys

import pytest

import todo_schema
from tests.support.commands import call, on_a_terminal
from tests.support.ports import refuse
from tests.support.processes import clean_environment, run_python
from tests.support.revisions import CONTRACTS, NEXT_VERSION, REVISIONS
from tests.support.servers import Server, execute
from tests.support.states import NO_ROW, STATES
from todo_schema import SCHEMA_VERSION, State, catalog, upgrade
from todo_schema import __main__ as entry
from todo_schema.cli import app
from todo_schema.exits import Exit

COMMANDS = [
    *(
        "upgrade",
        "status",
        "clients",
        "wait",
        "contract",
        "check",
        "history",
        "plan",
        "sql",
        "downgrade",
        "adopt",
        "stamp",
    ),
    "demo",
]


def test_a_database_goes_through_its_life_by_command(database):
    assert call("check", url=database).exit_code == Exit.OUTDATED
    assert f"{len(REVISIONS)} to apply" in call("plan", url=database).stdout
    upgraded = call("upgrade", url=database)
    assert (upgraded.exit_code, upgraded.stdout.splitlines()[0]) == (0, f"schema none -> {SCHEMA_VERSION}")
    assert call("upgrade", url=database).stdout == f"schema {SCHEMA_VERSION} already: nothing to do\n"
    assert call("check", "--deep", url=database).stdout == "current\n"
    assert "applied 20" in call("history", url=database).stdout
    undone = call("downgrade", "--to", "base", url=database)
    assert undone.stdout.startswith(f"schema {SCHEMA_VERSION} -> none")
    assert "state     empty" in call("status", url=database).stdout
    assert call("stamp", "001", url=database).exit_code == Exit.OUTDATED


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        (
            ["status"],
            {"state": "empty", "package_schema_version": SCHEMA_VERSION, "pending": [*REVISIONS]},
        ),
        (["plan"], {"state": "empty"}),
        (["upgrade"], {"before": "empty", "after": "current", "version_after": SCHEMA_VERSION}),
        (["check"], {"error": "SchemaOutdatedError", "cure": "todo-schema upgrade --url URL"}),
        (["downgrade", "--to", "base"], {"version_after": None}),
    ],
)
def test_json_is_one_object_with_the_same_facts(database, arguments, facts):
    answer = json.loads(call(*arguments, "--json", url=database).stdout)
    assert answer | facts == answer


def test_the_url_option_goes_before_the_environment(database):
    assert (
        call("check", "--url", database, url="postgresql://nobody@host.invalid/x").exit_code == Exit.OUTDATED
    )


def test_sql_asks_no_database_unless_one_is_named(upgraded_database):
    assert call("sql", url=upgraded_database).stdout == todo_schema.sql()
    named = call("sql", "--url", upgraded_database, "--to", "base").stdout
    assert named == todo_schema.sql(upgraded_database, to="base")


@pytest.mark.parametrize(
    ("arguments", "url", "code"),
    [
        (["upgrade"], "mysql://u:sekret@h/d", Exit.USAGE),
        (["upgrade"], "postgresql://u:sekret@host.invalid/d", Exit.UNREACHABLE),
        (["upgrade"], "postgresql://u:sekret@127.0.0.1:1/d", Exit.UNREACHABLE),
        (["upgrade"], None, Exit.USAGE),
        (["downgrade"], "postgresql://u:sekret@127.0.0.1:1/d", Exit.USAGE),
        (["downgrade", "--to", "999"], "postgresql://u:sekret@127.0.0.1:1/d", Exit.USAGE),
        (["nonsense"], None, Exit.USAGE),
    ],
)
def test_an_error_has_its_exit_code_and_never_the_password(arguments, url, code):
    for form in ([], ["--json"]):
        result = call(*arguments, *form, url=url)
        assert result.exit_code == code
        assert "sekret" not in result.output
        assert "Traceback" not in result.output


# One that the head has, and that no contract step takes away.
AN_INDEX = next(
    name.rpartition(".")[2]
    for name in sorted(catalog.expected(SCHEMA_VERSION, len(CONTRACTS)))
    if name.startswith("index ")
)


@pytest.mark.parametrize(
    ("prepare", "arguments", "code"),
    [
        (f"UPDATE todo_schema_history SET floor = {NEXT_VERSION}", ["check", "--deep"], Exit.TOO_NEW),
        ("UPDATE todo_schema_version SET version_num = 'abc'", ["check"], Exit.NOT_OURS),
        ("DELETE FROM todo_schema_version; ALTER TABLE tasks ADD x int", ["upgrade"], Exit.NOT_OURS),
        (f"DROP INDEX {AN_INDEX}", ["check", "--deep"], Exit.NOT_OURS),
    ],
)
def test_a_database_that_may_not_be_used_has_its_exit_code(
    server, upgraded_database, prepare, arguments, code
):
    server.execute(prepare, upgraded_database)
    assert call(*arguments, url=upgraded_database).exit_code == code


def test_every_error_class_has_an_exit_code_of_its_own_or_says_that_it_failed():
    from todo_schema import errors, exits

    classes = {item for item in vars(errors).values() if isinstance(item, type)} - {errors.TodoSchemaError}
    of_services = {errors.WrongEventLoopError, errors.ConversationNotFoundError}
    failures = {errors.MigrationFailedError} | of_services
    assert set(exits._CODES) == classes - failures


def test_the_exit_codes_never_change():
    assert {code.name: code.value for code in Exit} == {
        "OK": 0,
        "FAILED": 1,
        "USAGE": 2,
        "OUTDATED": 3,
        "TOO_NEW": 4,
        "NOT_OURS": 5,
        "LOCKED": 6,
        "UNREACHABLE": 7,
        "REFUSED": 8,
        "CLIENTS": 9,
        "PREFLIGHT": 10,
    }


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_each_command_has_an_example_and_the_exit_codes(command):
    result = call(command, "--help")
    assert result.exit_code == 0
    assert f"Example: todo-schema {command}" in result.stdout
    assert ("--schema" in result.stdout) is (command != "demo")
    assert all(f"{code.value} " in result.stdout.split("Exit codes", 1)[1] for code in Exit)
    assert command in call("--help").stdout


def test_every_command_is_listed_here():
    assert {command.name or command.callback.__name__ for command in app.registered_commands} == set(COMMANDS)


@pytest.mark.parametrize("schema", ["", "x" * 64])
def test_a_schema_that_cannot_be_is_a_mistake_of_usage(database, schema):
    for command in ("upgrade", "status", "history", "sql", "plan"):
        result = call(command, "--schema", schema, url=database)
        assert (result.exit_code, "Traceback" in result.output) == (Exit.USAGE, False), command


def test_on_a_terminal_progress_is_shown_while_a_revision_runs(database):
    code, out, shown = on_a_terminal("upgrade", "--url", database, columns=80)
    assert (code, out.splitlines()[0]) == (0, f"schema none -> {SCHEMA_VERSION}")
    for revision in REVISIONS:
        assert f"done {revision}" in shown
    assert "\x1b[" in shown


def test_the_help_does_not_show_the_url_of_the_environment():
    assert "sekret" not in call("upgrade", "--help", url="postgresql://u:sekret@h/d").output


def test_without_a_terminal_there_is_no_colour_and_progress_is_lines(database):
    command = [sys.executable, "-m", "todo_schema", "upgrade", "--url", database]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "\x1b" not in result.stdout + result.stderr
    for revision in REVISIONS:
        assert f"applying {revision}" in result.stderr
    assert result.stdout.startswith(f"schema none -> {SCHEMA_VERSION}")


def test_the_version_is_the_packages():
    said = call("--version").stdout
    assert said == f"todo-schema {todo_schema.__version__} (schema {SCHEMA_VERSION})\n"


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_the_extra_it_says_how_to_install_it(missing):
    code = f"import sys; sys.modules[{missing!r}] = None; from todo_schema.__main__ import main; main()"
    result = run_python(code)
    assert result.returncode == Exit.USAGE
    assert 'pip install "todo-schema[cli]"' in result.stderr
    assert "Traceback" not in result.stderr


def test_the_module_and_the_script_are_the_same_program():
    assert entry.main.__module__ == "todo_schema.__main__"
    result = subprocess.run(
        [sys.executable, "-m", "todo_schema", "history"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0
    assert result.stdout == "".join(f"{item}\n" for item in todo_schema.history())


def test_the_demonstration_shows_one_replica_that_migrates_and_a_second_boot_of_one_statement():
    command = [sys.executable, "-m", "todo_schema", "demo", "--replicas", "3"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    lines = [line.split() for line in result.stdout.splitlines()]
    replicas = [line for line in lines if len(line) > 4 and line[1] in {"empty", "current"}]
    assert [line[3].rstrip(",") for line in replicas].count("001") == 1
    assert {line[2] for line in replicas} == {"current"}
    second = next(line for line in lines if line[:2] == ["second", "boot"])
    assert second[2:5] == ["1", "1", "1"]
    assert "task 1: Water the plants" in result.stdout


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (STATES[State.EMPTY], Exit.OUTDATED),
        (STATES[State.TOO_NEW], Exit.TOO_NEW),
        (NO_ROW, Exit.NOT_OURS),
        ("DROP TABLE tasks", Exit.NOT_OURS),
    ],
)
def test_wait_exits_as_check_does(upgraded_database: str, change: str, code: Exit):
    execute(upgraded_database, change)
    said = call("wait", "--timeout", "0", "--json", url=upgraded_database)
    assert said.exit_code == code == call("check", url=upgraded_database).exit_code
    assert set(json.loads(said.stdout)) >= {"error", "found", "needed", "cure"}
    assert said.stderr == ""


def test_wait_says_what_it_returns(upgraded_database: str):
    said = call("wait", url=upgraded_database)
    assert (said.exit_code, said.stdout, said.stderr) == (Exit.OK, "current\n", "")
    execute(upgraded_database, STATES[State.AHEAD])
    assert json.loads(call("wait", "--json", url=upgraded_database).stdout) == {"state": "ahead"}


def test_wait_tells_a_server_that_is_not_there_from_one_that_refuses(server: Server):
    with refuse() as nowhere:
        assert call("wait", "--timeout", "0", url=nowhere).exit_code == Exit.UNREACHABLE
    assert call("wait", url=server.url("no_such_database")).exit_code == Exit.REFUSED


def test_wait_reports_in_lines_that_a_log_can_keep(database: str):
    command = [sys.executable, "-m", "todo_schema", "wait", "--timeout", "60"]
    environment = clean_environment({"DATABASE_URL": database})
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as waiter:
        assert waiter.stderr
        line = waiter.stderr.readline()
        upgrade(database)
        out, more = waiter.communicate(timeout=60)
    assert line.startswith("waiting: found none of our tables in database ")
    assert (waiter.returncode, out) == (Exit.OK, "current\n")
    assert all(other.startswith("waiting: found ") for other in more.splitlines())
