"""The options that several commands have."""

from typing import Annotated

import typer

Url = Annotated[
    str,
    typer.Option(
        envvar="DATABASE_URL",
        show_default=False,
        help="Database URL, postgresql://user:password@host/name. Other users of the machine can read "
        "command lines: the environment variable is the safer place.",
    ),
]
OptionalUrl = Annotated[
    str | None,
    typer.Option(
        envvar="DATABASE_URL", show_default=False, help="Database URL, postgresql://user:password@host/name."
    ),
]
Urls = Annotated[
    list[str] | None,
    typer.Option(
        show_default=False,
        metavar="URL",
        help="Database URL, postgresql://user:password@host/name; again for several. Without any, and without "
        "--urls-file, DATABASE_URL of the environment: the safer place, since other users of the machine can "
        "read command lines.",
    ),
]
UrlsFile = Annotated[
    str | None,
    typer.Option(
        show_default=False,
        metavar="FILE",
        help="File with a database URL a line, and behind it, after a space, its PostgreSQL schema where it has one "
        "of its own; # in front of a line, or behind the URL, begins what says nothing, and - is standard input.",
    ),
]
Schemas = Annotated[
    list[str] | None,
    typer.Option(
        show_default=False,
        metavar="SCHEMA",
        help="PostgreSQL schema of the installation, where it has its own; again for several, in each database.",
    ),
]
Concurrency = Annotated[int, typer.Option(min=1, help="How many of several to upgrade at once.")]
Schema = Annotated[
    str | None,
    typer.Option(show_default=False, help="PostgreSQL schema of the installation, where it has its own."),
]
Pooler = Annotated[
    bool | None,
    typer.Option(
        show_default=False,
        help="Whether PgBouncer in transaction mode is in between; known hosts need no telling.",
    ),
]
Timeout = Annotated[float, typer.Option(help="Seconds to wait for other processes and for locks.")]
Retry = Annotated[float, typer.Option(help="Seconds to try again while the server cannot be reached.")]
AllowUnseen = Annotated[
    bool,
    typer.Option(
        "--allow-unseen", help="Go on although clients of a pooler, which hold no lease, are not seen."
    ),
]
SkipDeferred = Annotated[
    bool,
    typer.Option(
        "--skip-deferred", help="Leave for later what the package only gains from, as large indexes."
    ),
]
DeferredOnly = Annotated[
    bool, typer.Option("--deferred-only", help="Finish what was left for later, and do nothing else.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object, for programs.")]
