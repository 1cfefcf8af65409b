"""What people do and what hides an alarm: from where, until when, to whom, by what; and maintenance windows."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Adds the columns, empty in all rows that are there, and makes the table of windows."""
    for name in ("origin", "detail", "mask", "mask_by"):
        op.add_column("alarm_transitions", sa.Column(name, sa.Text, nullable=False, server_default=""))
    op.add_column("alarm_transitions", sa.Column("until_us", sa.BigInteger, nullable=True))
    for name in ("mask", "mask_by", "mask_why"):
        op.add_column("alarm_delays", sa.Column(name, sa.Text, nullable=False, server_default=""))
    op.create_table(
        "alarm_maintenance",
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        sa.Column("window_id", sa.String(32), nullable=False),
        sa.Column("change", sa.Text, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("origin", sa.Text, nullable=False),
        sa.Column("told", sa.Text, nullable=False),
        sa.Column("over_us", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.LargeBinary(32), nullable=False),
    )
    op.create_index("alarm_maintenance_window", "alarm_maintenance", ["window_id", "seq"])
    op.create_index("alarm_maintenance_over", "alarm_maintenance", ["over_us"])


def downgrade() -> None:
    """Takes the table and the columns away, with everything in them; hashes of rows that used them no longer hold."""
    op.drop_table("alarm_maintenance")
    for name in ("mask_why", "mask_by", "mask"):
        op.drop_column("alarm_delays", name)
    for name in ("until_us", "mask_by", "mask", "detail", "origin"):
        op.drop_column("alarm_transitions", name)
