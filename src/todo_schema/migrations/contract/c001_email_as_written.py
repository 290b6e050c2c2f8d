"""The index on addresses as they are written goes.

Gain: a new user writes one index less; `ix_users_email_lower` keeps addresses unique, and finds them.
Locks: SHARE UPDATE EXCLUSIVE on users while the index is dropped: others read and write. Nobody waits for more than 25
    ms in a first try.
Older packages: those of schema 8 and below look users up by `email = ...` and would read the whole table; they are
    refused by name while they are connected, and afterwards.
Going back: loses nothing; the index is built anew.
"""

from collections.abc import Iterable

import sqlalchemy as sa
from alembic.operations import Operations

from todo_schema import operations

revision = "c001"
down_revision = None
branch_labels = "contract"
requires = 9
floor = 9


def preflight(connection: sa.Connection) -> Iterable[operations.Violation]:
    """Find what needs the index: a foreign key of somebody's to an address, or a replication."""
    yield from operations.violation(
        connection,
        "a foreign key to users (email)",
        "SELECT conrelid::regclass, conname FROM pg_constraint"
        " WHERE contype = 'f' AND conindid = to_regclass('ix_users_email')",
    )
    yield from operations.violation(
        connection,
        "the replica identity of users",
        "SELECT indexrelid::regclass FROM pg_index WHERE indexrelid = to_regclass('ix_users_email') AND indisreplident",
    )


def upgrade(op: Operations) -> None:
    """Drop the index."""
    operations.drop_index(op, "ix_users_email", "users")


def downgrade(op: Operations) -> None:
    """Build it."""
    operations.create_index(op, "ix_users_email", "users", ["email"], unique=True)
