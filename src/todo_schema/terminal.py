"""How a command answers: for a person, for a program (`--json`), and by its exit code."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console

from todo_schema import Progress, TodoSchemaError
from todo_schema.exits import code_of


@contextmanager
def answering(as_json: bool) -> Iterator[None]:
    """Turn an error into its text, or its JSON, and its exit code."""
    try:
        yield
    except TodoSchemaError as error:
        if as_json:
            facts: dict[str, Any] = {"error": type(error).__name__, "found": error.found}
            facts |= {"needed": error.needed, "cure": error.cure}
            facts["differences"] = getattr(error, "differences", ())
            facts["clients"] = [client.as_dict() for client in getattr(error, "clients", ())]
            typer.echo(json.dumps(facts))
        else:
            Console(stderr=True, highlight=False, soft_wrap=True).print(str(error), markup=False, style="red")
        raise typer.Exit(code_of(error)) from None


@contextmanager
def showing_progress(as_json: bool) -> Iterator[Any]:
    """Give a callback that shows what is happening: moving on a terminal, a line each elsewhere."""
    if as_json:
        yield None
        return
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield lambda progress: typer.echo(_line(progress), err=True)
        return
    with console.status("connecting") as spinner:

        def tell(progress: Progress) -> None:
            if progress.event == "applied":
                console.print(_line(progress), markup=False)
            spinner.update(progress.text.replace("[", r"\["))

        yield tell


def _line(progress: Progress) -> str:
    return f"done {progress}" if progress.event == "applied" else progress.text


def show(report: Any, as_json: bool) -> None:
    """Print a report."""
    typer.echo(json.dumps(report.as_dict()) if as_json else report)


def indented(text: str, prefix: str = "    ") -> str:
    """Return the text with a prefix before each line."""
    return "\n".join(f"{prefix}{line}" for line in text.splitlines())
