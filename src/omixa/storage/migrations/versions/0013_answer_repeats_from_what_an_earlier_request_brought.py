"""Answer repeats from what an earlier request brought: keys, fingerprints, refusals as they were told, results never charged."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "idempotency",
        sa.Column("workspace_id", sa.Text(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["request_id"], ["request.id"]),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspace.id"]),
        sa.PrimaryKeyConstraint("workspace_id", "mode", "endpoint", "key"),
        sqlite_with_rowid=False,
    )
    op.create_index("idempotency_by_expiry", "idempotency", ["expires_at_ms"], unique=False)
    op.create_table(
        "refusal",
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("error_json", sa.Text(), nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["request_id"], ["request.id"]),
        sa.PrimaryKeyConstraint("request_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "parked_result",
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("ref", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["request_id"], ["request.id"]),
        sa.PrimaryKeyConstraint("request_id"),
        sqlite_with_rowid=False,
    )
    op.add_column("request", sa.Column("fingerprint", sa.Text(), nullable=True))
    # With its reference, which SQLite takes only together with a column.
    op.execute("ALTER TABLE request ADD COLUMN parked_from TEXT REFERENCES request (id)")
    op.add_column("request", sa.Column("left_at_ms", sa.BigInteger(), nullable=True))
    op.add_column("request", sa.Column("joined_requests", sa.BigInteger(), server_default="0", nullable=False))
    op.create_index(
        "request_by_fingerprint",
        "request",
        ["fingerprint", "key_id", "id"],
        unique=False,
        sqlite_where=sa.text("fingerprint IS NOT NULL"),
        postgresql_where=sa.text("fingerprint IS NOT NULL"),
    )
    op.create_index(
        "one_charge_per_parked_result",
        "request",
        ["parked_from"],
        unique=True,
        sqlite_where=sa.text("state = 'captured' AND parked_from IS NOT NULL"),
        postgresql_where=sa.text("state = 'captured' AND parked_from IS NOT NULL"),
    )
