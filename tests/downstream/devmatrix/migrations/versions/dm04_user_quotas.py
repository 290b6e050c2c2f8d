"""quotas.

Revision ID: dm04
Revises: dm03

"""

import sqlalchemy as sa
from alembic import op

revision = "dm04"
down_revision = "dm03"


def upgrade() -> None:
    op.create_table(
        "user_quotas",
        sa.Column("quota_id", sa.Uuid(), primary_key=True),
        sa.Column("user_id", sa.Uuid(), sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
        sa.Column("llm_tokens_monthly_limit", sa.Integer(), nullable=True),
        sa.Column("masterplans_limit", sa.Integer(), nullable=True),
        sa.Column("storage_bytes_limit", sa.BigInteger(), nullable=True),
        sa.Column("api_calls_per_minute", sa.Integer(), server_default=sa.text("30"), nullable=False),
        sa.UniqueConstraint("user_id", name="uq_user_quotas_user_id"),
    )
    op.create_index("ix_user_quotas_user_id", "user_quotas", ["user_id"])
    op.execute(
        "INSERT INTO user_quotas (quota_id, user_id, masterplans_limit)"
        " SELECT gen_random_uuid(), id, 3 FROM users"
    )


def downgrade() -> None:
    op.drop_table("user_quotas")
