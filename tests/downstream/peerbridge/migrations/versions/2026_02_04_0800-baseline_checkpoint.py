"""baseline checkpoint: the schema as it went to production.

Revision ID: e5a7d90b3c16
Revises: b82e6c4410fe
Create Date: 2026-02-04 08:00:03.550071

"""

revision = "e5a7d90b3c16"
down_revision = "b82e6c4410fe"
branch_labels = None
depends_on = None


def upgrade() -> None:
    pass


def downgrade() -> None:
    pass
