"""Runs the code of a page of docs/ in the current folder: `python doc_code.py PAGE`.

From the top of the page, in one namespace and one folder:

- `python` blocks are executed, unless their first line is `# file: PATH`: they are written there, as blocks of any
  other language with such a line are.
- Of `console` blocks the lines that begin with `$ ` are run by bash; a line that ends with a backslash goes on in the
  next one. They have to succeed, or to exit as the line `# exit N` after them says. Each other line has to occur in
  what was printed, whatever its spaces; `…` stands for anything.

The first thing that goes wrong ends it, and says where. It is a program of its own: what a page declares stays out of
the tests' process.
"""

import re
import subprocess
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_FILE = re.compile(r"# file: (\S+)\n")
_LIMIT = 60  # seconds for a command


@dataclass(frozen=True)
class Block:
    """A block of code on a page.

    Attributes:
        line: Where its code begins on the page, from 1.
        language: What is written behind its fence.
        code: The code.

    """

    line: int
    language: str
    code: str

    @property
    def file(self) -> str | None:
        """The file that it is written to."""
        named = _FILE.match(self.code)
        return named[1] if named else None


@dataclass
class Command:
    """A command of a console block, and what the page says that it does."""

    line: int
    text: str
    exit_code: int
    printed: list[str]


class WrongError(Exception):
    """The page says something else than what happens."""


def blocks(text: str) -> Iterator[Block]:
    """Give the blocks of a page that have a language, in order."""
    for found in _BLOCK.finditer(text):
        if found[1]:
            yield Block(text.count("\n", 0, found.start(2)) + 1, found[1], found[2])


def commands(block: Block) -> list[Command]:
    """Give the commands of a console block, in order."""
    found: list[Command] = []
    unfinished = False
    for number, line in enumerate(block.code.splitlines(), start=block.line):
        if unfinished:
            found[-1].text += f"\n{line}"
        elif line.startswith("$ "):
            found.append(Command(number, line.removeprefix("$ "), 0, []))
        elif not found:
            raise WrongError("a console block that does not begin with `$ `")
        elif exited := re.fullmatch(r"# exit (\d+)", line):
            found[-1].exit_code = int(exited[1])
        elif line.strip():
            found[-1].printed.append(line)
        unfinished = line.endswith("\\") and (unfinished or line.startswith("$ "))
    return found


def call(command: Command) -> None:
    """Run a command, and raise WrongError where the page says something else."""
    try:
        done = subprocess.run(
            ["bash", "-c", command.text],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            timeout=_LIMIT,
        )
    except subprocess.TimeoutExpired as late:
        raise WrongError(f"$ {command.text}\nhas not ended; it printed:\n{late.output}") from None
    said = f"$ {command.text}\nprinted:\n{done.stdout}"
    if done.returncode != command.exit_code:
        raise WrongError(f"{said}exited with {done.returncode}, not {command.exit_code}")
    printed = _bare(done.stdout)
    for line in command.printed:
        if not re.search(".*".join(map(re.escape, _bare(line).split("…"))), printed):
            raise WrongError(f"{said}which has not the line:\n{line}")


def _bare(text: str) -> str:
    return "".join(text.split())


def run(block: Block, page: str, namespace: dict[str, Any]) -> None:
    """Do what a block is for."""
    if block.file:
        path = Path(block.file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_FILE.sub("", block.code, count=1), encoding="utf-8")
    elif block.language == "python":
        # At its own lines, so that a traceback shows the page.
        exec(compile("\n" * (block.line - 1) + block.code, page, "exec"), namespace)
    elif block.language == "console":
        for command in commands(block):
            try:
                call(command)
            except WrongError as wrong:
                raise WrongError(f"line {command.line}: {wrong}") from None


def main(page: str) -> int:
    """Run a page; 1 where it is wrong."""
    sys.path.insert(0, str(Path.cwd()))
    namespace = {"__name__": "__page__"}
    for block in blocks(Path(page).read_text(encoding="utf-8")):
        try:
            run(block, page, namespace)
        except BaseException as error:
            where = f"{Path(page).name}, {block.language} block at line {block.line}"
            if isinstance(error, WrongError):
                print(f"{where}: {error}", flush=True)
            else:
                print(f"{where}:\n{traceback.format_exc()}\n{block.code}", flush=True)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
