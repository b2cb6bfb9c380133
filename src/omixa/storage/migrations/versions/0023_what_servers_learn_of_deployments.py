"""What servers learn of deployments, so that it survives their restart, and credentials that were refused."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "route_memory",
        sa.Column("node_id", sa.Text(), nullable=False),
        sa.Column("deployment", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("cooling_ms", sa.BigInteger(), nullable=True),
        sa.Column("unreachable", sa.Integer(), nullable=False),
        sa.Column("strikes", sa.BigInteger(), nullable=False),
        sa.Column("ejections", sa.BigInteger(), nullable=False),
        sa.Column("calls_json", sa.Text(), nullable=False),
        sa.Column("saved_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("node_id", "deployment"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "refused_credential",
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("spent", sa.Integer(), nullable=False),
        sa.Column("refused_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("digest"),
        sqlite_with_rowid=False,
    )
