"""The whole data model on one page.

The same definitions serve SQLite and PostgreSQL. Amounts are micro-USD or pico-USD in 64-bit integers, times are Unix
milliseconds of the database's clock and end in `_ms`, identifiers are text that sorts by time. Rules that money depends on
are constraints or triggers, so that no code path can break them. docs/money.md explains them.

Tables whose key is text have no row ids in SQLite: one tree instead of two, which nearly halves what a commit writes.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    literal_column,
    text,
)

metadata = MetaData()


def _id() -> Column[str]:
    return Column("id", Text, primary_key=True)


def _mode() -> Column[str]:
    return Column("mode", Text, nullable=False)


def _one_of(column: str, *values: str) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=f"{column}_is_known")


def _amount(name: str, *, nullable: bool = False) -> Column[int]:
    return Column(name, BigInteger, nullable=nullable)


def _time(name: str, *, nullable: bool = False) -> Column[int]:
    return Column(name, BigInteger, nullable=nullable)


def _rate_limits() -> tuple[Column[int], ...]:
    """Return the columns that override the usual limits of the options: 0 is no limit, NULL the usual one."""
    names = ("requests_per_minute", "images_per_minute", "concurrent_images")
    return tuple(Column(name, BigInteger, nullable=True) for name in names)


workspace = Table(
    "workspace",
    metadata,
    _id(),
    Column("name", Text, nullable=False, unique=True),
    # What it pays above the price lists, a discount below zero. No less than -100 %, so that no price is negative.
    Column("markup_ppm", BigInteger, nullable=False, server_default="0"),
    _time("created_at_ms"),
    # While it is set, nothing new is held.
    _time("suspended_at_ms", nullable=True),
    *_rate_limits(),
    # How long results are kept, in milliseconds: NULL as the options say, 0 until they are delivered. It, or whether prompts are
    # kept, was set at a time; for an hour after it the sweeper looks for what was stored before, then that is NULL again.
    Column("result_retention_ms", BigInteger, nullable=True),
    _time("retention_set_at_ms", nullable=True),
    # How pictures come back where a request does not say: inside the answer, as links, or both.
    Column("response_format", Text, nullable=False, server_default="b64_json"),
    # 1 where prompts are kept beside the pictures, because the workspace wants that.
    Column("keep_prompts", Integer, nullable=False, server_default="0"),
    # Where its requests may go: lists in JSON of providers and of regions, NULL for all.
    Column("providers_json", Text),
    Column("regions_json", Text),
    _one_of("response_format", "b64_json", "url", "both"),
    CheckConstraint("result_retention_ms >= 0", name="retention_is_not_negative"),
    CheckConstraint("markup_ppm BETWEEN -1000000 AND 100000000", name="markup_within_bounds"),
    sqlite_with_rowid=False,
)

api_key = Table(
    "api_key",
    metadata,
    _id(),
    Column("workspace_id", Text, ForeignKey("workspace.id"), nullable=False),
    _mode(),
    Column("name", Text, nullable=False),
    # HMAC-SHA-256 of the key under the server's pepper, hexadecimal. The key itself is stored nowhere.
    Column("digest", Text, nullable=False, unique=True),
    Column("last4", Text, nullable=False),
    Column("models_json", Text),
    # 1 for a key that takes signed requests only. The signing secret is derived from the pepper and the id.
    Column("requires_signature", Integer, nullable=False, server_default="0"),
    _time("created_at_ms"),
    _time("revoked_at_ms", nullable=True),
    # From then on it is as good as revoked.
    _time("expires_at_ms", nullable=True),
    *_rate_limits(),
    # What it does for a person instead of making pictures, as a list in JSON: NULL, as the person is, for one that makes them.
    Column("scopes_json", Text),
    Column("person_id", Text, ForeignKey("person.id")),
    _one_of("mode", "live", "test"),
    sqlite_with_rowid=False,
)

# Somebody who may sign in. Not called user: in PostgreSQL that word is whoever is connected.
person = Table(
    "person",
    metadata,
    _id(),
    # By which they sign in, in lower case.
    Column("name", Text, nullable=False, unique=True),
    # Argon2id in its usual text form; NULL until it is set by a link, and again when they belong to no workspace any more.
    Column("password_hash", Text),
    _time("created_at_ms"),
    # 1 for whoever runs this gateway, with all of its workspaces.
    Column("is_operator", Integer, nullable=False, server_default="0"),
    sqlite_with_rowid=False,
)

membership = Table(
    "membership",
    metadata,
    Column("person_id", Text, ForeignKey("person.id"), primary_key=True),
    Column("workspace_id", Text, ForeignKey("workspace.id"), primary_key=True),
    Column("role", Text, nullable=False),
    _time("created_at_ms"),
    _one_of("role", "owner", "admin", "billing", "developer", "viewer"),
    Index("membership_by_workspace", "workspace_id"),
    sqlite_with_rowid=False,
)

# A browser in which somebody is signed in. It ends when it was not used for a while, and in any case at a time.
session = Table(
    "session",
    metadata,
    # HMAC-SHA-256 of the cookie under a key that is derived from the server's pepper. The cookie itself is stored nowhere.
    Column("digest", Text, primary_key=True),
    Column("person_id", Text, ForeignKey("person.id"), nullable=False),
    _time("created_at_ms"),
    _time("idle_until_ms"),
    _time("ends_at_ms"),
    Index("session_by_person", "person_id"),
    sqlite_with_rowid=False,
)

# A link by which somebody sets a password, once; using it deletes it.
sign_in_link = Table(
    "sign_in_link",
    metadata,
    # As with sessions.
    Column("digest", Text, primary_key=True),
    Column("person_id", Text, ForeignKey("person.id"), nullable=False),
    _time("expires_at_ms"),
    Index("link_by_person", "person_id"),
    sqlite_with_rowid=False,
)

# A passkey: somebody signs in by a device that keeps the private half of a pair of keys.
passkey = Table(
    "passkey",
    metadata,
    _id(),
    Column("person_id", Text, ForeignKey("person.id"), nullable=False),
    # What its owner calls it.
    Column("name", Text, nullable=False),
    # Chosen by the device; in base64url.
    Column("credential_id", Text, nullable=False, unique=True),
    # The public half, in CBOR as the device gave it.
    Column("public_key", LargeBinary, nullable=False),
    # How often the device says that it was used; 0 where it does not count.
    Column("sign_count", BigInteger, nullable=False),
    _time("created_at_ms"),
    _time("used_at_ms", nullable=True),
    Index("passkey_by_person", "person_id"),
    sqlite_with_rowid=False,
)

# Challenges that have served, until nobody could use them again.
spent_challenge = Table(
    "spent_challenge",
    metadata,
    Column("challenge", Text, primary_key=True),
    _time("ends_at_ms"),
    sqlite_with_rowid=False,
)

# Somebody as an OpenID provider knows them. The subject counts and never changes; names and e-mail addresses do.
openid_identity = Table(
    "openid_identity",
    metadata,
    Column("issuer", Text, primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("person_id", Text, ForeignKey("person.id"), nullable=False),
    _time("created_at_ms"),
    Index("identity_by_person", "person_id"),
    sqlite_with_rowid=False,
)

# One account per workspace and mode holds its money. The system's own accounts (workspace_id NULL) carry no balance:
# theirs is the sum of their transfers, so that no row is hot.
account = Table(
    "account",
    metadata,
    _id(),
    Column("workspace_id", Text, ForeignKey("workspace.id")),
    _mode(),
    Column("kind", Text, nullable=False),
    Column("currency", Text, nullable=False),
    _amount("posted", nullable=True),
    _amount("held", nullable=True),
    Column("seq", BigInteger, nullable=False),
    Column("head_hash", Text, nullable=False),
    # 1 where the workspace or one of its keys has a budget, so that nobody else's hold has to look for one.
    Column("has_budgets", Integer, nullable=False, server_default="0"),
    # Below this balance somebody is told, once until it has recovered.
    _amount("alert_below", nullable=True),
    Column("alert_email", Text),
    Column("alerted", Integer, nullable=False, server_default="0"),
    # The last UTC day with a refusal for which a provider charges, and what that day's cost.
    Column("refusal_day_ms", BigInteger, nullable=False, server_default="0"),
    Column("refusal_cost_pico_usd", BigInteger, nullable=False, server_default="0"),
    CheckConstraint(
        "(workspace_id IS NULL AND posted IS NULL AND held IS NULL)"
        " OR (workspace_id IS NOT NULL AND held >= 0 AND posted - held >= 0)",
        name="account_never_overdrawn",
    ),
    _one_of("mode", "live", "test"),
    UniqueConstraint("workspace_id", "mode", "kind"),
    sqlite_with_rowid=False,
)

# What may be spent in a UTC day or month: by all keys of an account, whose id then is the subject, or by one of its keys.
budget = Table(
    "budget",
    metadata,
    Column("account_id", Text, ForeignKey("account.id"), primary_key=True),
    Column("subject_id", Text, primary_key=True),
    Column("period", Text, primary_key=True),
    _amount("limit_amount"),
    _one_of("period", "day", "month"),
    CheckConstraint("limit_amount >= 0", name="limit_is_not_negative"),
    sqlite_with_rowid=False,
)

# What a budget's requests have spent and hold. A request counts in the window in which it was held, whenever it settles.
budget_window = Table(
    "budget_window",
    metadata,
    Column("account_id", Text, primary_key=True),
    Column("subject_id", Text, primary_key=True),
    Column("period", Text, primary_key=True),
    Column("starts_at_ms", BigInteger, primary_key=True),
    _amount("spent"),
    _amount("held"),
    ForeignKeyConstraint(
        ["account_id", "subject_id", "period"], ["budget.account_id", "budget.subject_id", "budget.period"]
    ),
    CheckConstraint("spent >= 0 AND held >= 0", name="spent_and_held_are_not_negative"),
    sqlite_with_rowid=False,
)

# A transfer is both legs, so it always balances. It is never changed: mistakes are corrected by further transfers.
transfer = Table(
    "transfer",
    metadata,
    _id(),
    Column("debit_account_id", Text, ForeignKey("account.id"), nullable=False),
    Column("credit_account_id", Text, ForeignKey("account.id"), nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("request_id", Text, ForeignKey("request.id")),
    Column("reverses_id", Text, ForeignKey("transfer.id")),
    Column("external_ref", Text, unique=True),
    Column("reason", Text, nullable=False),
    # The workspace account whose history this row continues, its place there and the chain of hashes over it.
    Column("chain_account_id", Text, ForeignKey("account.id"), nullable=False),
    Column("chain_seq", BigInteger, nullable=False),
    Column("prev_hash", Text, nullable=False),
    Column("hash", Text, nullable=False),
    _time("at_ms"),
    CheckConstraint("amount > 0", name="amount_is_positive"),
    CheckConstraint("debit_account_id <> credit_account_id", name="two_different_accounts"),
    UniqueConstraint("chain_account_id", "chain_seq"),
    # The condition is repeated by the queries that use it; see `is_correction`.
    Index(
        "correction_by_request",
        "request_id",
        sqlite_where=text("kind IN ('refund', 'adjustment')"),
        postgresql_where=text("kind IN ('refund', 'adjustment')"),
    ),
    Index(
        "one_charge_per_request",
        "request_id",
        unique=True,
        sqlite_where=text("kind = 'charge'"),
        postgresql_where=text("kind = 'charge'"),
    ),
    sqlite_with_rowid=False,
)

# Transfers that correct a charge.
is_correction = transfer.c.kind.in_([literal_column("'refund'"), literal_column("'adjustment'")])


# Credit that was granted together. Its account's `posted` is what all its lots have remaining.
grant_lot = Table(
    "grant_lot",
    metadata,
    _id(),
    Column("account_id", Text, ForeignKey("account.id"), nullable=False),
    # What brought it; a refund can bring several lots. NULL for what an account had before there were lots.
    Column("transfer_id", Text, ForeignKey("transfer.id")),
    _amount("amount"),
    _amount("remaining"),
    # What holds have set aside of `remaining`. It may be spent even past the lot's time.
    _amount("pinned"),
    Column("kind", Text, nullable=False),
    # Smaller ones burn first.
    Column("priority", Integer, nullable=False),
    _time("effective_at_ms"),
    _time("expires_at_ms", nullable=True),
    _one_of("kind", "paid", "promo"),
    CheckConstraint("0 <= pinned AND pinned <= remaining AND remaining <= amount", name="pinned_within_remaining"),
    Index("lot_to_spend", "account_id", sqlite_where=text("remaining > 0"), postgresql_where=text("remaining > 0")),
    Index("lot_to_expire", "expires_at_ms", sqlite_where=text("remaining > 0"), postgresql_where=text("remaining > 0")),
    Index("lot_by_transfer", "transfer_id"),
    sqlite_with_rowid=False,
)

# What others are to be told, written with what it tells of.
outbox = Table(
    "outbox",
    metadata,
    _id(),
    Column("topic", Text, nullable=False),
    Column("payload_json", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    _time("next_at_ms"),
    _time("created_at_ms"),
    _time("delivered_at_ms", nullable=True),
    Index(
        "message_to_deliver",
        "next_at_ms",
        sqlite_where=text("delivered_at_ms IS NULL"),
        postgresql_where=text("delivered_at_ms IS NULL"),
    ),
    Index("message_to_forget", "delivered_at_ms"),
    sqlite_with_rowid=False,
)

# An account's month, closed for ever: a stretch of its chain of transfers that ends at `last_seq`.
statement = Table(
    "statement",
    metadata,
    Column("account_id", Text, ForeignKey("account.id"), primary_key=True),
    Column("month", Text, primary_key=True),
    _amount("opening"),
    Column("lines_json", Text, nullable=False),
    _amount("closing"),
    Column("last_seq", BigInteger, nullable=False),
    Column("last_hash", Text, nullable=False),
    _time("closed_at_ms"),
    sqlite_with_rowid=False,
)

# What somebody is about to pay, or has paid: then it has a transfer.
topup = Table(
    "topup",
    metadata,
    _id(),
    Column("workspace_id", Text, ForeignKey("workspace.id"), nullable=False),
    Column("account_id", Text, ForeignKey("account.id"), nullable=False),
    # Who ordered it: a program with a key, or a person on a page.
    Column("key_id", Text, ForeignKey("api_key.id")),
    Column("person_id", Text, ForeignKey("person.id")),
    _amount("amount"),
    # What was taken back of it, by refunds and disputes.
    Column("reversed_amount", BigInteger, nullable=False, server_default="0"),
    Column("transfer_id", Text, ForeignKey("transfer.id"), unique=True),
    # The payment provider's name of the payment.
    Column("payment_id", Text, unique=True),
    _time("created_at_ms"),
    _time("paid_at_ms", nullable=True),
    CheckConstraint("amount > 0 AND 0 <= reversed_amount AND reversed_amount <= amount", name="reversed_within_amount"),
    CheckConstraint("(key_id IS NULL) <> (person_id IS NULL)", name="somebody_ordered_it"),
    sqlite_with_rowid=False,
)

# What a payment provider took back: one row for each refunded charge, with all its refunds so far, and for each dispute. The
# payment may be one that no top-up has, or has yet.
topup_reversal = Table(
    "topup_reversal",
    metadata,
    _id(),
    Column("payment_id", Text, nullable=False),
    _amount("amount"),
    Column("state", Text, nullable=False),
    _one_of("state", "refunded", "open", "won", "lost"),
    CheckConstraint("amount >= 0", name="amount_is_not_negative"),
    Index("reversal_by_payment", "payment_id"),
    sqlite_with_rowid=False,
)

price_version = Table(
    "price_version",
    metadata,
    _id(),
    Column("model", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("effective_from", Text, nullable=False),
    Column("components_json", Text, nullable=False),
    _time("created_at_ms"),
    sqlite_with_rowid=False,
)

# One row per admitted request. It is inserted as 'held' and moves once, to 'captured' or to 'released'.
request = Table(
    "request",
    metadata,
    _id(),
    Column("workspace_id", Text, ForeignKey("workspace.id"), nullable=False),
    Column("account_id", Text, ForeignKey("account.id"), nullable=False),
    Column("key_id", Text, ForeignKey("api_key.id"), nullable=False),
    _mode(),
    Column("model", Text, nullable=False),
    Column("operation", Text, nullable=False),
    # What was asked for, without the prompt and without pictures.
    Column("parameters_json", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("hold_amount", BigInteger, nullable=False),
    # The lot that the whole hold is pinned to. NULL when it takes several, which hold_lot names, or holds nothing.
    # Without a foreign key, which would lock the lot's row once for each request; the verification checks it.
    Column("lot_id", Text),
    _amount("charge_amount", nullable=True),
    # What was given back of the charge, and by how much re-ratings changed it, below zero in the customer's favour.
    Column("adjusted_amount", BigInteger, nullable=False, server_default="0"),
    Column("refunded_amount", BigInteger, nullable=False, server_default="0"),
    # Both are settled by the hold: its capture uses them whatever has changed in between.
    Column("price_version_id", Text, ForeignKey("price_version.id"), nullable=False),
    Column("markup_ppm", BigInteger, nullable=False, server_default="0"),
    Column("owner_node", Text, nullable=False),
    Column("owner_epoch", BigInteger, nullable=False),
    # By what a retry that carries no key is recognised: SHA-256 over what was asked. Null where the request has a key.
    Column("fingerprint", Text),
    # The request whose parked result this one charges for, instead of calling a provider.
    Column("parked_from", Text, ForeignKey("request.id")),
    # When its client left without the whole answer, until a retry takes its place; and how many retries were answered by it.
    _time("left_at_ms", nullable=True),
    Column("joined_requests", BigInteger, nullable=False, server_default="0"),
    # 'ok', or the code of the error that the caller was told.
    Column("outcome", Text),
    Column("result_ref", Text),
    Column("result_digest", Text),
    _time("result_expires_at_ms", nullable=True),
    # When somebody had the result deleted before its time.
    _time("result_deleted_at_ms", nullable=True),
    _time("created_at_ms"),
    _time("expires_at_ms"),
    _time("ended_at_ms", nullable=True),
    _one_of("mode", "live", "test"),
    _one_of("state", "held", "captured", "released"),
    CheckConstraint("hold_amount >= 0", name="hold_is_not_negative"),
    CheckConstraint(
        "charge_amount IS NULL OR (charge_amount >= 0 AND charge_amount <= hold_amount)", name="charge_within_hold"
    ),
    CheckConstraint(
        "refunded_amount >= 0 AND refunded_amount <= COALESCE(charge_amount, 0)"
        " AND refunded_amount <= COALESCE(charge_amount, 0) + adjusted_amount",
        name="refunds_within_charge",
    ),
    CheckConstraint("(state = 'captured') = (charge_amount IS NOT NULL)", name="captured_has_charge"),
    CheckConstraint("(state = 'held') = (ended_at_ms IS NULL)", name="held_has_not_ended"),
    Index("request_by_workspace", "workspace_id", "mode", "id"),
    # What the log is narrowed down to, newest first. What is held is few, and most of the rest is captured.
    Index("request_by_key", "workspace_id", "mode", "key_id", "id"),
    Index("request_by_model", "workspace_id", "mode", "model", "id"),
    Index(
        "request_released",
        "workspace_id",
        "mode",
        "state",
        "id",
        sqlite_where=text("state = 'released'"),
        postgresql_where=text("state = 'released'"),
    ),
    Index(
        "request_by_failure",
        "workspace_id",
        "mode",
        "outcome",
        "id",
        sqlite_where=text("state = 'released'"),
        postgresql_where=text("state = 'released'"),
    ),
    Index(
        "request_by_fingerprint",
        "fingerprint",
        "key_id",
        "id",
        sqlite_where=text("fingerprint IS NOT NULL"),
        postgresql_where=text("fingerprint IS NOT NULL"),
    ),
    Index(
        "one_charge_per_parked_result",
        "parked_from",
        unique=True,
        sqlite_where=text("state = 'captured' AND parked_from IS NOT NULL"),
        postgresql_where=text("state = 'captured' AND parked_from IS NOT NULL"),
    ),
    Index(
        "request_held", "expires_at_ms", sqlite_where=text("state = 'held'"), postgresql_where=text("state = 'held'")
    ),
    Index(
        "request_with_result",
        "result_expires_at_ms",
        sqlite_where=text("result_ref IS NOT NULL"),
        postgresql_where=text("result_ref IS NOT NULL"),
    ),
    sqlite_with_rowid=False,
)

# The lots of those holds that no single lot covers. The rows stay when the hold ends, so that a refund finds what was burned.
hold_lot = Table(
    "hold_lot",
    metadata,
    Column("request_id", Text, ForeignKey("request.id"), primary_key=True),
    Column("lot_id", Text, ForeignKey("grant_lot.id"), primary_key=True),
    _amount("amount"),
    CheckConstraint("amount > 0", name="amount_is_positive"),
    Index("pin_by_lot", "lot_id"),
    sqlite_with_rowid=False,
)

# Answers of a few kilobytes; larger ones are files, which `result_ref` of their request names.
small_result = Table(
    "small_result",
    metadata,
    Column("request_id", Text, ForeignKey("request.id"), primary_key=True),
    Column("data", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

# What was asked for, word for word, where the workspace wants that kept: for as long as the pictures.
prompt = Table(
    "prompt",
    metadata,
    Column("request_id", Text, ForeignKey("request.id"), primary_key=True),
    Column("workspace_id", Text, ForeignKey("workspace.id"), nullable=False),
    _mode(),
    Column("text", Text, nullable=False),
    # How they are looked through, newest first.
    Index("prompt_by_workspace", "workspace_id", "mode", "request_id"),
    sqlite_with_rowid=False,
)

# What a request with an Idempotency-Key is answered with when it comes again: whatever became of the request named here.
idempotency = Table(
    "idempotency",
    metadata,
    Column("workspace_id", Text, ForeignKey("workspace.id"), primary_key=True),
    Column("mode", Text, primary_key=True),
    Column("endpoint", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("fingerprint", Text, nullable=False),
    Column("request_id", Text, ForeignKey("request.id"), nullable=False),
    _time("expires_at_ms"),
    Index("idempotency_by_expiry", "expires_at_ms"),
    sqlite_with_rowid=False,
)

# Refusals of content as they were told, so that a repeat is told the same without asking a provider again.
refusal = Table(
    "refusal",
    metadata,
    Column("request_id", Text, ForeignKey("request.id"), primary_key=True),
    Column("error_json", Text, nullable=False),
    _time("expires_at_ms"),
    sqlite_with_rowid=False,
)

# Results that were made and never charged, because their request was released before. One that is charged leaves this table.
parked_result = Table(
    "parked_result",
    metadata,
    Column("request_id", Text, ForeignKey("request.id"), primary_key=True),
    Column("ref", Text, nullable=False),
    Column("digest", Text, nullable=False),
    _time("expires_at_ms"),
    sqlite_with_rowid=False,
)

# One row per call to a provider, inserted before its bytes leave the house.
attempt = Table(
    "attempt",
    metadata,
    _id(),
    Column("request_id", Text, ForeignKey("request.id"), nullable=False),
    Column("n", Integer, nullable=False),
    Column("image_index", Integer, nullable=False),
    Column("provider", Text, nullable=False),
    Column("deployment", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("provider_request_id", Text),
    Column("upstream_status", Integer),
    Column("error_code", Text),
    Column("diagnostics", Text),
    Column("usage_json", Text),
    # What the provider charges the operator for this call, and where the figure comes from.
    _amount("cost_pico_usd", nullable=True),
    Column("cost_basis", Text),
    # When the provider's files were found to agree with this call; until then it is open.
    _time("explained_at_ms", nullable=True),
    _time("sent_at_ms"),
    _time("ended_at_ms", nullable=True),
    # When an answer came after all, though the call had been given up.
    _time("late_at_ms", nullable=True),
    UniqueConstraint("request_id", "n"),
    _one_of("state", "sent", "ok", "failed_free", "failed_billed", "unknown", "superseded"),
    _one_of("cost_basis", "reported", "estimated", "none"),
    CheckConstraint("(state = 'sent') = (ended_at_ms IS NULL)", name="sent_has_not_ended"),
    # The condition is repeated by the queries that use it; see `has_failed`. Calls that go well have no entry.
    Index(
        "attempt_that_failed",
        "id",
        "deployment",
        "state",
        sqlite_where=text("state IN ('failed_free', 'failed_billed', 'unknown')"),
        postgresql_where=text("state IN ('failed_free', 'failed_billed', 'unknown')"),
    ),
    sqlite_with_rowid=False,
)

# Calls that brought no picture.
has_failed = attempt.c.state.in_(
    [literal_column("'failed_free'"), literal_column("'failed_billed'"), literal_column("'unknown'")]
)

# A provider's usage file that was imported. Only what lies between `covers_from_ms` and `covers_until_ms` can be missed in it.
provider_file = Table(
    "provider_file",
    metadata,
    _id(),
    Column("provider", Text, nullable=False),
    Column("name", Text, nullable=False),
    # SHA-256 over the file, hexadecimal.
    Column("digest", Text, nullable=False),
    Column("line_count", BigInteger, nullable=False),
    _time("covers_from_ms"),
    _time("covers_until_ms"),
    _time("imported_at_ms"),
    # Until the last line is in, importing the file again goes on where it stopped.
    _time("completed_at_ms", nullable=True),
    UniqueConstraint("provider", "digest"),
    sqlite_with_rowid=False,
)

# One line of such a file: what the provider bills for a call, or for a part of one.
provider_statement = Table(
    "provider_statement",
    metadata,
    _id(),
    Column("provider", Text, nullable=False),
    Column("file_id", Text, ForeignKey("provider_file.id"), nullable=False),
    # Names the line's content, so that files which overlap bring it once.
    Column("line_key", Text, nullable=False),
    Column("provider_request_id", Text),
    _time("at_ms"),
    Column("model", Text, nullable=False),
    Column("deployment", Text),
    Column("resource", Text),
    Column("quantities_json", Text, nullable=False),
    _amount("amount_pico_usd"),
    # The call that it bills, and how that was found: by the provider's id for it, or by model, deployment and hour.
    Column("attempt_id", Text, ForeignKey("attempt.id")),
    Column("matched_by", Text),
    UniqueConstraint("provider", "line_key"),
    Index("statement_by_provider_request", "provider", "provider_request_id"),
    Index("statement_by_attempt", "attempt_id"),
    _one_of("matched_by", "request", "hour"),
    CheckConstraint("(attempt_id IS NULL) = (matched_by IS NULL)", name="matched_says_how"),
    sqlite_with_rowid=False,
)

# What does not agree between the provider's files and the calls, or did not until it was explained.
recon_finding = Table(
    "recon_finding",
    metadata,
    _id(),
    Column("provider", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("attempt_id", Text, ForeignKey("attempt.id")),
    Column("statement_id", Text, ForeignKey("provider_statement.id")),
    _amount("expected_pico_usd", nullable=True),
    _amount("billed_pico_usd"),
    Column("state", Text, nullable=False),
    Column("note", Text, nullable=False),
    _time("created_at_ms"),
    _time("closed_at_ms", nullable=True),
    UniqueConstraint("kind", "attempt_id"),
    UniqueConstraint("kind", "statement_id"),
    _one_of("kind", "no_attempt", "unknown_billed", "unknown_free", "price_differs", "not_billed"),
    _one_of("state", "open", "explained"),
    CheckConstraint("(attempt_id IS NULL) <> (statement_id IS NULL)", name="about_one_thing"),
    CheckConstraint("(state = 'open') = (closed_at_ms IS NULL)", name="open_is_not_closed"),
    Index("finding_to_explain", "id", sqlite_where=text("state = 'open'"), postgresql_where=text("state = 'open'")),
    sqlite_with_rowid=False,
)

# Enough to compute every charge again, for ever.
usage_record = Table(
    "usage_record",
    metadata,
    Column("request_id", Text, ForeignKey("request.id"), primary_key=True),
    Column("workspace_id", Text, ForeignKey("workspace.id"), nullable=False),
    _mode(),
    Column("key_id", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("usage_json", Text, nullable=False),
    Column("exact_pico_usd", BigInteger, nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("markup_ppm", BigInteger, nullable=False),
    Column("price_version_id", Text, ForeignKey("price_version.id"), nullable=False),
    _time("at_ms"),
    # The deployment that made the first picture; empty in records from before it was kept.
    Column("route", Text, nullable=False, server_default=text("''")),
    sqlite_with_rowid=False,
)

# Sums per day, kept in the settling transaction, so that reports do not read the whole history.
usage_day = Table(
    "usage_day",
    metadata,
    Column("workspace_id", Text, ForeignKey("workspace.id"), primary_key=True),
    Column("mode", Text, primary_key=True),
    Column("day", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("key_id", Text, primary_key=True),
    Column("route", Text, primary_key=True),
    Column("requests", BigInteger, nullable=False),
    Column("images", BigInteger, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("amount", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# The same for corrections, in the day in which they were made.
correction_day = Table(
    "correction_day",
    metadata,
    Column("workspace_id", Text, ForeignKey("workspace.id"), primary_key=True),
    Column("mode", Text, primary_key=True),
    Column("day", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("key_id", Text, primary_key=True),
    Column("route", Text, primary_key=True),
    Column("refunded", BigInteger, nullable=False),
    Column("adjusted", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# What requests were charged and what their calls cost, by the UTC day in which they ended: added up behind them, see
# billing/margins.py. Costs are those of calls that made a picture for which was charged, as they are known, and all others.
margin_day = Table(
    "margin_day",
    metadata,
    Column("mode", Text, primary_key=True),
    Column("day", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("provider", Text, primary_key=True),
    Column("requests", BigInteger, nullable=False),
    Column("charged", BigInteger, nullable=False),
    Column("reported_pico_usd", BigInteger, nullable=False),
    Column("estimated_pico_usd", BigInteger, nullable=False),
    Column("absorbed_pico_usd", BigInteger, nullable=False),
    Column("unknown_calls", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# One row: until which request those sums have come, and how often a cost was changed behind them.
margin_progress = Table(
    "margin_progress",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("until_id", Text, nullable=False),
    Column("changes", BigInteger, nullable=False),
    CheckConstraint("id = 1", name="progress_is_one_row"),
)

# Accounts at providers beside those of omixa.toml. The credential is encrypted (access/envelopes.py) and bound to the name, the
# provider, the kind and the endpoint's origin. Where tokens are fetched, the empty text is sealed like that, so that nobody who
# can write here has one sent elsewhere.
provider_account = Table(
    "provider_account",
    metadata,
    Column("name", Text, primary_key=True),
    Column("provider", Text, nullable=False),
    # Empty for the provider's own.
    Column("endpoint", Text, nullable=False),
    Column("auth", Text, nullable=False),
    Column("entra_scope", Text, nullable=False),
    Column("models_json", Text, nullable=False),
    Column("deployment", Text, nullable=False),
    Column("region", Text, nullable=False),
    Column("weight", BigInteger, nullable=False),
    Column("priority", BigInteger, nullable=False),
    Column("qualities_json", Text, nullable=False),
    Column("requests_per_minute", BigInteger, nullable=False),
    Column("images_per_minute", BigInteger, nullable=False),
    Column("concurrency", BigInteger, nullable=False),
    # 0 for one that serves nothing for now.
    Column("enabled", Integer, nullable=False),
    # Which master key wraps the data key, the wrapped key, and what it encrypts.
    Column("key_id", Text, nullable=False),
    Column("wrapped_key", LargeBinary, nullable=False),
    Column("ciphertext", LargeBinary, nullable=False),
    # The first digits of the credential's SHA-256, by which people tell which one it is; empty where tokens are fetched.
    Column("fingerprint", Text, nullable=False),
    # Another one after each change that servers have to know.
    Column("revision", Text, nullable=False),
    _time("created_at_ms"),
    _time("updated_at_ms"),
    _one_of("auth", "api_key", "bearer_token", "entra"),
    CheckConstraint("enabled IN (0, 1)", name="enabled_or_not"),
    sqlite_with_rowid=False,
)

# A serving process. Its epoch grows at each start; a request belongs to one epoch, so that a predecessor can be fenced off.
# What a server has learned of a deployment, for its next start. Times count from `saved_at_ms`.
route_memory = Table(
    "route_memory",
    metadata,
    Column("node_id", Text, primary_key=True),
    Column("deployment", Text, primary_key=True),
    # HMAC-SHA-256 over the address and the credential: with another one nothing of this holds.
    Column("digest", Text, nullable=False),
    # How long it was still left alone: NULL for not at all, 0 or less where one call might try it.
    Column("cooling_ms", BigInteger, nullable=True),
    Column("unreachable", Integer, nullable=False),
    Column("strikes", BigInteger, nullable=False),
    Column("ejections", BigInteger, nullable=False),
    # How long ago the last pictures came and how long each had taken.
    Column("calls_json", Text, nullable=False),
    _time("saved_at_ms"),
    sqlite_with_rowid=False,
)

# Providers' credentials that were refused, or whose account is exhausted: out of use at every server until the operator acts.
refused_credential = Table(
    "refused_credential",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("reason", Text, nullable=False),
    # 1 where the account is exhausted.
    Column("spent", Integer, nullable=False),
    _time("refused_at_ms"),
    sqlite_with_rowid=False,
)

node = Table(
    "node",
    metadata,
    _id(),
    Column("epoch", BigInteger, nullable=False),
    _time("heartbeat_at_ms"),
    sqlite_with_rowid=False,
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("details_json", Text, nullable=False),
    # Unique, so that of two writers who continue the same entry only one can: the chain never forks.
    Column("prev_hash", Text, nullable=False),
    Column("hash", Text, nullable=False),
    _time("at_ms"),
    Index("one_successor_per_entry", "prev_hash", unique=True),
    Index("audit_by_actor", "actor", "seq"),
    Index("audit_by_action", "action", "seq"),
    Index("audit_by_target", "target", "seq"),
)

# The last group of operations of each connection that writes, where several processes share a PostgreSQL database: it is part
# of the group's transaction, so it tells what became of a commit whose answer was lost.
writer = Table(
    "writer",
    metadata,
    _id(),
    Column("last_group", BigInteger, nullable=False),
    _time("at_ms"),
    sqlite_with_rowid=False,
)

# Tables whose rows may never be changed or deleted; triggers enforce it on both databases.
IMMUTABLE = (transfer, price_version, usage_record, audit_log, hold_lot, statement)
