"""The first schema: transitions, and the delays that run."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes both tables."""
    op.create_table(
        "alarm_transitions",
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.Column("occurrence", sa.String(32), nullable=False),
        sa.Column("rule", sa.Text, nullable=False),
        sa.Column("site", sa.Text, nullable=False),
        sa.Column("asset", sa.Text, nullable=False),
        sa.Column("qualifier", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("change", sa.Text, nullable=False),
        sa.Column("state_before", sa.Text, nullable=False),
        sa.Column("state_after", sa.Text, nullable=False),
        sa.Column("priority", sa.SmallInteger, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("comment", sa.Text, nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("finding", sa.Text, nullable=True),
        sa.Column("hash", sa.LargeBinary(32), nullable=False),
    )
    op.create_index("alarm_transitions_occurrence", "alarm_transitions", ["occurrence", "seq"])
    op.create_index("alarm_transitions_asset", "alarm_transitions", ["site", "asset", "seq"])
    op.create_index("alarm_transitions_at", "alarm_transitions", ["at_us"])
    # Two small indexes tell which occurrences have begun and not ended, without a walk through the whole history.
    for name, column in (("begun", "state_before"), ("ended", "state_after")):
        only = sa.text(f"{column} = 'normal'")
        op.create_index(
            f"alarm_transitions_{name}",
            "alarm_transitions",
            ["occurrence"],
            sqlite_where=only,
            postgresql_where=only,
        )
    op.create_table(
        "alarm_delays",
        sa.Column("alarm", sa.LargeBinary(32), primary_key=True),
        sa.Column("rule", sa.Text, nullable=False),
        sa.Column("site", sa.Text, nullable=False),
        sa.Column("asset", sa.Text, nullable=False),
        sa.Column("qualifier", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("present", sa.Boolean, nullable=False),
        sa.Column("turned_us", sa.BigInteger, nullable=False),
        sa.Column("finding", sa.Text, nullable=True),
    )


def downgrade() -> None:
    """Takes both tables away, with everything in them."""
    op.drop_table("alarm_delays")
    op.drop_table("alarm_transitions")
