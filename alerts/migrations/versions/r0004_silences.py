"""Silences: who wished what not to be shown, from when to when, and why."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes the table, empty."""
    op.create_table(
        "alarm_silences",
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.Column("silence_id", sa.String(36), nullable=False),
        sa.Column("change", sa.Text, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("told", sa.Text, nullable=False),
        sa.Column("over_us", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.LargeBinary(32), nullable=False),
    )
    op.create_index("alarm_silences_silence", "alarm_silences", ["silence_id", "seq"])
    op.create_index("alarm_silences_over", "alarm_silences", ["over_us"])


def downgrade() -> None:
    """Takes the table away, with what was wished."""
    op.drop_table("alarm_silences")
