"""masterplans.

Revision ID: dm01
Revises:

"""

import sqlalchemy as sa
from alembic import op

revision = "dm01"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "masterplans",
        sa.Column("masterplan_id", sa.Uuid(), primary_key=True),
        sa.Column("user_id", sa.String(length=100), nullable=False),
        sa.Column("name", sa.String(length=300), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
    )
    op.create_index("ix_masterplans_user_id", "masterplans", ["user_id"])


def downgrade() -> None:
    op.drop_table("masterplans")
