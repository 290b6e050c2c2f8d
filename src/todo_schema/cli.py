"""The commands: the public functions, for a terminal and for programs (`--json`). Needs the extra `cli`."""

from typing import Annotated

import typer

import todo_schema
from todo_schema.answering_commands import check, clients, history, plan, sql, status, wait
from todo_schema.changing_commands import adopt, contract, downgrade, stamp, upgrade
from todo_schema.exits import EXPLANATION
from todo_schema.terminal import answering

app = typer.Typer(
    help="Upgrade and inspect the todo_schema of a PostgreSQL database.",
    epilog=EXPLANATION,
    no_args_is_help=True,
    rich_markup_mode="rich",
    # Rich's tracebacks show local variables, and a caller's URL would be among them.
    pretty_exceptions_enable=False,
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"todo-schema {todo_schema.__version__} (schema {todo_schema.SCHEMA_VERSION})")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Stand before every command."""


def demo(
    replicas: Annotated[int, typer.Option(min=1, max=50, help="Processes that boot at once.")] = 6,
) -> None:
    """Show it all on a PostgreSQL of its own. Needs the extra embedded.

    Example: [bold]todo-schema demo --replicas 12[/bold]
    """
    from todo_schema.demo import run  # noqa: PLC0415  # another extra

    with answering(as_json=False):
        run(replicas)


# In the order of the help: as a database goes through them, and then what is rarer.
for command in (
    upgrade,
    status,
    clients,
    wait,
    contract,
    check,
    history,
    plan,
    sql,
    adopt,
    downgrade,
    stamp,
    demo,
):
    app.command(epilog=EXPLANATION)(command)
