"""full name, role as an enum, no more login_attempts.

Revision ID: b82e6c4410fe
Revises: 7d1f0a93c2b4
Create Date: 2026-02-03 14:15:40.012911

"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "b82e6c4410fe"
down_revision = "7d1f0a93c2b4"
branch_labels = None
depends_on = None

ROLE = postgresql.ENUM("therapist", "patient", "admin", name="account_role")


def upgrade() -> None:
    op.add_column("accounts", sa.Column("full_name", sa.String(length=255), nullable=True))
    op.execute(
        "UPDATE accounts SET full_name = coalesce(accounts.name, left(users.email, 255))"
        " FROM users WHERE users.id = accounts.user_id"
    )
    op.alter_column("accounts", "full_name", nullable=False)
    op.add_column(
        "accounts", sa.Column("is_active", sa.Boolean(), server_default=sa.text("true"), nullable=False)
    )
    ROLE.create(op.get_bind())
    op.alter_column("accounts", "role", type_=ROLE, postgresql_using="lower(role)::account_role")
    op.drop_table("login_attempts")


def downgrade() -> None:
    op.create_table(
        "login_attempts",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.alter_column("accounts", "role", type_=sa.String(length=20), postgresql_using="role::text")
    ROLE.drop(op.get_bind())
    op.drop_column("accounts", "is_active")
    op.drop_column("accounts", "full_name")
