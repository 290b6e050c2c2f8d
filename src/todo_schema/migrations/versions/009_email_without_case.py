"""One user for an address, however it is written.

Gain: `Ada@example.com` and `ada@example.com` are one address: nobody gets a second account, and a lookup by
    `lower(email)` reads one row. The index on `email` itself stays for older packages, until c001.
Locks: SHARE UPDATE EXCLUSIVE on users while the index is built: others read and write. Nobody waits for more than 25 ms
    in a first try.
Older packages: are refused a second user whose address differs only by case, by `ix_users_email_lower`.
Going back: loses nothing.
"""

from collections.abc import Iterable

import sqlalchemy as sa
from alembic.operations import Operations

from todo_schema import operations

revision = "009"
down_revision = "008"


def preflight(connection: sa.Connection) -> Iterable[operations.Violation]:
    """Find the users whose addresses differ only by case."""
    return operations.violation(
        connection,
        "the address of another user, but for its case",
        "SELECT id, email FROM (SELECT id, email, count(*) OVER (PARTITION BY lower(email)) AS users FROM users) AS u"
        " WHERE users > 1 ORDER BY lower(email), id",
    )


def upgrade(op: Operations) -> None:
    """Keep addresses unique without regard to case."""
    operations.create_index(op, "ix_users_email_lower", "users", ["lower(email)"], unique=True)


def downgrade(op: Operations) -> None:
    """Keep them unique as they are written."""
    operations.drop_index(op, "ix_users_email_lower", "users")
