"""`updated_at` is the database's to keep, whoever writes.

Gain: psql, another service and a bulk update move it too, not the ORM alone. A writer that sets it pays nothing.
Locks: SHARE ROW EXCLUSIVE on users, conversations and tasks, one after the other, for a moment each; nothing is read or
    written anew. Nobody waits for more than 125 ms in a first try.
Older packages: go on setting it themselves.
Going back: loses nothing; rows keep the time that they have.
"""

from alembic.operations import Operations

from todo_schema import operations

revision = "010"
down_revision = "009"

TABLES = ("users", "conversations", "tasks")

# The clock and not the transaction's time: who waited for the lock of the row must not set it back. What the backfill
# of a later revision writes is no change of a user's.
TOUCH = """RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('todo_schema.backfill', true) = 'on' THEN
        RETURN NEW;
    END IF;
    NEW.updated_at := clock_timestamp();
    RETURN NEW;
END
$$"""


def upgrade(op: Operations) -> None:
    """Add a trigger to each table."""
    operations.replace_function(op, "todo_schema_touch()", TOUCH)
    for table in TABLES:
        operations.replace_trigger(
            op,
            f"tg_{table}_updated_at",
            table,
            "BEFORE UPDATE FOR EACH ROW WHEN (NEW.updated_at IS NOT DISTINCT FROM OLD.updated_at)"
            " EXECUTE FUNCTION todo_schema_touch()",
        )


def downgrade(op: Operations) -> None:
    """Drop them."""
    for table in TABLES:
        operations.drop_trigger(op, f"tg_{table}_updated_at", table)
    operations.drop_function(op, "todo_schema_touch()")
