"""The database keeps when a task was done.

Gain: `completed_at`, set as `completed` becomes true and null again as it becomes false, whoever writes. Of tasks that
    were done before nobody knows when: it stays null.
Locks: ACCESS EXCLUSIVE on tasks for a moment; nothing is read or written anew. Nobody waits for more than 125 ms in a
    first try.
Older packages: do not notice; the times of what they complete are kept too.
Going back: loses every such time.
"""

import sqlalchemy as sa
from alembic.operations import Operations

from todo_schema import operations

revision = "016"
down_revision = "015"

COMPLETE = """RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT NEW.completed THEN
        NEW.completed_at := NULL;
    ELSIF TG_OP = 'INSERT' OR NOT OLD.completed THEN
        NEW.completed_at := coalesce(NEW.completed_at, clock_timestamp());
    END IF;
    RETURN NEW;
END
$$"""


def upgrade(op: Operations) -> None:
    """Add the column, and what keeps it."""
    operations.add_column(
        op,
        "tasks",
        sa.Column(
            "completed_at",
            sa.DateTime(timezone=True),
            comment="When it was done, kept by the database; null where it is not, or nobody knows.",
        ),
    )
    operations.replace_function(op, "todo_schema_complete()", COMPLETE)
    operations.replace_trigger(
        op,
        "tg_tasks_completed_at_new",
        "tasks",
        "BEFORE INSERT FOR EACH ROW WHEN (NEW.completed OR NEW.completed_at IS NOT NULL)"
        " EXECUTE FUNCTION todo_schema_complete()",
    )
    operations.replace_trigger(
        op,
        "tg_tasks_completed_at",
        "tasks",
        "BEFORE UPDATE FOR EACH ROW WHEN (NEW.completed IS DISTINCT FROM OLD.completed"
        " OR NEW.completed_at IS DISTINCT FROM OLD.completed_at) EXECUTE FUNCTION todo_schema_complete()",
    )


def downgrade(op: Operations) -> None:
    """Drop them."""
    operations.drop_trigger(op, "tg_tasks_completed_at", "tasks")
    operations.drop_trigger(op, "tg_tasks_completed_at_new", "tasks")
    operations.drop_function(op, "todo_schema_complete()")
    operations.drop_column(op, "tasks", "completed_at")
