"""Keys that take signed requests only; those that exist take unsigned ones as before."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Apply."""
    op.add_column("api_key", sa.Column("requires_signature", sa.Integer(), server_default="0", nullable=False))
