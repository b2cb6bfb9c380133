"""Rate limits of keys and workspaces; those that exist have the usual ones."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Add the columns."""
    for table in ("api_key", "workspace"):
        for name in ("requests_per_minute", "images_per_minute", "concurrent_images"):
            op.add_column(table, sa.Column(name, sa.BigInteger(), nullable=True))
