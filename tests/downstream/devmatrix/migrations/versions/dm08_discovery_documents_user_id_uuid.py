"""discovery_documents.user_id: varchar(100) to uuid, with a foreign key. Breaking.

Revision ID: dm08
Revises: dm07

"""

import sqlalchemy as sa
from alembic import context, op
from devmatrix.user_ids import look_first

revision = "dm08"
down_revision = "dm07"


def upgrade() -> None:
    if not context.is_offline_mode():
        look_first(op.get_bind(), "discovery_documents")
    op.alter_column("discovery_documents", "user_id", type_=sa.Uuid(), postgresql_using="user_id::uuid")
    op.create_foreign_key(
        "discovery_documents_user_id_fkey",
        "discovery_documents",
        "users",
        ["user_id"],
        ["id"],
        ondelete="CASCADE",
    )


def downgrade() -> None:
    op.drop_constraint("discovery_documents_user_id_fkey", "discovery_documents")
    op.alter_column(
        "discovery_documents", "user_id", type_=sa.String(length=100), postgresql_using="user_id::text"
    )
