"""What refusals of content filters cost the operator, by account and for one day."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Add the columns."""
    for name in ("refusal_day_ms", "refusal_cost_pico_usd"):
        op.add_column("account", sa.Column(name, sa.BigInteger(), server_default="0", nullable=False))
