"""Add up by days what requests brought and cost: the margins of a month of a million requests took seconds each time."""

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"


def upgrade() -> None:
    """Apply. The sweeper adds up what is there."""
    op.create_table(
        "margin_day",
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("day", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("requests", sa.BigInteger(), nullable=False),
        sa.Column("charged", sa.BigInteger(), nullable=False),
        sa.Column("reported_pico_usd", sa.BigInteger(), nullable=False),
        sa.Column("estimated_pico_usd", sa.BigInteger(), nullable=False),
        sa.Column("absorbed_pico_usd", sa.BigInteger(), nullable=False),
        sa.Column("unknown_calls", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("mode", "day", "model", "provider"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "margin_progress",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("until_id", sa.Text(), nullable=False),
        sa.Column("changes", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("id = 1", name="progress_is_one_row"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.execute("INSERT INTO margin_progress (id, until_id, changes) VALUES (1, '', 0)")
