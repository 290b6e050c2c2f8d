"""Notes on tasks."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "notes",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("task_id", sa.BigInteger(), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name="fk_notes_task", ondelete="CASCADE"),
    )
    op.create_index("ix_notes_task", "notes", ["task_id", "id"])


def downgrade() -> None:
    op.drop_table("notes")
