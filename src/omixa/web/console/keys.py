"""Keys: the list, a new one, and one with its budgets, its end and what takes its place."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

from omixa.access import store
from omixa.access.store import KeyRow, KeyState
from omixa.billing import budgets
from omixa.billing.budgets import PERIODS, Budget, Period
from omixa.domain.access import Mode, Scope, Secret
from omixa.domain.times import end_of, utc_date
from omixa.errors import InvalidRequest, OmixaError, RoleForbidden
from omixa.gateway.workspaces import HOUR_MS, MAX_KEY_NAME
from omixa.storage.database import Transaction
from omixa.usage import analytics
from omixa.usage.analytics import Rollup
from omixa.web.console.charts import share
from omixa.web.console.visit import Visit, nothing_here

# How long an old key may go on, in hours, as the page offers it.
OVERLAPS: Final[Mapping[str, str]] = {
    "24": "for a day",
    "168": "for a week",
    "1": "for an hour",
    "0": "not at all: revoke it now",
}
# Whoever revokes a key should know who uses it.
_RECENT_DAYS = 7


# What a key with a scope does, as the pages say it.
SCOPE_WORDS: Final[Mapping[Scope, str]] = {
    "manage_keys": "create, limit, roll and revoke keys for pictures",
    "manage_members": "let people in and take them out",
    "manage_alerts": "say when somebody is told that credit runs low",
}


@dataclass(frozen=True, slots=True)
class KeyLine:
    """A key in the list: its state, its budgets, and what its requests cost this month."""

    key: KeyRow
    state: KeyState
    budgets: Sequence[tuple[Budget, int]]
    month: Rollup | None


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was made a moment ago. The secret is on one page, once."""

    id: str
    secret: Secret
    signing_secret: Secret | None = None


def key_names(keys: Sequence[KeyRow], mode: Mode) -> dict[str, str]:
    """Return what keys of a mode are called by their ids: those without a name as they are shown, without their secret."""
    return {key.id: key.name or f"omx_{key.mode}_…{key.last4}" for key in keys if key.mode == mode}


# ------------------------------------------------------------------------------------------------------------------- list


async def list_keys(visit: Visit) -> None:
    """Send the keys of the mode."""
    await _send_list(visit)


async def create_key(visit: Visit) -> None:
    """Create a key and show it, this once."""
    try:
        new = await _create(visit)
    except OmixaError as error:
        await _send_list(visit, error=error)
        return
    await _send_list(visit, new=new)


async def _create(visit: Visit) -> NewKey:
    form, workspaces = visit.form, visit.services.workspaces
    signed = form.text("signed") == "yes"
    # What has no such name is refused by its name.
    scopes = cast("list[Scope]", form.all("scope"))
    key_id, secret = await workspaces.create_key(
        workspace=visit.member.workspace,
        mode=visit.mode,
        name=form.text("name"),
        models=[visit.services.catalogue.resolve(name).id for name in form.all("model")] or None,
        actor=visit.member.person_id,
        requires_signature=signed,
        budgets={period: amount for period, amount in _budgets(visit).items() if amount is not None},
        expires_at_ms=_expiry(visit),
        scopes=scopes,
        acts_for=visit.member.person,
    )
    return NewKey(key_id, secret, workspaces.signing_secret(key_id) if signed else None)


async def _send_list(visit: Visit, *, error: OmixaError | None = None, new: NewKey | None = None) -> None:
    lines, now_ms = await visit.services.database.read(lambda tx: _read_list(visit, tx))
    form = visit.form
    await visit.send(
        "console/keys.html",
        "Keys",
        section="keys",
        status=200 if error is None else error.status,
        error=error,
        new=new,
        lines=[line for line in lines if line.state == "active"],
        ended=[line for line in lines if line.state != "active"],
        models=visit.services.catalogue.model_ids,
        # What was written is not lost by a mistake.
        given={name: form.text(name) for name in ("name", "budget-day", "budget-month", "expires", "signed")}
        if error is not None
        else {},
        given_models=form.all("model") if error is not None else [],
        given_scopes=form.all("scope") if error is not None else [],
        scopes=SCOPE_WORDS,
        max_name=MAX_KEY_NAME,
        tomorrow=utc_date(now_ms) + datetime.timedelta(days=1),
        commands=[f"omixa keys list --workspace {visit.member.workspace} --json"],
        calls=[
            visit.call("keys"),
            visit.call("usage/rollups", period_type="month", group_by="key"),
            *visit.change("manage_keys", "POST", "keys", name="shop", budget_month="25.00"),
        ],
    )


def _read_list(visit: Visit, tx: Transaction) -> tuple[list[KeyLine], int]:
    now_ms = tx.now_ms()
    account_id = visit.account_id(tx)
    own: dict[str, list[tuple[Budget, int]]] = {}
    for one in budgets.list_budgets(tx, account_id):
        if one.subject.key_id is not None:
            own.setdefault(one.subject.key_id, []).append((one, share(one.spent_micro_usd, one.limit_micro_usd)))
    today = utc_date(now_ms)
    sums = analytics.rollups(
        tx,
        visit.member.workspace_id,
        visit.mode,
        period_type="month",
        since=today.replace(day=1).isoformat(),
        until=today.isoformat(),
        by=frozenset({"key"}),
    )
    by_key = {one.key_id: one for one in sums}
    found = [key for key in store.list_keys(tx, visit.member.workspace) if key.mode == visit.mode]
    lines = [KeyLine(key, key.state(now_ms), own.get(key.id, ()), by_key.get(key.id)) for key in reversed(found)]
    return lines, now_ms


# -------------------------------------------------------------------------------------------------------------------- one


async def show_key(visit: Visit) -> None:
    """Send a key: who may call what with it, what it may spend, who uses it."""
    await _send_one(visit)


async def change_key(visit: Visit) -> None:
    """Set the budgets of a key and its end; what is left empty is taken away."""
    key_id, services, actor = visit.identifier("key"), visit.services, visit.member.person_id
    try:
        limits, expires_at_ms = _budgets(visit), _expiry(visit)
        # This first, because only a day in the past can be refused here.
        await services.workspaces.set_key_expiry(key_id, expires_at_ms, actor=actor, owner=visit.owner, by=visit.member)
        await services.allowances.set_key_budget(key_id, limits, actor=actor, owner=visit.owner)
    except (InvalidRequest, RoleForbidden) as error:
        await _send_one(visit, error=error)
        return
    await visit.redirect(f"{visit.home}/keys/{key_id}")


async def roll_key(visit: Visit) -> None:
    """Create a key in the place of another one, which goes on for a while, and show it, this once."""
    key_id, overlap = visit.identifier("key"), visit.form.text("overlap")
    try:
        if overlap not in OVERLAPS:
            raise InvalidRequest("Choose how long the old key goes on.", param="overlap")
        new_id, secret = await visit.services.workspaces.roll_key(
            key_id, overlap_ms=int(overlap) * HOUR_MS, actor=visit.member.person_id, owner=visit.owner, by=visit.member
        )
    except (InvalidRequest, RoleForbidden) as error:
        await _send_one(visit, error=error)
        return
    await _send_list(visit, new=NewKey(new_id, secret))


async def revoke_key(visit: Visit) -> None:
    """Revoke a key at once."""
    key_id = visit.identifier("key")
    await visit.services.workspaces.revoke_key(key_id, actor=visit.member.person_id, owner=visit.owner)
    await visit.redirect(f"{visit.home}/keys")


@dataclass(frozen=True, slots=True)
class _Read:
    key: KeyRow
    budgets: Mapping[Period, Budget]
    recent: Rollup | None
    now_ms: int


async def _send_one(visit: Visit, *, error: OmixaError | None = None) -> None:
    key_id = visit.identifier("key")
    read = await visit.services.database.read(lambda tx: _read_one(visit, tx, key_id))
    if read is None:
        raise nothing_here()
    await visit.send(
        "console/key.html",
        "Key",
        section="keys",
        status=200 if error is None else error.status,
        error=error,
        key=read.key,
        state=read.key.state(read.now_ms),
        periods=PERIODS,
        budgets=read.budgets,
        shares={period: share(one.spent_micro_usd, one.limit_micro_usd) for period, one in read.budgets.items()},
        recent=read.recent,
        recent_days=_RECENT_DAYS,
        scopes=SCOPE_WORDS,
        overlaps=OVERLAPS,
        # The end of a day is written as that day.
        expires="" if read.key.expires_at_ms is None else utc_date(read.key.expires_at_ms - 1).isoformat(),
        commands=[f"omixa keys list --workspace {visit.member.workspace} --json"],
        calls=[
            visit.call(f"keys/{key_id}"),
            visit.call("usage/requests", key_id=key_id),
            visit.call("usage/rollups", group_by="key"),
            *(() if read.key.scopes else _changes(visit, key_id)),
            *visit.change("manage_keys", "POST", f"keys/{key_id}/revoke"),
        ],
    )


def _changes(visit: Visit, key_id: str) -> list[str]:
    """Return the calls that change a key. One with scopes is changed by people alone."""
    return [
        *visit.change("manage_keys", "PATCH", f"keys/{key_id}", budget_month="25.00"),
        *visit.change("manage_keys", "POST", f"keys/{key_id}/roll", overlap_hours=24),
    ]


def _read_one(visit: Visit, tx: Transaction, key_id: str) -> _Read | None:
    key = store.find_key(tx, visit.member.workspace_id, visit.mode, key_id)
    if key is None:
        return None
    found = budgets.list_budgets(tx, visit.account_id(tx), key_id)
    today = utc_date(tx.now_ms())
    sums = analytics.rollups(
        tx,
        visit.member.workspace_id,
        visit.mode,
        period_type="day",
        since=(today - datetime.timedelta(days=_RECENT_DAYS - 1)).isoformat(),
        until=today.isoformat(),
        by=frozenset({"key"}),
    )
    days = [one for one in sums if one.key_id == key_id]
    recent = (
        Rollup(
            days[-1].period,
            None,
            key_id,
            None,
            requests=sum(one.requests for one in days),
            images=sum(one.images for one in days),
        )
        if days
        else None
    )
    return _Read(key, {one.period: one for one in found if one.subject.key_id == key_id}, recent, tx.now_ms())


# ------------------------------------------------------------------------------------------------------------------ fields


def _budgets(visit: Visit) -> dict[Period, int | None]:
    return {period: visit.form.usd(f"budget-{period}") for period in PERIODS}


def _expiry(visit: Visit) -> int | None:
    text = visit.form.text("expires")
    if not text:
        return None
    try:
        return end_of(datetime.date.fromisoformat(text))
    except (ValueError, OverflowError) as error:
        raise InvalidRequest("Write the last day of a key as 2027-01-31.", param="expires") from error
