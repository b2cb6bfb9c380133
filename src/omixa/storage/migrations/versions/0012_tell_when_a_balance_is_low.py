"""Tell when a balance is low: thresholds of accounts, and an outbox for what others are to be told."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "outbox",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("payload_json", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("delivered_at_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "message_to_deliver",
        "outbox",
        ["next_at_ms"],
        unique=False,
        sqlite_where=sa.text("delivered_at_ms IS NULL"),
        postgresql_where=sa.text("delivered_at_ms IS NULL"),
    )
    op.create_index("message_to_forget", "outbox", ["delivered_at_ms"], unique=False)
    op.add_column("account", sa.Column("alert_below", sa.BigInteger(), nullable=True))
    op.add_column("account", sa.Column("alert_email", sa.Text(), nullable=True))
    op.add_column("account", sa.Column("alerted", sa.Integer(), server_default="0", nullable=False))
