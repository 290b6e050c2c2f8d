"""discovery documents.

Revision ID: dm02
Revises: dm01

"""

import sqlalchemy as sa
from alembic import op

revision = "dm02"
down_revision = "dm01"


def upgrade() -> None:
    op.create_table(
        "discovery_documents",
        sa.Column("discovery_id", sa.Uuid(), primary_key=True),
        sa.Column("user_id", sa.String(length=100), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
    )
    op.create_index("ix_discovery_documents_user_id", "discovery_documents", ["user_id"])


def downgrade() -> None:
    op.drop_table("discovery_documents")
