"""People who sign in: with roles in workspaces, sessions and one-time links. They buy credit without a key; keys may have an end."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"

_TOPUP = (
    "id",
    "workspace_id",
    "account_id",
    "key_id",
    "amount",
    "reversed_amount",
    "transfer_id",
    "payment_id",
    "created_at_ms",
    "paid_at_ms",
)


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "person",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=True),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "membership",
        sa.Column("person_id", sa.Text(), nullable=False),
        sa.Column("workspace_id", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("role IN ('owner', 'admin', 'billing', 'developer', 'viewer')", name="role_is_known"),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"]),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspace.id"]),
        sa.PrimaryKeyConstraint("person_id", "workspace_id"),
        sqlite_with_rowid=False,
    )
    op.create_index("membership_by_workspace", "membership", ["workspace_id"], unique=False)
    op.create_table(
        "session",
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("person_id", sa.Text(), nullable=False),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("idle_until_ms", sa.BigInteger(), nullable=False),
        sa.Column("ends_at_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"]),
        sa.PrimaryKeyConstraint("digest"),
        sqlite_with_rowid=False,
    )
    op.create_index("session_by_person", "session", ["person_id"], unique=False)
    op.create_table(
        "sign_in_link",
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("person_id", sa.Text(), nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"]),
        sa.PrimaryKeyConstraint("digest"),
        sqlite_with_rowid=False,
    )
    op.create_index("link_by_person", "sign_in_link", ["person_id"], unique=False)
    op.add_column("api_key", sa.Column("expires_at_ms", sa.BigInteger(), nullable=True))
    _let_people_buy()


def _let_people_buy() -> None:
    if op.get_bind().dialect.name != "sqlite":
        op.alter_column("topup", "key_id", nullable=True)
        op.add_column("topup", sa.Column("person_id", sa.Text(), sa.ForeignKey("person.id"), nullable=True))
        op.create_check_constraint("somebody_ordered_it", "topup", "(key_id IS NULL) <> (person_id IS NULL)")
        return
    # SQLite changes no column: a table with the new ones takes the place of the old one.
    op.create_table(
        "topup_now",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("workspace_id", sa.Text(), nullable=False),
        sa.Column("account_id", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=True),
        sa.Column("person_id", sa.Text(), nullable=True),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("reversed_amount", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("transfer_id", sa.Text(), nullable=True),
        sa.Column("payment_id", sa.Text(), nullable=True),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("paid_at_ms", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "amount > 0 AND 0 <= reversed_amount AND reversed_amount <= amount", name="reversed_within_amount"
        ),
        sa.CheckConstraint("(key_id IS NULL) <> (person_id IS NULL)", name="somebody_ordered_it"),
        sa.ForeignKeyConstraint(["account_id"], ["account.id"]),
        sa.ForeignKeyConstraint(["key_id"], ["api_key.id"]),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"]),
        sa.ForeignKeyConstraint(["transfer_id"], ["transfer.id"]),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspace.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("payment_id"),
        sa.UniqueConstraint("transfer_id"),
        sqlite_with_rowid=False,
    )
    columns = ", ".join(_TOPUP)
    op.execute(f"INSERT INTO topup_now ({columns}) SELECT {columns} FROM topup")  # noqa: S608 - constants
    op.drop_table("topup")
    op.rename_table("topup_now", "topup")
