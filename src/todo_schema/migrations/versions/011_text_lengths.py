"""Texts have a greatest length.

Gain: one title, address or message cannot be so large that every client which lists it suffers.
Locks: ACCESS EXCLUSIVE on users, messages and tasks for a moment each; then SHARE UPDATE EXCLUSIVE while the rows that
    are there are compared: others read and write. Nobody waits for more than 125 ms in a first try.
Older packages: are refused what is longer: `ck_users_email_length` (320 characters, RFC 3696), `ck_tasks_title_length`
    (1,024), `ck_tasks_description_length` (16,384), `ck_messages_content_length` (10,485,760).
Going back: loses nothing.
"""

from collections.abc import Iterable

import sqlalchemy as sa
from alembic.operations import Operations

from todo_schema import operations

revision = "011"
down_revision = "010"
deferred = "A text may be as long as a client likes, up to 1 GB."

LENGTHS = (
    ("users", "email", 320),
    ("tasks", "title", 1024),
    ("tasks", "description", 16384),
    ("messages", "content", 10485760),
)


def preflight(connection: sa.Connection) -> Iterable[operations.Violation]:
    """Find the texts that are longer."""
    for table, column, length in LENGTHS:
        yield from operations.violation(
            connection,
            f"{column} of {table} longer than {length} characters",
            f"SELECT id, length({column}) FROM {table} WHERE length({column}) > {length}",
        )


def upgrade(op: Operations) -> None:
    """Add the rules."""
    for table, column, length in LENGTHS:
        operations.add_check(op, f"ck_{table}_{column}_length", table, f"length({column}) <= {length}")


def downgrade(op: Operations) -> None:
    """Drop them."""
    for table, column, _ in LENGTHS:
        operations.drop_constraint(op, f"ck_{table}_{column}_length", table)
