"""usage by month.

Revision ID: dm05
Revises: dm04

"""

import sqlalchemy as sa
from alembic import op

revision = "dm05"
down_revision = "dm04"


def upgrade() -> None:
    op.create_table(
        "user_usage",
        sa.Column("usage_id", sa.Uuid(), primary_key=True),
        sa.Column("user_id", sa.Uuid(), sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
        sa.Column("month", sa.Date(), nullable=False),
        sa.Column("llm_tokens_used", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("llm_cost_usd", sa.Numeric(10, 4), server_default=sa.text("0"), nullable=False),
        sa.Column("masterplans_created", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("storage_bytes", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("api_calls", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.UniqueConstraint("user_id", "month", name="uq_user_usage_user_month"),
    )


def downgrade() -> None:
    op.drop_table("user_usage")
