"""Run as a program by `fork_race`: import everything once, fork, and print a JSON line for each process."""

import asyncio
import importlib
import inspect
import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

_NEEDED_SOONER_OR_LATER = (
    "alembic.migration",
    "alembic.operations",
    "alembic.script",
    "asyncpg",
    "psycopg",
    "sqlalchemy.dialects.postgresql.asyncpg",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.ext.asyncio",
    "sqlmodel",
)


def main(n: int, snippet: str, url: str) -> None:
    """Fork n processes that call boot(url), and print what became of each."""
    import_everything()
    namespace: dict[str, Any] = {}
    exec(compile(snippet, "<snippet>", "exec"), namespace)
    racers = [fork(namespace["boot"], url) for _ in range(n)]
    for racer in racers:
        print(json.dumps(outcome(*racer)))


def import_everything() -> None:
    """Import what an upgrade needs, so that the forked processes need not."""
    import todo_schema

    for name in todo_schema.__all__:
        # A name may need an extra that is not installed.
        with suppress(ImportError):
            getattr(todo_schema, name)
    import_libraries()


def import_libraries() -> None:
    """Import what the package imports, and nothing of the package."""
    for name in _NEEDED_SOONER_OR_LATER:
        importlib.import_module(name)


def outcome(pid: int, answer: int) -> dict[str, Any]:
    """Wait for a forked process, and tell what became of it."""
    with os.fdopen(answer) as pipe:
        line = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    lost = {"ok": False, "error": f"ended with {status} and said nothing", "kind": None, "result": None}
    return {"pid": pid} | (json.loads(line) if line else lost)


def fork(boot: Callable[[str], object], url: str) -> tuple[int, int]:
    """Fork a process that calls boot(url); return its id, and what to read its answer from."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        return pid, reading
    # What a racer prints must not stand among the lines of the parent.
    os.dup2(2, 1)
    try:
        with os.fdopen(writing, "w") as pipe:
            pipe.write(json.dumps(_run(boot, url), default=str))
    finally:
        # Nothing of what the parent does at its end is the child's to do.
        os._exit(0)


def _run(boot: Callable[[str], object], url: str) -> dict[str, object]:
    try:
        result = boot(url)
        if inspect.iscoroutine(result):
            result = asyncio.run(result)
    except BaseException as error:
        name = type(error).__name__
        return {"ok": False, "error": f"{name}: {error}", "kind": name, "result": None}
    return {"ok": True, "error": None, "kind": None, "result": result}


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
