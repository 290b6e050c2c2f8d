"""The conversation of a session: in the other database, so without a foreign key.

Revision ID: e72b5d1409ac
Revises: c4e1a0f97b35
Create Date: 2026-08-02 10:05:31.904416

"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "e72b5d1409ac"
down_revision: str | Sequence[str] | None = "c4e1a0f97b35"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Upgrade schema."""
    op.add_column("sessions", sa.Column("conversation_id", sa.Uuid(), nullable=True))


def downgrade() -> None:
    """Downgrade schema."""
    op.drop_column("sessions", "conversation_id")
