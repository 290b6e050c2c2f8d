"""Revisions that use `todo_schema.operations`: as files, and as what a test says at the moment of the call."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.forker import Forker, forker
from tests.support.packages import throwaway_package
from tests.support.revisions import NEXT, NEXT_VERSION
from tests.support.ways import Call, psycopg
from todo_schema import catalog
from todo_schema.compatibility import HEAD
from todo_schema.connections import blocking

AFTER = f"{NEXT_VERSION + 1:03d}"

_FILE = '''\
"""{summary}.

Gain: {summary}.
Locks: what the operations say.
Older packages: do not see it.
Going back: undoes it.
"""

import sqlalchemy as sa
from alembic.operations import Operations

from todo_schema import operations

revision = "{revision}"
down_revision = "{down_revision}"
{constants}

def upgrade(op: Operations) -> None:
    """Do it."""
{up}


def downgrade(op: Operations) -> None:
    """Undo it."""
{down}
'''


def revision_file(
    revision: str, down_revision: str, up: str = "pass", down: str = "pass", **constants: object
) -> dict[str, str]:
    """The text of a revision file, by its name.

    Args:
        revision: The revision, and the one below it.
        down_revision: See there.
        up: The body of `upgrade(op)`, not indented.
        down: The body of `downgrade(op)`.
        constants: What else the file says, `deferred="slow reads"`.

    """
    text = _FILE.format(
        summary=f"Revision {revision} of a test",
        revision=revision,
        down_revision=down_revision,
        constants="".join(f"{name} = {value!r}\n" for name, value in constants.items()),
        up=_indented(up),
        down=_indented(down),
    )
    return {f"{revision}_of_a_test.py": text}


def _indented(body: str) -> str:
    return "\n".join(f"    {line}" if line else "" for line in body.strip("\n").split("\n"))


_PROGRAM = """
import asyncio, json

import sqlalchemy as sa
import todo_schema
from todo_schema import TodoSchemaError, operations, parts, revisions

revisions.scripts()

def body(text):
    code = compile(text, "<revision>", "exec")
    return lambda op: exec(code, {"op": op, "operations": operations, "sa": sa})

def boot(asked):
    driver, name, args, options, bodies = json.loads(asked)
    for revision, (up, down, constants) in bodies.items():
        module = revisions.scripts().get_revision(revision).module
        vars(module).update(constants, upgrade=body(up), downgrade=body(down))
    if "progress" in options:
        told = open(options["progress"], "a", buffering=1)
        options["progress"] = lambda progress: print(json.dumps(progress.facts()), file=told)
    try:
        if name == "messages":
            revision, home, downward = args
            due = revisions.parts(revision, downward=downward)
            return {"answer": [message for part in due for message in parts.messages_of(part, home)]}
        if driver == "psycopg":
            answer = getattr(todo_schema, name)(*args, **options)
        else:
            answer = asyncio.run(getattr(todo_schema, name + "_async")(*args, **options))
    except TodoSchemaError as error:
        facts = {name: getattr(error, name) for name in ("found", "needed", "cure")}
        return {"error": type(error).__name__, **facts, "text": str(error), "cause": str(error.__cause__)}
    return {"answer": answer.as_dict()}
"""

Body = tuple[str, str] | tuple[str, str, dict[str, object]]


class Scripted:
    """A package two revisions ahead, `NEXT` and `AFTER`, which do what each call says; see `scripted`."""

    def __init__(self, replicas: Forker) -> None:
        """Take a forker of the package."""
        self._replicas = replicas

    def start(self, name: str, *args: object, call: Call = psycopg, **options: Any) -> None:
        """Start a process that calls a function; `outcome` waits for it. For the arguments see `__call__`."""
        later = options.pop("later", ("pass", "pass"))
        bodies = {NEXT: options.pop("body", ("pass", "pass")), AFTER: later}
        whole = {revision: (*body, *(() if len(body) > 2 else ({},))) for revision, body in bodies.items()}
        driver = call.__name__  # type: ignore[attr-defined]
        self._replicas.start(json.dumps([driver, name, args, options, whole]))

    def outcome(self) -> Any:
        """What the function said: its answer, or of a refusal `error`, `found`, `needed`, `cure`, `text`, `cause`."""
        (outcome,) = self._replicas.outcomes()
        assert outcome["ok"], outcome["error"]
        return outcome["result"].get("answer", outcome["result"])

    def __call__(self, name: str, *args: object, call: Call = psycopg, **options: Any) -> Any:
        """Call a function of the package in a process of its own, and return what `outcome` returns.

        Args:
            name: The function, `upgrade`; or `messages`: what psql would have to send for a revision, with its name,
                the schema and a dot, and whether it is undone.
            args: Its arguments.
            call: The driver.
            options: Its options, and `body` and `later`: what `NEXT` and `AFTER` do, up and down, and what else their
                files say. They do nothing unless told. `progress` is the path of a file that is to tell it, a line
                of JSON each.

        """
        self.start(name, *args, call=call, **options)
        return self.outcome()

    def upgrade(self, url: str, up: str, **options: Any) -> Any:
        """Upgrade a database with what the body `up` does."""
        return self("upgrade", url, body=(up, "pass"), **options)


@contextmanager
def scripted(folder: Path) -> Iterator[Scripted]:
    """Give a package in an empty folder whose next two revisions do what each call says."""
    files = revision_file(NEXT, HEAD) | revision_file(AFTER, NEXT)
    with forker(_PROGRAM, pythonpath=throwaway_package(folder, files)) as replicas:
        yield Scripted(replicas)


def facts(url: str, schema: str = "public") -> catalog.Catalog:
    """The catalogue of our tables."""
    with blocking(url).wire() as wire:
        return catalog.read_alone(wire, schema)
