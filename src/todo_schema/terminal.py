"""How a command answers: for a person, for a program (`--json`), and by its exit code."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TaskProgressColumn, TextColumn
from rich.progress import Progress as Bars

from todo_schema import Progress, TodoSchemaError
from todo_schema.exits import code_of
from todo_schema.reports import error_facts


@contextmanager
def answering(as_json: bool) -> Iterator[None]:
    """Turn an error into its text, or its JSON, and its exit code."""
    try:
        yield
    except TodoSchemaError as error:
        if as_json:
            typer.echo(json.dumps(error_facts(error)))
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
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TaskProgressColumn(),
        TextColumn("{task.fields[left]}"),
    )
    with Bars(*columns, console=console, transient=True) as bars:
        bar = bars.add_task("connecting", total=None, left="")

        def tell(progress: Progress) -> None:
            if progress.event in ("applied", "left", "failed"):
                console.print(_line(progress), markup=False)
            bars.update(
                bar,
                description=progress.text.replace("[", r"\["),
                total=progress.total,
                completed=progress.done or 0,
                left="" if progress.seconds_left is None else f"{progress.seconds_left:.0f} s left",
                refresh=True,
            )

        yield tell


def _line(progress: Progress) -> str:
    return f"done {progress}" if progress.event == "applied" else progress.text


def show(report: Any, as_json: bool) -> None:
    """Print a report."""
    typer.echo(json.dumps(report.as_dict()) if as_json else report)


def indented(text: str, prefix: str = "    ") -> str:
    """Return the text with a prefix before each line."""
    return "\n".join(f"{prefix}{line}" for line in text.splitlines())
