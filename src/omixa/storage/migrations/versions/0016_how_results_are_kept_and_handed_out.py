"""How results are kept and handed out: a workspace's own retention and form of answers, and results deleted before their time."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Add the columns."""
    op.add_column("request", sa.Column("result_deleted_at_ms", sa.BigInteger(), nullable=True))
    op.add_column("workspace", sa.Column("retention_set_at_ms", sa.BigInteger(), nullable=True))
    # With their constraints, which SQLite takes only together with a column.
    op.execute(
        "ALTER TABLE workspace ADD COLUMN result_retention_ms BIGINT"
        " CONSTRAINT retention_is_not_negative CHECK (result_retention_ms >= 0)"
    )
    op.execute(
        "ALTER TABLE workspace ADD COLUMN response_format TEXT NOT NULL DEFAULT 'b64_json'"
        " CONSTRAINT response_format_is_known CHECK (response_format IN ('b64_json', 'url', 'both'))"
    )
