"""Reconcile calls with what providers bill: imported files, their lines, and what does not agree."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "provider_file",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("line_count", sa.BigInteger(), nullable=False),
        sa.Column("covers_from_ms", sa.BigInteger(), nullable=False),
        sa.Column("covers_until_ms", sa.BigInteger(), nullable=False),
        sa.Column("imported_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("completed_at_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("provider", "digest"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "provider_statement",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("file_id", sa.Text(), nullable=False),
        sa.Column("line_key", sa.Text(), nullable=False),
        sa.Column("provider_request_id", sa.Text(), nullable=True),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("deployment", sa.Text(), nullable=True),
        sa.Column("resource", sa.Text(), nullable=True),
        sa.Column("quantities_json", sa.Text(), nullable=False),
        sa.Column("amount_pico_usd", sa.BigInteger(), nullable=False),
        sa.Column("attempt_id", sa.Text(), nullable=True),
        sa.Column("matched_by", sa.Text(), nullable=True),
        sa.CheckConstraint("matched_by IN ('request', 'hour')", name="matched_by_is_known"),
        sa.CheckConstraint("(attempt_id IS NULL) = (matched_by IS NULL)", name="matched_says_how"),
        sa.ForeignKeyConstraint(
            ["attempt_id"],
            ["attempt.id"],
        ),
        sa.ForeignKeyConstraint(
            ["file_id"],
            ["provider_file.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("provider", "line_key"),
        sqlite_with_rowid=False,
    )
    op.create_index("statement_by_attempt", "provider_statement", ["attempt_id"], unique=False)
    op.create_index(
        "statement_by_provider_request", "provider_statement", ["provider", "provider_request_id"], unique=False
    )
    op.create_table(
        "recon_finding",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("attempt_id", sa.Text(), nullable=True),
        sa.Column("statement_id", sa.Text(), nullable=True),
        sa.Column("expected_pico_usd", sa.BigInteger(), nullable=True),
        sa.Column("billed_pico_usd", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("closed_at_ms", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("(state = 'open') = (closed_at_ms IS NULL)", name="open_is_not_closed"),
        sa.CheckConstraint(
            "kind IN ('no_attempt', 'unknown_billed', 'unknown_free', 'price_differs', 'not_billed')",
            name="kind_is_known",
        ),
        sa.CheckConstraint("state IN ('open', 'explained')", name="state_is_known"),
        sa.CheckConstraint("(attempt_id IS NULL) <> (statement_id IS NULL)", name="about_one_thing"),
        sa.ForeignKeyConstraint(
            ["attempt_id"],
            ["attempt.id"],
        ),
        sa.ForeignKeyConstraint(
            ["statement_id"],
            ["provider_statement.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("kind", "attempt_id"),
        sa.UniqueConstraint("kind", "statement_id"),
        sqlite_with_rowid=False,
    )
    op.add_column("attempt", sa.Column("explained_at_ms", sa.BigInteger(), nullable=True))
