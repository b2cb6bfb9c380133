"""The first page of operators: what is broken, and what will change by itself."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from omixa.billing import reconciliation
from omixa.billing.reconciliation import FindingKind
from omixa.billing.verify import Verification
from omixa.gateway.accounts import UNREADABLE
from omixa.gateway.price_lists import PublishedList, published_lists
from omixa.routing.router import Standing
from omixa.storage.database import Transaction
from omixa.usage import holdings, operators
from omixa.usage.operators import CallMix
from omixa.web.console.visit import Visit

# What failed longer ago has been seen, or has ended.
_RECENT_MS = 3_600_000
# Whoever uses a model needs some weeks to change to another one.
_SOON = datetime.timedelta(days=90)

Look = Literal["bad", "warn", "quiet"]


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that does not work, or waits for somebody. `path` leads to it below the root."""

    look: Look
    title: str
    note: str
    path: str


@dataclass(frozen=True, slots=True)
class Change:
    """Something that will be different from a UTC day on."""

    day: datetime.date
    title: str
    note: str
    path: str


@dataclass(frozen=True, slots=True)
class _Read:
    findings: Mapping[tuple[str, FindingKind], int]
    suspended: int
    parked: int
    mix: Mapping[str, CallMix]
    lists: list[PublishedList]


async def show_overview(visit: Visit) -> None:
    """Send the page."""
    services, today = visit.services, visit.services.pipeline.today()

    def read(tx: Transaction) -> _Read:
        return _Read(
            reconciliation.count_open(tx),
            holdings.count_suspended(tx),
            operators.count_parked(tx),
            operators.call_mix(tx, since_ms=tx.now_ms() - _RECENT_MS),
            published_lists(tx, services.catalogue, today),
        )

    found = await services.database.read(read)
    standings = services.router.standings()
    calls = sum(one.calls for one in found.mix.values())
    await visit.send(
        "operator/overview.html",
        "This gateway",
        section="overview",
        troubles=[
            *_of_ledger(services.fail_stop.reason, services.sweeper.last_verified),
            *_of_routes(standings),
            *_waiting(found),
        ],
        changes=sorted(_changes(visit, found.lists, today), key=lambda change: (change.day, change.title)),
        verified=services.sweeper.last_verified,
        routes=len(standings),
        in_use=sum(one.state == "closed" for one in standings),
        in_flight=sum(one.in_flight for one in standings),
        calls_made=calls,
        failed=sum(one.failed for one in found.mix.values()),
        is_cut=calls >= operators.MAX_CALLS,
        calls=[visit.operator_call(path) for path in ("routes", "findings", "prices")],
        commands=["omixa ledger verify", "omixa routes show --json"],
    )


def _of_ledger(failure: str | None, verified: tuple[Verification, int] | None) -> Iterator[Trouble]:
    if failure is not None:
        yield Trouble("bad", "This server is stopping", failure, "readyz")
    if verified is not None and verified[0].findings:
        first, *others = verified[0].findings
        more = f", and {len(others)} more" if others else ""
        yield Trouble("bad", "The ledger does not verify", f"{first}{more}. See omixa ledger verify", "docs/billing")


def _of_routes(standings: list[Standing]) -> Iterator[Trouble]:
    disabled: dict[tuple[str, str], int] = {}
    for one in standings:
        if one.state == "disabled":
            key = one.deployment.account or one.deployment.id, one.reason or ""
            disabled[key] = disabled.get(key, 0) + 1
    for (name, reason), count in disabled.items():
        routes = "1 route" if count == 1 else f"{count} routes"
        if reason == UNREADABLE:
            yield Trouble("bad", f"{name} is out of use", "Its stored key does not open", f"operator/accounts/{name}")
            continue
        yield Trouble(
            "bad", f"{name} is out of use", f"Its provider refuses its key: {reason}. {routes}", "operator/routes"
        )
    for one in standings:
        if one.state == "cooling":
            note = f"It failed and is left alone for {round(one.cooling_s) or 1} s more"
            yield Trouble("warn", one.deployment.id, note, "operator/routes")
        elif one.state == "half_open":
            yield Trouble("warn", one.deployment.id, "It failed; the next call tries it", "operator/routes")


def _waiting(found: _Read) -> Iterator[Trouble]:
    for (provider, kind), count in found.findings.items():
        title = f"{count} finding{'s' if count != 1 else ''} of {provider} to explain"
        yield Trouble("warn", title, kind.replace("_", " "), "operator/findings")
    if found.suspended:
        several = found.suspended != 1
        title = f"{found.suspended} workspace{'s' if several else ''} may not spend"
        yield Trouble("warn", title, "A payment was taken back after it had been spent", "operator/workspaces")
    if found.parked:
        title = f"{found.parked} result{'s' if found.parked != 1 else ''} made and never charged"
        yield Trouble("quiet", title, "A repeat of the request is charged for it, within a day", "docs/retries")


def _changes(visit: Visit, lists: list[PublishedList], today: datetime.date) -> Iterator[Change]:
    for model in visit.services.catalogue.models.values():
        path = f"docs/models/{model.id}"
        if model.retires is not None and today < model.retires <= today + _SOON:
            follows = f"{model.successor} takes its place" if model.successor else "Nothing takes its place"
            yield Change(model.retires, f"{model.id} retires", follows, path)
    for one in lists:
        if one.standing == "to come":
            title = f"New prices of {one.model}"
            yield Change(one.prices.effective_from, title, one.prices.version, "operator/prices")
