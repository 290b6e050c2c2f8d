"""A package asked in processes of their own: what it answers or refuses, logs, and tells its listener."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from tests.support.forker import Forker, forker
from tests.support.ways import Call, psycopg

_PROGRAM = """
import asyncio, json, logging, pickle

from sqlmodel import select
import todo_schema
from todo_schema import TodoSchemaError, revisions

revisions.in_order()
told, logged = [], []

class Kept(logging.Handler):
    def emit(self, record):
        logged.append(f"{record.levelname} {record.getMessage()}")

async def read_tasks_async(url):
    async with todo_schema.session_factory(url) as sessions, sessions() as session:
        return len((await session.exec(select(todo_schema.Task))).all())

def call(driver, name, args, options):
    if name in ("upgrade", "contract", "downgrade"):
        options["progress"] = lambda progress: told.append(f"{progress.event} {progress}")
    if name == "read_tasks":
        return asyncio.run(read_tasks_async(*args))
    if driver == "psycopg":
        return getattr(todo_schema, name)(*args, **options)
    return asyncio.run(getattr(todo_schema, name + "_async")(*args, **options))

def plain(answer):
    if isinstance(answer, tuple):
        return [plain(one) for one in answer]
    return {**answer.as_dict(), "text": str(answer)} if hasattr(answer, "as_dict") else answer

def boot(asked):
    logging.getLogger("todo_schema").setLevel("INFO")
    logging.getLogger("todo_schema").addHandler(Kept())
    said = {"answer": None, "error": None, "told": told, "log": logged}
    try:
        return said | {"answer": plain(call(*json.loads(asked)))}
    except (TodoSchemaError, ValueError) as error:
        again = pickle.loads(pickle.dumps(error))
        facts = {name: getattr(error, name, "") for name in ("found", "needed", "cure")}
        facts["violations"] = [vars(violation) for violation in getattr(error, "violations", ())]
        facts["pickled"] = str(again) == str(error) and vars(again) == vars(error)
        return said | {"error": type(error).__name__, "text": str(error), "facts": facts}
"""


class Said(NamedTuple):
    """What became of a call: its answer, or the name of the exception's class, its text and its facts."""

    answer: Any
    error: str | None
    told: list[str]
    log: list[str]
    text: str = ""
    facts: Mapping[str, Any] = MappingProxyType({})

    @property
    def applied(self) -> list[str]:
        """The revisions that a report lists as carried out."""
        return [step["revision"] for step in self.answer["applied"]]

    @property
    def left(self) -> list[str]:
        """The revisions that a report lists as left for later."""
        return [revision["revision"] for revision in self.answer["deferred"]]

    @property
    def warnings(self) -> list[str]:
        """What it logged that somebody should see."""
        return [line for line in self.log if not line.startswith("INFO ")]


class Package:
    """A package in a folder, each call in a process of its own; see `package`."""

    def __init__(self, replicas: Forker) -> None:
        """Take a forker of the package."""
        self._replicas = replicas
        self._unheard = False

    def start(self, name: str, *args: object, call: Call = psycopg, n: int = 1, **options: Any) -> list[int]:
        """Start n processes that call a public function, or `read_tasks`; `outcomes` waits for them."""
        if self._unheard:
            self.outcomes()  # of a test that failed before it
        self._unheard = True
        driver = call.__name__  # type: ignore[attr-defined]
        return self._replicas.start(json.dumps([driver, name, args, options]), n)

    def outcomes(self) -> list[Said]:
        """Wait for all that were started, and return what each said; of one that was killed, how it ended."""
        self._unheard = False
        return [
            Said(**outcome["result"]) if outcome["ok"] else Said(None, outcome["error"], [], [])
            for outcome in self._replicas.outcomes()
        ]

    def __call__(self, name: str, *args: object, call: Call = psycopg, **options: Any) -> Said:
        """Call a function, which has to succeed."""
        said = self.ask(name, *args, call=call, **options)
        assert said.error is None, said
        return said

    def ask(self, name: str, *args: object, call: Call = psycopg, **options: Any) -> Said:
        """Call a function, and return what became of it."""
        self.start(name, *args, call=call, **options)
        (said,) = self.outcomes()
        return said


@contextmanager
def package(folder: Path) -> Iterator[Package]:
    """Give the package in a folder."""
    with forker(_PROGRAM, pythonpath=folder) as replicas:
        yield Package(replicas)
