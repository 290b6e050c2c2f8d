"""Users may talk: who of todo_schema's users is the same person.

Revision ID: 9e84d5512c0f
Revises: 3c1f0a7be2d4
Create Date: 2026-08-19 16:40:03.871920

"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from todo_schema import require_version

revision: str = "9e84d5512c0f"
down_revision: str | Sequence[str] | None = "3c1f0a7be2d4"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Upgrade schema."""
    require_version(op.get_bind(), 9, schema="todo")
    op.create_table(
        "chat_profiles",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("chat_user_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["chat_user_id"],
            ["todo.users.id"],
            name=op.f("fk_chat_profiles_chat_user_id_users"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_chat_profiles_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_chat_profiles")),
    )
    op.create_index(op.f("ix_chat_profiles_chat_user_id"), "chat_profiles", ["chat_user_id"], unique=True)
    # Who is here already can talk too: by the same address.
    op.execute("INSERT INTO todo.users (email) SELECT email FROM users ON CONFLICT DO NOTHING")
    op.execute(
        "INSERT INTO chat_profiles (user_id, chat_user_id) SELECT own.id, chat.id"
        " FROM users own JOIN todo.users chat ON lower(chat.email) = lower(own.email)"
    )


def downgrade() -> None:
    """Downgrade schema."""
    op.drop_table("chat_profiles")
