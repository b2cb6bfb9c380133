"""Keep prompts beside the pictures, where a workspace wants that."""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    """Apply."""
    op.add_column("workspace", sa.Column("keep_prompts", sa.Integer(), server_default="0", nullable=False))
    op.create_table(
        "prompt",
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("workspace_id", sa.Text(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["request_id"], ["request.id"]),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspace.id"]),
        sa.PrimaryKeyConstraint("request_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("prompt_by_workspace", "prompt", ["workspace_id", "mode", "request_id"], unique=False)
