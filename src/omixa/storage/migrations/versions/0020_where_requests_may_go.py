"""Where requests of a workspace may go: its providers and regions."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    """Add the columns."""
    op.add_column("workspace", sa.Column("providers_json", sa.Text(), nullable=True))
    op.add_column("workspace", sa.Column("regions_json", sa.Text(), nullable=True))
