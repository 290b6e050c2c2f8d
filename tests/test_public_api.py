"""The public names: what `import todo_schema` costs, and that `__all__` is the whole contract."""

import ast
import copy
import importlib
import inspect
import json
import pickle
import pkgutil
import re
import typing
from pathlib import Path

import pytest

import todo_schema
from tests.support.processes import SOURCE, run_python
from todo_schema import errors

PACKAGE = Path(todo_schema.__file__).parent

# Reports what a statement imports, opens and sets up, from an interpreter that has done nothing else.
WATCH = """
import json, sys, typing  # the standard library's typing is no cost of ours

events = []
watching = False

def hook(event, args):
    if watching and (event in {"open", "subprocess.Popen"} or event.startswith("socket.")):
        events.append([event, str(args[0]) if args else ""])

sys.addaudithook(hook)
before = set(sys.modules)
watching = True
exec(sys.argv[1])
watching = False
modules = sorted(set(sys.modules) - before)
import logging

print(json.dumps({
    "events": events,
    "modules": modules,
    "handlers": len(logging.getLogger().handlers) + len(logging.getLogger("todo_schema").handlers),
    "level": logging.getLogger("todo_schema").level,
}))
"""

HEAVY = {"alembic", "asyncpg", "psycopg", "sqlalchemy", "sqlmodel", "pydantic", "asyncio"}

STATEMENTS = set(todo_schema._HOMES["statements"])
# What makes a factory, a filter or a statement opens nothing, so that there is nothing to await; what takes a
# session has no blocking form, since the package's sessions are async; and revisions of Alembic are never async.
WITHOUT_A_TWIN = {"append_messages", "include_object", "require_version", "session_factory"} | STATEMENTS

# How a twin may differ from its blocking function: the kinds of engine that it takes.
ADDRESS = {"Address": "AsyncAddress"}


def watched(statement: str) -> dict[str, typing.Any]:
    done = run_python(WATCH, statement, env={"PYTHONDONTWRITEBYTECODE": "1"})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def public_functions() -> list[str]:
    return [name for name in todo_schema.__all__ if inspect.isfunction(getattr(todo_schema, name))]


def blocking_functions() -> list[str]:
    return [name for name in public_functions() if not name.endswith("_async") and name not in WITHOUT_A_TWIN]


def public_classes() -> list[str]:
    return [name for name in todo_schema.__all__ if inspect.isclass(getattr(todo_schema, name))]


def error_classes() -> list[type[errors.TodoSchemaError]]:
    return [
        item
        for item in vars(errors).values()
        if inspect.isclass(item) and issubclass(item, errors.TodoSchemaError)
    ]


def test_importing_the_package_reads_its_own_module_and_no_other_file():
    seen = watched("import todo_schema")
    read = {Path(file) for event, file in seen["events"] if event == "open"}
    assert read
    assert {file.name.split(".")[0] for file in read} == {"__init__"}
    assert all(file.is_relative_to(PACKAGE) for file in read)
    assert {event for event, _ in seen["events"]} == {"open"}


def test_importing_the_package_imports_nothing_else():
    assert watched("import todo_schema")["modules"] == ["todo_schema"]


@pytest.mark.parametrize(
    "statement",
    [
        "from todo_schema import upgrade, upgrade_async",
        "from todo_schema import check, status, plan, history, sql, downgrade, stamp",
        "from todo_schema import State, SCHEMA_VERSION, __version__, TodoSchemaError",
        "from todo_schema import include_object",
    ],
)
def test_a_function_imports_neither_alembic_nor_a_driver_nor_sqlalchemy_until_it_is_called(statement: str):
    seen = watched(statement)
    assert not {name.split(".")[0] for name in seen["modules"]} & (HEAVY - {"asyncio"})
    assert not [event for event, _ in seen["events"] if event != "open"]


@pytest.mark.parametrize(
    "names", ["User, session_factory", "newest_messages, user_by_email", "MessageCreate, append_messages"]
)
def test_what_a_service_reads_and_writes_with_imports_neither_alembic_nor_a_driver(names: str):
    seen = watched(f"from todo_schema import {names}")
    roots = {name.split(".")[0] for name in seen["modules"]}
    assert "sqlmodel" in roots
    assert not roots & {"alembic", "asyncpg", "psycopg"}


@pytest.mark.parametrize("statement", ["import todo_schema", "from todo_schema import *"])
def test_importing_configures_no_logging_and_opens_no_connection(statement: str):
    seen = watched(statement)
    assert seen["handlers"] == 0
    assert seen["level"] == 0
    assert not [event for event, _ in seen["events"] if event.startswith("socket.connect")]


def test_all_is_sorted_and_has_no_name_twice():
    assert todo_schema.__all__ == sorted(set(todo_schema.__all__), key=_as_ruff_sorts)


def _as_ruff_sorts(name: str) -> tuple[int, str]:
    # Constants, then classes, then the rest: isort's order, which ruff keeps (RUF022).
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


def test_every_public_name_resolves_and_dir_lists_it():
    for name in todo_schema.__all__:
        assert getattr(todo_schema, name) is not None
    assert set(todo_schema.__all__) <= set(dir(todo_schema))
    assert dir(todo_schema) == sorted(dir(todo_schema))


def test_a_fresh_interpreter_lists_every_name_before_any_is_used():
    done = run_python("import todo_schema; print(set(todo_schema.__all__) <= set(dir(todo_schema)))")
    assert done.stdout.strip() == "True", done.stderr


def test_an_unknown_name_is_an_attribute_error_that_says_the_name():
    with pytest.raises(AttributeError, match="module 'todo_schema' has no attribute 'upgarde'"):
        _ = todo_schema.upgarde


def test_a_private_name_of_a_module_is_no_public_name():
    for name in ("decide", "ordinal_of", "TodoBase", "SchemaVersion", "PACKAGE_VERSION"):
        assert not hasattr(todo_schema, name)


def test_the_type_checker_sees_exactly_the_names_of_all_from_the_modules_that_they_come_from():
    (block,) = [
        node for node in ast.parse((PACKAGE / "__init__.py").read_text()).body if isinstance(node, ast.If)
    ]
    typed = {
        alias.asname or alias.name: (node.module, alias.name)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert set(typed) == set(todo_schema.__all__)
    for name, (module, original) in typed.items():
        assert getattr(importlib.import_module(str(module)), original) is getattr(todo_schema, name), name


@pytest.mark.parametrize("name", public_functions() + public_classes())
def test_each_public_name_says_the_one_module_that_it_lives_in(name: str):
    item = getattr(todo_schema, name)
    home = importlib.import_module(item.__module__)
    assert item.__module__.startswith("todo_schema.")
    assert getattr(home, name) is item
    assert item.__name__ == name
    assert item.__doc__


@pytest.mark.parametrize("name", public_functions())
def test_each_public_function_is_annotated_in_full(name: str):
    signature = inspect.signature(getattr(todo_schema, name))
    assert signature.return_annotation is not inspect.Signature.empty
    for parameter in signature.parameters.values():
        assert parameter.annotation is not inspect.Parameter.empty, parameter


def test_no_submodule_has_the_name_of_a_public_name():
    submodules = {module.name for module in pkgutil.iter_modules([str(PACKAGE)])}
    assert not submodules & set(todo_schema.__all__)


def test_whatever_has_to_do_with_a_database_knows_in_which_schema_its_tables_are():
    signatures = {name: inspect.signature(getattr(todo_schema, name)) for name in public_functions()}
    # A session has its schema, a statement that of its session, and each of many installations its own.
    without = STATEMENTS | {"append_messages", "upgrade_many", "upgrade_many_async"}
    assert {name for name, found in signatures.items() if "schema" not in found.parameters} == without


@pytest.mark.parametrize("name", blocking_functions())
def test_each_function_has_an_async_twin_with_the_same_parameters(name: str):
    blocking = inspect.signature(getattr(todo_schema, name))
    twin = getattr(todo_schema, f"{name}_async")
    assert inspect.iscoroutinefunction(twin)
    assert f"`{name}`" in twin.__doc__
    expected = {
        parameter.name: (parameter.kind, parameter.default, _for_a_loop(parameter.annotation))
        for parameter in blocking.parameters.values()
    }
    found = {
        parameter.name: (parameter.kind, parameter.default, parameter.annotation)
        for parameter in inspect.signature(twin).parameters.values()
    }
    assert list(found) == list(expected)
    assert found == expected
    assert inspect.signature(twin).return_annotation == blocking.return_annotation


def _for_a_loop(annotation: str) -> str:
    for blocking, in_a_loop in ADDRESS.items():
        annotation = annotation.replace(blocking, in_a_loop)
    return annotation


def test_every_twin_belongs_to_a_function():
    twins = [name.removesuffix("_async") for name in public_functions() if name.endswith("_async")]
    assert sorted(twins) == sorted(blocking_functions())


@pytest.mark.parametrize("name", blocking_functions())
def test_each_function_takes_the_schema_and_documents_its_arguments_and_errors(name: str):
    function = getattr(todo_schema, name)
    parameters = inspect.signature(function).parameters
    assert "schema" in parameters or "installations" in parameters, "each of which has one"
    assert "pooler" in parameters
    for parameter in parameters:
        assert f"    {parameter}: " in function.__doc__, parameter
    assert "Raises:" in function.__doc__


@pytest.mark.parametrize("name", sorted(STATEMENTS | {"append_messages"}))
def test_each_function_for_a_session_documents_its_arguments(name: str):
    function = getattr(todo_schema, name)
    assert inspect.iscoroutinefunction(function) == (name not in STATEMENTS)
    for parameter in inspect.signature(function).parameters:
        assert f"    {parameter}: " in function.__doc__, parameter


def test_every_error_class_is_public():
    names = {error.__name__ for error in error_classes()}
    assert names == {name for name in todo_schema.__all__ if name.endswith("Error")}


@pytest.mark.parametrize("error", error_classes(), ids=lambda error: error.__name__)
def test_the_docstring_of_an_error_begins_with_one_plain_sentence(error: type[errors.TodoSchemaError]):
    first, _, rest = str(inspect.getdoc(error)).partition("\n")
    assert first.endswith(".")
    assert first.count(". ") == 0
    assert not rest or rest.startswith("\n")


def made(error: type[errors.TodoSchemaError]) -> errors.TodoSchemaError:
    """An instance with every argument that the class takes."""
    extra = {"differences": ("a: missing",), "revision": "002"}
    wanted = inspect.signature(error).parameters
    return error("a", "b", "c", **{name: value for name, value in extra.items() if name in wanted})


@pytest.mark.parametrize("error", error_classes(), ids=lambda error: error.__name__)
def test_an_error_comes_whole_through_pickle_and_copy(error: type[errors.TodoSchemaError]):
    original = made(error)
    for twin in (pickle.loads(pickle.dumps(original)), copy.copy(original), copy.deepcopy(original)):
        assert type(twin) is error
        assert str(twin) == str(original)
        assert vars(twin) == vars(original)


@pytest.mark.parametrize("error", error_classes(), ids=lambda error: error.__name__)
def test_an_error_says_found_needed_cure_in_that_order(error: type[errors.TodoSchemaError]):
    assert str(made(error)) == "found: a\nneeded: b\ncure: c"
    assert isinstance(made(error), todo_schema.TodoSchemaError)


def test_the_package_declares_that_it_is_typed():
    assert (SOURCE / "todo_schema" / "py.typed").is_file()


def test_the_package_knows_its_version():
    assert re.fullmatch(r"\d+\.\d+\.\d+(?:\.dev\d+)?", todo_schema.__version__)
