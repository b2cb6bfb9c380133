"""People who run the gateway, and what their pages look for: calls that failed, open findings, entries of the audit log."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"

_FAILED = "state IN ('failed_free', 'failed_billed', 'unknown')"
_OPEN = "state = 'open'"


def upgrade() -> None:
    """Apply."""
    op.add_column("person", sa.Column("is_operator", sa.Integer(), server_default="0", nullable=False))
    for name, table, columns, condition in (
        ("attempt_that_failed", "attempt", ["id", "deployment", "state"], _FAILED),
        ("finding_to_explain", "recon_finding", ["id"], _OPEN),
    ):
        where = sa.text(condition)
        op.create_index(name, table, columns, unique=False, sqlite_where=where, postgresql_where=where)
    for column in ("actor", "action", "target"):
        op.create_index(f"audit_by_{column}", "audit_log", [column, "seq"], unique=False)
