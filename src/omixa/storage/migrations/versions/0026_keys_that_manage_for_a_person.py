"""Keys that manage for a person instead of making pictures."""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"


def upgrade() -> None:
    """Add the columns."""
    op.add_column("api_key", sa.Column("scopes_json", sa.Text(), nullable=True))
    # Both databases take this as it is; Alembic knows no such column of SQLite.
    op.execute("ALTER TABLE api_key ADD COLUMN person_id TEXT REFERENCES person (id)")
