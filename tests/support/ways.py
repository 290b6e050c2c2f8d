"""The public functions in both their forms, blocking on psycopg and in an event loop on asyncpg."""

import asyncio
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from types import FrameType
from typing import Any, Protocol
from uuid import uuid4

import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

import todo_schema
from tests.support.processes import run_python
from tests.support.servers import Server


class Call(Protocol):
    """Calls the public function of a name: `call("upgrade", url, schema="todo")`."""

    def __call__(self, name: str, *args: Any, **options: Any) -> Any:
        """Return what the function returns."""


def psycopg(name: str, *args: Any, **options: Any) -> Any:
    """Call the blocking function."""
    return getattr(todo_schema, name)(*args, **options)


def asyncpg(name: str, *args: Any, **options: Any) -> Any:
    """Call its asynchronous twin in an event loop of its own."""
    return asyncio.run(getattr(todo_schema, f"{name}_async")(*args, **options))


_PROGRAM = """
import asyncio, json, sys, todo_schema

name, driver, url = sys.argv[1:]
try:
    if driver == "psycopg":
        result = getattr(todo_schema, name)(url)
    else:
        result = asyncio.run(getattr(todo_schema, name + "_async")(url))
    answer = {"kind": None, "text": str(result)}
except todo_schema.TodoSchemaError as error:
    facts = {"found": error.found, "needed": error.needed, "cure": error.cure}
    answer = {"kind": type(error).__name__, "text": str(error), **facts}
print(json.dumps({**answer, "alembic": "alembic" in sys.modules}))
"""


def in_process(call: Call, name: str, url: str, package: Path | None = None) -> dict[str, Any]:
    """Do what `call(name, url)` does in a process of its own, which may have another version of the package.

    Returns:
        `text` of the result or error, `kind` (None, or the error's class), its `found`, `needed` and `cure`, and
        whether `alembic` was imported.

    """
    driver = call.__name__  # type: ignore[attr-defined]
    done = run_python(_PROGRAM, name, driver, url, pythonpath=package)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


both_drivers = pytest.mark.parametrize("call", [psycopg, asyncpg], ids=lambda call: call.__name__)


def drivers_by_turns(arguments: str, values: Iterable[Any]) -> pytest.MarkDecorator:
    """Give each value with one of the two drivers, where what the values differ in is not what the drivers do.

    `arguments` and `values` are those of `pytest.mark.parametrize`.
    """
    names = arguments.split(", ")
    calls = zip(values, cycle([psycopg, asyncpg]), strict=False)
    return pytest.mark.parametrize(
        (*names, "call"),
        [(*(value if len(names) > 1 else (value,)), call) for value, call in calls],
        ids=lambda value: getattr(value, "__name__", None),
    )


@contextmanager
def role(server: Server, database: str, options: str = "") -> Iterator[str]:
    """The url of `database` for a new role without any right; its `options` are those of CREATE ROLE."""
    name = f"role_{uuid4().hex[:12]}"
    identifier = sql.Identifier(name).as_string()
    server.execute(f"CREATE ROLE {identifier} LOGIN PASSWORD 'secret' {options}")
    try:
        yield server.url(database, name, "secret")
    finally:
        server.execute(f"DROP OWNED BY {identifier} CASCADE", database)
        server.execute(f"DROP ROLE {identifier}")


def role_of(url: str) -> str:
    """The role of a url that `role` gave."""
    return str(conninfo_to_dict(url)["user"])


def frames_of(error: BaseException | None) -> Iterator[FrameType]:
    """Every frame in the tracebacks of an exception and of those chained to it."""
    if error is not None:
        yield from frames_of(error.__cause__)
        yield from frames_of(error.__context__)
        traceback = error.__traceback__
        while traceback:
            yield traceback.tb_frame
            traceback = traceback.tb_next


def assert_secret(error: BaseException, password: str) -> None:
    """Assert that no text and no frame of ours in an exception, or in those chained to it, has a password."""
    chain: BaseException | None = error
    texts = []
    while chain is not None:
        texts += [str(chain), repr(chain), repr(chain.args), repr(vars(chain))]
        chain = chain.__cause__ or chain.__context__
    assert not [text for text in texts if password in text]
    for frame in frames_of(error):
        if "/todo_schema/" in frame.f_code.co_filename:
            assert password not in repr(frame.f_locals), frame
            held = [value for value in frame.f_locals.values() if isinstance(value, str)]
            assert not [value for value in held if password in value], frame
