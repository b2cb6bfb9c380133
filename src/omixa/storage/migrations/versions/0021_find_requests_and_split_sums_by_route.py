"""Find what the log is narrowed down to without reading all of it, and split sums by the route that made the pictures."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"

_DAYS = {
    "usage_day": ("requests", "images", "input_tokens", "output_tokens", "amount"),
    "correction_day": ("refunded", "adjusted"),
}
_GROUP = ("workspace_id", "mode", "day", "model", "key_id")


def upgrade() -> None:
    """Apply."""
    op.create_index("request_by_key", "request", ["workspace_id", "mode", "key_id", "id"], unique=False)
    op.create_index("request_by_model", "request", ["workspace_id", "mode", "model", "id"], unique=False)
    for name, columns in {
        "request_released": ["workspace_id", "mode", "state", "id"],
        "request_by_failure": ["workspace_id", "mode", "outcome", "id"],
    }.items():
        op.create_index(
            name,
            "request",
            columns,
            unique=False,
            sqlite_where=sa.text("state = 'released'"),
            postgresql_where=sa.text("state = 'released'"),
        )
    op.add_column("usage_record", sa.Column("route", sa.Text(), server_default=sa.text("''"), nullable=False))
    for table, sums in _DAYS.items():
        _add_to_key(table, sums)


def _add_to_key(table: str, sums: tuple[str, ...]) -> None:
    """Make the route a part of a table's key. Neither database can do that in place."""
    copied = ", ".join((*_GROUP, *sums))
    op.execute(f"CREATE TABLE {table}_before AS SELECT {copied} FROM {table}")  # noqa: S608 - names of ours
    op.drop_table(table)
    op.create_table(
        table,
        *(sa.Column(name, sa.Text(), nullable=False) for name in (*_GROUP, "route")),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in sums),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspace.id"]),
        sa.PrimaryKeyConstraint(*_GROUP, "route"),
        sqlite_with_rowid=False,
    )
    op.execute(f"INSERT INTO {table} ({copied}, route) SELECT {copied}, '' FROM {table}_before")  # noqa: S608 - names of ours
    op.drop_table(f"{table}_before")
