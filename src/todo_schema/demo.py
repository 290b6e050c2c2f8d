"""The demonstration: replicas that boot at once on an empty database, then a conversation. Needs `embedded`."""

import asyncio
import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import psycopg
from rich.console import Console
from rich.table import Table
from sqlmodel import select

from todo_schema import Conversation, Message, Task, User, session_factory
from todo_schema.embedded import postgres

# What a service does as it boots, and nothing else; it says when it is ready and waits for the word.
_REPLICA = """
import json, sys, time, todo_schema
print("ready", flush=True)
url = sys.stdin.readline().strip()
start = time.perf_counter()
report = todo_schema.upgrade(url)
print(json.dumps(report.as_dict() | {"milliseconds": (time.perf_counter() - start) * 1000}))
"""


@dataclass(frozen=True)
class _Cost:
    """What the server counted in the demonstration's database: connections opened, and transactions run on them."""

    connections: int
    transactions: int


def run(replicas: int) -> None:
    """Start a PostgreSQL, boot that many replicas at once, boot one more, and use the schema.

    Args:
        replicas: How many processes call `upgrade` on the same empty database at the same moment.

    Raises:
        MissingExtraError: The extra `embedded` is not installed.

    """
    console = Console(highlight=False)
    console.print("Starting a PostgreSQL from a wheel ...")
    with postgres() as admin:
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute("CREATE DATABASE demo")
        url = admin.replace("/postgres?", "/demo?")

        console.print(f"\n{replicas} replicas call [bold]upgrade(url)[/bold] on an empty database at once:\n")
        reports = _boot(url, replicas)
        console.print(_table(reports))
        first = _cost(admin)

        console.print("\nOne more replica boots on the database that is up to date now:\n")
        again = _boot(url, 1)
        console.print(_table(again))
        second = _cost(admin)

        migrating = next(report for report in reports if report["applied"])
        console.print()
        console.print(_costs(replicas, first, migrating, second, again[0]))
        console.print()
        asyncio.run(_converse(console, url))


def _boot(url: str, replicas: int) -> list[dict[str, Any]]:
    processes = [
        subprocess.Popen(  # noqa: S603  # our own interpreter and the text above
            [sys.executable, "-c", _REPLICA], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(replicas)
    ]
    for process in processes:
        assert process.stdout is not None  # noqa: S101  # piped above
        process.stdout.readline()
    for process in processes:
        assert process.stdin is not None  # noqa: S101  # piped above
        process.stdin.write(f"{url}\n")
        process.stdin.flush()
    answers = [process.communicate()[0] for process in processes]
    return [json.loads(answer) for answer in answers]


def _cost(admin: str) -> _Cost:
    with psycopg.connect(admin, autocommit=True) as connection:
        row = connection.execute(
            # The server counts a transaction of its own for each connection that it opens.
            "SELECT sessions, xact_commit + xact_rollback - sessions FROM pg_stat_database WHERE datname = 'demo'"
        ).fetchone()
    assert row is not None  # noqa: S101  # the database was made above
    return _Cost(*row)


def _costs(
    replicas: int, first: _Cost, migrating: dict[str, Any], second: _Cost, again: dict[str, Any]
) -> Table:
    table = Table(
        "cost", "replicas", "connections", "transactions", "upgrade(url), with its imports", box=None
    )
    table.add_row(
        "first boot",
        str(replicas),
        str(first.connections),
        str(first.transactions),
        f"{migrating['milliseconds']:.0f} ms",
    )
    table.add_row(
        "second boot",
        "1",
        str(second.connections - first.connections),
        str(second.transactions - first.transactions),
        f"{again['milliseconds']:.0f} ms",
    )
    return table


def _table(reports: list[dict[str, Any]]) -> Table:
    table = Table("replica", "found", "left", "applied", "waited", box=None, pad_edge=True)
    for number, report in enumerate(reports, start=1):
        applied = ", ".join(step["revision"] for step in report["applied"]) or "-"
        waited = f"{report['waited_seconds'] * 1000:.0f} ms" if report["waited_seconds"] else "-"
        if waited == applied == "-" and report["before"] != "current":
            waited = "came just after"
        table.add_row(str(number), report["before"], report["after"], applied, waited)
    return table


async def _converse(console: Console, url: str) -> None:
    async with session_factory(url) as sessions:
        async with sessions.begin() as session:
            user = User(email="ada@example.com")
            session.add(user)
            await session.flush()  # the row that the next one refers to goes first
            conversation = Conversation(user_id=user.id)
            session.add(conversation)
        async with sessions.begin() as session:
            session.add(_say(conversation, "user", "Remind me to water the plants and to call Grace."))
        async with sessions.begin() as session:
            tasks = [Task(user_id=user.id, title=title) for title in ("Water the plants", "Call Grace")]
            session.add_all(tasks)
            await session.flush()
            numbers = " and ".join(str(task.id) for task in tasks)
            session.add(_say(conversation, "assistant", f"Done: tasks {numbers}."))
        async with sessions() as session:
            console.print("A conversation, written and read through [bold]session_factory(url)[/bold]:\n")
            messages = select(Message).where(
                Message.user_id == user.id, Message.conversation_id == conversation.id
            )
            for message in await session.exec(messages.order_by(Message.created_at)):  # type: ignore[arg-type]
                console.print(f"  {message.role:>9}: {message.content}", markup=False)
            for task in await session.exec(select(Task).where(Task.user_id == user.id).order_by(Task.id)):  # type: ignore[arg-type]
                console.print(
                    f"  [{'x' if task.completed else ' '}] task {task.id}: {task.title}", markup=False
                )


def _say(conversation: Conversation, role: str, content: str) -> Message:
    return Message(conversation_id=conversation.id, user_id=conversation.user_id, role=role, content=content)
