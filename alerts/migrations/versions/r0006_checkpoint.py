"""The checkpoint: what stood after one of the rows, for a start that need not read all of them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes the table, empty: the service fills it."""
    op.create_table(
        "alarm_checkpoint",
        sa.Column("part", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("parts", sa.SmallInteger, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.Column("hash", sa.LargeBinary(32), nullable=False),
    )


def downgrade() -> None:
    """Takes it away: it can be made anew."""
    op.drop_table("alarm_checkpoint")
