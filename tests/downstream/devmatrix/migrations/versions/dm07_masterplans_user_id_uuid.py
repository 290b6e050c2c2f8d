"""masterplans.user_id: varchar(100) to uuid, with a foreign key. Breaking.

Revision ID: dm07
Revises: dm06

"""

import sqlalchemy as sa
from alembic import context, op
from devmatrix.user_ids import look_first

revision = "dm07"
down_revision = "dm06"


def upgrade() -> None:
    if not context.is_offline_mode():
        look_first(op.get_bind(), "masterplans")
    op.alter_column("masterplans", "user_id", type_=sa.Uuid(), postgresql_using="user_id::uuid")
    op.create_foreign_key(
        "masterplans_user_id_fkey", "masterplans", "users", ["user_id"], ["id"], ondelete="CASCADE"
    )


def downgrade() -> None:
    op.drop_constraint("masterplans_user_id_fkey", "masterplans")
    op.alter_column("masterplans", "user_id", type_=sa.String(length=100), postgresql_using="user_id::text")
