"""email verification and password reset, beside the shared users.

Revision ID: dm03
Revises: dm02

"""

import sqlalchemy as sa
from alembic import op

from todo_schema import require_version

revision = "dm03"
down_revision = "dm02"


def upgrade() -> None:
    require_version(op.get_bind(), 9)  # users are found by an address in any letters
    op.create_table(
        "user_verifications",
        sa.Column("user_id", sa.Uuid(), sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("is_verified", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("verification_token", sa.Uuid(), nullable=True),
        sa.Column("verification_token_created_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("password_reset_token", sa.Uuid(), nullable=True),
        sa.Column("password_reset_expires", sa.DateTime(timezone=True), nullable=True),
    )
    op.create_index("idx_verification_token", "user_verifications", ["verification_token"])
    op.create_index("idx_password_reset_token", "user_verifications", ["password_reset_token"])


def downgrade() -> None:
    op.drop_table("user_verifications")
