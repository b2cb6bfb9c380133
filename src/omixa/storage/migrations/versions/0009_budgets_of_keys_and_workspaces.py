"""Budgets of keys and workspaces, and what counts against them; nobody has one yet."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Create the tables, and the mark of accounts that they concern."""
    op.create_table(
        "budget",
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Text(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("limit_amount", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("period IN ('day', 'month')", name="period_is_known"),
        sa.CheckConstraint("limit_amount >= 0", name="limit_is_not_negative"),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"]),
        sa.PrimaryKeyConstraint("account_id", "subject_id", "period"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "budget_window",
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("subject_id", sa.Text(), nullable=False),
        sa.Column("period", sa.Text(), nullable=False),
        sa.Column("starts_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("spent", sa.BigInteger(), nullable=False),
        sa.Column("held", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("spent >= 0 AND held >= 0", name="spent_and_held_are_not_negative"),
        sa.ForeignKeyConstraint(
            ["account_id", "subject_id", "period"], ["budget.account_id", "budget.subject_id", "budget.period"]
        ),
        sa.PrimaryKeyConstraint("account_id", "subject_id", "period", "starts_at_ms"),
        sqlite_with_rowid=False,
    )
    op.add_column("account", sa.Column("has_budgets", sa.Integer(), server_default="0", nullable=False))
