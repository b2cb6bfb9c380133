"""Keep the markup of workspaces and requests: it is settled by a hold like the price version."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Apply."""
    op.add_column("request", sa.Column("markup_ppm", sa.BigInteger(), server_default="0", nullable=False))
    # With its constraint, which SQLite takes only together with the column.
    op.execute(
        "ALTER TABLE workspace ADD COLUMN markup_ppm BIGINT DEFAULT 0 NOT NULL"
        " CONSTRAINT markup_within_bounds CHECK (markup_ppm BETWEEN -1000000 AND 100000000)"
    )
