"""When the answer of a call came that had been given up: what the call cost is then known."""

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"


def upgrade() -> None:
    """Add the column."""
    op.add_column("attempt", sa.Column("late_at_ms", sa.BigInteger(), nullable=True))
