"""The commands that only answer, or print a script."""

import json
from typing import Annotated

import typer

import todo_schema
from todo_schema.compatibility import HEAD
from todo_schema.exits import Exit
from todo_schema.options import AllowUnseen, Json, OptionalUrl, Pooler, Retry, Schema, Url
from todo_schema.terminal import answering, indented, show, showing_progress


def status(url: Url, schema: Schema = None, pooler: Pooler = None, as_json: Json = False) -> None:
    """Say how the database stands to this package. Always exits 0 where it could be read.

    Example: [bold]todo-schema status --json | jq .state[/bold]
    """
    with answering(as_json):
        show(todo_schema.status(url, schema=schema, pooler=pooler), as_json)


def clients(url: Url, schema: Schema = None, pooler: Pooler = None, as_json: Json = False) -> None:
    """Say who is connected, at which schema version, and what the next contract step waits for.

    Example: [bold]todo-schema clients[/bold]
    """
    with answering(as_json):
        show(todo_schema.clients(url, schema=schema, pooler=pooler), as_json)


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
