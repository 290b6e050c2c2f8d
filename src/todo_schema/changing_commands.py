"""The commands that change a database, or what it records."""

from typing import Annotated, Literal

import typer

import todo_schema
from todo_schema.exits import Exit, worst
from todo_schema.installations import installations_named
from todo_schema.options import (
    AllowUnseen,
    Concurrency,
    DeferredOnly,
    Json,
    Pooler,
    Retry,
    Schema,
    Schemas,
    SkipDeferred,
    Timeout,
    Url,
    Urls,
    UrlsFile,
)
from todo_schema.terminal import answering, show, showing_progress


def upgrade(
    url: Urls = None,
    urls_file: UrlsFile = None,
    skip_deferred: SkipDeferred = False,
    deferred_only: DeferredOnly = False,
    schema: Schemas = None,
    concurrency: Concurrency = 8,
    timeout: Timeout = 300.0,
    connect_retry: Retry = 0.0,
    pooler: Pooler = None,
    as_json: Json = False,
) -> None:
    """Bring databases to this package's schema. Safe from any number of processes at once.

    Example: [bold]todo-schema upgrade --skip-deferred && todo-schema upgrade --deferred-only[/bold]

    Several, each with its outcome: [bold]todo-schema upgrade --urls-file tenants.txt --concurrency 16[/bold]
    """
    if skip_deferred and deferred_only:
        raise typer.BadParameter("--skip-deferred and --deferred-only exclude each other")
    installations = installations_named(url or [], urls_file, schema or [])
    deferred: Literal["only", "skip", "run"] = "only" if deferred_only else "skip" if skip_deferred else "run"
    alone = installations[0] if len(installations) == 1 and urls_file is None else None
    with answering(as_json), showing_progress(as_json) as progress:
        if alone is not None:
            report = todo_schema.upgrade(
                alone.url,
                deferred=deferred,
                schema=alone.schema,
                timeout=timeout,
                connect_retry=connect_retry,
                pooler=pooler,
                progress=progress,
            )
        else:
            fleet = todo_schema.upgrade_many(
                installations,
                concurrency=concurrency,
                deferred=deferred,
                timeout=timeout,
                connect_retry=connect_retry,
                pooler=pooler,
                progress=progress,
            )
    if alone is not None:
        show(report, as_json)
        return
    show(fleet, as_json)
    if code := worst(outcome.error for outcome in fleet.failed):
        raise typer.Exit(code)


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


def adopt(
    url: Url,
    apply: Annotated[
        bool, typer.Option("--apply", help="Make the changes, instead of saying which.")
    ] = False,
    widen_keys: Annotated[
        bool,
        typer.Option("--widen-keys", help="Make integer keys bigint too, which rewrites their table."),
    ] = False,
    schema: Schema = None,
    timeout: Timeout = 300.0,
    pooler: Pooler = None,
    as_json: Json = False,
) -> None:
    """Recognise tables that were made without this package, and say what would make them ours. Exits 10 for rows.

    Example: [bold]todo-schema adopt && todo-schema adopt --apply && todo-schema upgrade[/bold]
    """
    with answering(as_json), showing_progress(as_json) as progress:
        adoption = todo_schema.adopt(
            url,
            apply=apply,
            widen_keys=widen_keys,
            schema=schema,
            timeout=timeout,
            pooler=pooler,
            progress=progress,
        )
    show(adoption, as_json)
    if adoption.violations:
        raise typer.Exit(Exit.PREFLIGHT)


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
