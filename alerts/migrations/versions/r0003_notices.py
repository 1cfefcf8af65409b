"""Notices: what is to be sent, who has been told of what, and how far the journal has been told."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes the three tables, empty: what was written before is nobody's news."""
    op.create_table(
        "notice_outbox",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("key", sa.String(32), nullable=False),
        sa.Column("receiver", sa.Text, nullable=False),
        sa.Column("thread", sa.Text, nullable=False),
        sa.Column("priority", sa.SmallInteger, nullable=False),
        sa.Column("item", sa.Text, nullable=False),
        sa.Column("due_us", sa.BigInteger, nullable=False),
        sa.Column("made_us", sa.BigInteger, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("message", sa.String(32), nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("said", sa.Text, nullable=False),
        sa.Column("done_us", sa.BigInteger, nullable=True),
    )
    op.create_index("notice_outbox_key", "notice_outbox", ["key"], unique=True)
    op.create_index("notice_outbox_waiting", "notice_outbox", ["receiver", "state", "number"])
    op.create_index("notice_outbox_done", "notice_outbox", ["done_us"])
    op.create_table(
        "notice_told",
        sa.Column("alarm", sa.String(32), primary_key=True),
        sa.Column("receiver", sa.Text, primary_key=True),
        sa.Column("site", sa.Text, nullable=False),
        sa.Column("asset", sa.Text, nullable=False),
        sa.Column("thread", sa.Text, nullable=False),
        sa.Column("item", sa.Text, nullable=False),
    )
    op.create_table("notice_mark", sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False))


def downgrade() -> None:
    """Takes the tables away, with what waited in them."""
    for name in ("notice_mark", "notice_told", "notice_outbox"):
        op.drop_table(name)
