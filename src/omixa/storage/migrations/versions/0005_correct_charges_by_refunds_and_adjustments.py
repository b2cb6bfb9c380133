"""Correct charges by refunds and adjustments: what they add up to stands on the request, where a constraint bounds it."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Apply."""
    op.add_column("request", sa.Column("adjusted_amount", sa.BigInteger(), server_default="0", nullable=False))
    # With its constraint, which SQLite takes only together with a column.
    op.execute(
        "ALTER TABLE request ADD COLUMN refunded_amount BIGINT DEFAULT 0 NOT NULL CONSTRAINT refunds_within_charge CHECK ("
        "refunded_amount >= 0 AND refunded_amount <= COALESCE(charge_amount, 0)"
        " AND refunded_amount <= COALESCE(charge_amount, 0) + adjusted_amount)"
    )
    op.create_index(
        "correction_by_request",
        "transfer",
        ["request_id"],
        unique=False,
        sqlite_where=sa.text("kind IN ('refund', 'adjustment')"),
        postgresql_where=sa.text("kind IN ('refund', 'adjustment')"),
    )
    op.create_table(
        "correction_day",
        sa.Column("workspace_id", sa.Text(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("day", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("refunded", sa.BigInteger(), nullable=False),
        sa.Column("adjusted", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspace.id"]),
        sa.PrimaryKeyConstraint("workspace_id", "mode", "day", "model", "key_id"),
        sqlite_with_rowid=False,
    )
