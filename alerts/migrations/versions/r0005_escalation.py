"""Escalation: which alarms nobody has acknowledged, and how far that has been told."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes the table, empty: what nobody has acknowledged by now escalates once something becomes of it."""
    op.create_table(
        "notice_unanswered",
        sa.Column("alarm", sa.String(32), primary_key=True),
        sa.Column("site", sa.Text, nullable=False),
        sa.Column("asset", sa.Text, nullable=False),
        sa.Column("first", sa.Text, nullable=False),
        sa.Column("since_us", sa.BigInteger, nullable=False),
        sa.Column("climbed_us", sa.BigInteger, nullable=False),
        sa.Column("item", sa.Text, nullable=False),
    )


def downgrade() -> None:
    """Takes the table away."""
    op.drop_table("notice_unanswered")
