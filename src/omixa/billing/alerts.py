"""Low-balance alerts: decided where the balance changes, written with it, told once for each crossing.

An account that has been alerted is not alerted again before its balance was at least a tenth above the threshold, so that a
balance that goes up and down around it says so once.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import bindparam, select, update

from omixa.domain.money import format_usd
from omixa.storage import outbox
from omixa.storage.database import Row, Transaction
from omixa.storage.tables import account, workspace

BALANCE_LOW = "balance.low"
# The same as a letter, where somebody wants one: it fails and is repeated by itself.
BALANCE_LOW_LETTER = "balance.low.letter"
# The balance has recovered when it is this part of the threshold above it.
HYSTERESIS_PART = 10

_set_alerted = (
    update(account)
    .where(account.c.id == bindparam("account_id"), account.c.alerted != bindparam("alerted"))
    .values(alerted=bindparam("alerted"))
)
_set_threshold = (
    update(account)
    .where(account.c.id == bindparam("account_id"))
    .values(alert_below=bindparam("below"), alert_email=bindparam("email"), alerted=0)
    .returning(account.c.posted, account.c.alert_below, account.c.alerted)
)
_threshold = select(account.c.alert_below, account.c.alert_email, account.c.alerted).where(
    account.c.id == bindparam("account_id")
)
_subject = (
    select(workspace.c.name, account.c.mode, account.c.alert_email)
    .join(workspace, workspace.c.id == account.c.workspace_id)
    .where(account.c.id == bindparam("account_id"))
)


@dataclass(frozen=True, slots=True)
class Threshold:
    """Below which balance, in micro-USD, somebody is told, by which e-mail besides, and whether it is that low; None is never."""

    below_micro_usd: int | None
    email: str | None
    is_alerted: bool


def read_threshold(tx: Transaction, account_id: str) -> Threshold:
    """Return when somebody is told of an account, which exists."""
    row = tx.first(_threshold, account_id=account_id)
    assert row is not None, "the account was found before"
    return Threshold(row["alert_below"], row["alert_email"], bool(row["alerted"]))


def set_threshold(tx: Transaction, account_id: str, below_micro_usd: int | None, email: str | None) -> None:
    """Alert when an account's posted balance falls below an amount, from now on; None ends that. A low one is told at once."""
    row = tx.first(_set_threshold, account_id=account_id, below=below_micro_usd, email=email)
    assert row is not None, "the account was found in this transaction"
    consider(tx, account_id, row)


def consider(tx: Transaction, account_id: str, now: Row) -> None:
    """Write an alert when a balance has crossed its threshold. `now` has the account's posted, alert_below and alerted."""
    below, posted = now["alert_below"], now["posted"]
    if below is None:
        return
    if posted < below and not now["alerted"]:
        if tx.execute(_set_alerted, account_id=account_id, alerted=1):
            _tell(tx, account_id, posted, below)
    elif now["alerted"] and posted >= below + below // HYSTERESIS_PART:
        tx.execute(_set_alerted, account_id=account_id, alerted=0)


def _tell(tx: Transaction, account_id: str, posted: int, below: int) -> None:
    row = tx.first(_subject, account_id=account_id)
    assert row is not None, "the account was updated in this transaction"
    payload = {
        "workspace": row["name"],
        "mode": row["mode"],
        "posted": format_usd(posted),
        "threshold": format_usd(below),
    }
    outbox.put(tx, BALANCE_LOW, payload)
    if row["alert_email"]:
        outbox.put(tx, BALANCE_LOW_LETTER, payload | {"email": row["alert_email"]})
