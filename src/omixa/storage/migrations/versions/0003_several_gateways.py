"""What several gateways on one database need: the last group of each writer, and an audit log that cannot fork."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "writer",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("last_group", sa.BigInteger(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_with_rowid=False,
    )
    op.create_index("one_successor_per_entry", "audit_log", ["prev_hash"], unique=True)
