"""Keep credit in lots, so that some of it can expire and promotions burn first.

What an account has becomes one paid lot without an end, to which its holds are pinned.
"""

import sqlalchemy as sa
from alembic import op

from omixa.storage.migrations.triggers import forbid_changes

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "grant_lot",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("transfer_id", sa.Text(), nullable=True),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("remaining", sa.BigInteger(), nullable=False),
        sa.Column("pinned", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("effective_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("kind IN ('paid', 'promo')", name="kind_is_known"),
        sa.CheckConstraint(
            "0 <= pinned AND pinned <= remaining AND remaining <= amount", name="pinned_within_remaining"
        ),
        sa.ForeignKeyConstraint(
            ["account_id"],
            ["account.id"],
        ),
        sa.ForeignKeyConstraint(
            ["transfer_id"],
            ["transfer.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sqlite_with_rowid=False,
    )
    op.create_index("lot_by_transfer", "grant_lot", ["transfer_id"], unique=False)
    op.create_index(
        "lot_to_expire",
        "grant_lot",
        ["expires_at_ms"],
        unique=False,
        sqlite_where=sa.text("remaining > 0"),
        postgresql_where=sa.text("remaining > 0"),
    )
    op.create_index(
        "lot_to_spend",
        "grant_lot",
        ["account_id"],
        unique=False,
        sqlite_where=sa.text("remaining > 0"),
        postgresql_where=sa.text("remaining > 0"),
    )
    op.create_table(
        "hold_lot",
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("lot_id", sa.Text(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("amount > 0", name="amount_is_positive"),
        sa.ForeignKeyConstraint(
            ["lot_id"],
            ["grant_lot.id"],
        ),
        sa.ForeignKeyConstraint(
            ["request_id"],
            ["request.id"],
        ),
        sa.PrimaryKeyConstraint("request_id", "lot_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("pin_by_lot", "hold_lot", ["lot_id"], unique=False)
    op.add_column("request", sa.Column("lot_id", sa.Text(), nullable=True))
    op.execute(
        "INSERT INTO grant_lot (id, account_id, amount, remaining, pinned, kind, priority, effective_at_ms)"
        " SELECT 'lot_opening_' || id, id, posted, posted, held, 'paid', 0, 0 FROM account WHERE posted > 0"
    )
    op.execute("UPDATE request SET lot_id = 'lot_opening_' || account_id WHERE state = 'held' AND hold_amount > 0")
    forbid_changes("hold_lot")
