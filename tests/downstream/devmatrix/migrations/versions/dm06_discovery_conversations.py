"""conversation_id and the long title, beside the shared conversations.

Revision ID: dm06
Revises: dm05

"""

import sqlalchemy as sa
from alembic import op

from todo_schema import require_version

revision = "dm06"
down_revision = "dm05"


def upgrade() -> None:
    require_version(op.get_bind(), 13)  # conversations.title
    op.create_table(
        "discovery_conversations",
        sa.Column(
            "conversation_id",
            sa.Uuid(),
            sa.ForeignKey("conversations.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("title", sa.String(length=300), nullable=True),
    )
    op.execute(
        "INSERT INTO discovery_conversations (conversation_id, title) SELECT id, title FROM conversations"
    )
    op.add_column("discovery_documents", sa.Column("conversation_id", sa.Uuid(), nullable=True))
    op.create_foreign_key(
        "discovery_documents_conversation_id_fkey",
        "discovery_documents",
        "discovery_conversations",
        ["conversation_id"],
        ["conversation_id"],
        ondelete="CASCADE",
    )


def downgrade() -> None:
    op.drop_column("discovery_documents", "conversation_id")
    op.drop_table("discovery_conversations")
