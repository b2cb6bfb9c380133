"""What operators correct: refunds of a charge, and charges rated again at another price version. Each change is audited."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from omixa.access import store
from omixa.billing import corrections, ledger
from omixa.billing.corrections import Adjustment, Refund, Verdict
from omixa.billing.prices import find_prices
from omixa.billing.rerating import RatedUsage, usage_after
from omixa.domain.access import Mode
from omixa.domain.models import PriceList
from omixa.domain.money import format_usd
from omixa.domain.times import start_of
from omixa.errors import InvalidRequest
from omixa.gateway.workspaces import require_reason
from omixa.storage.database import Database, Transaction
from omixa.usage import records

# Requests that are rated again in one transaction, so that the ledger is never busy with it for long.
BATCH = 100
# Requests that a report names one by one; further ones are counted.
MAX_NAMED = 1000
_MAX_KEY = 100


@dataclass(frozen=True, slots=True)
class Rerating:
    """Which charges are rated again, and how.

    Both days belong to the range and are UTC. The same re-rating posts once for each request, however often it is run; another
    `label` makes it another one.
    """

    model: str
    mode: Mode
    since: datetime.date
    until: datetime.date
    price_version: str
    label: str = ""

    @property
    def id(self) -> str:
        """Return what the re-rating is called in the ledger."""
        content = "|".join(
            (self.model, self.mode, str(self.since), str(self.until), self.price_version, self.label),
        )
        return "rerate_" + hashlib.sha256(content.encode()).hexdigest()[:16]

    def reference(self, request_id: str) -> str:
        """Return the transfer's reference for a request, which is unique."""
        return f"{self.id}:{request_id}"


@dataclass(slots=True)
class WorkspaceSums:
    """What a re-rating means for one workspace. Amounts are micro-USD; those of requests left to people are not in them."""

    requests: int = 0
    old_micro_usd: int = 0
    new_micro_usd: int = 0


@dataclass(slots=True)
class ReratingReport:
    """What a re-rating did or, as a dry run, would do. `left` names up to MAX_NAMED requests that people have to look at."""

    rerating: Rerating
    dry_run: bool
    counts: dict[Verdict, int] = field(default_factory=dict)
    workspaces: dict[str, WorkspaceSums] = field(default_factory=dict)
    left: list[Adjustment] = field(default_factory=list)

    def add(self, workspace: str, adjustment: Adjustment) -> None:
        """Count one request."""
        verdict = adjustment.verdict
        self.counts[verdict] = self.counts.get(verdict, 0) + 1
        if verdict in {"uncovered", "refunded"}:
            if len(self.left) < MAX_NAMED:
                self.left.append(adjustment)
            return
        sums = self.workspaces.setdefault(workspace, WorkspaceSums())
        sums.requests += 1
        sums.old_micro_usd += adjustment.old_micro_usd
        sums.new_micro_usd += adjustment.old_micro_usd if verdict == "repeated" else adjustment.new_micro_usd


class Corrections:
    """Refunds and re-ratings. `actor` in the methods is who the audit log names."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def refund(
        self, request_id: str, *, amount_micro_usd: int | None, reason: str, key: str | None, actor: str
    ) -> Refund:
        """Refund a part of a charge, or all that is left of it. Raises as `corrections.refund` does."""
        require_reason(reason)
        if amount_micro_usd is not None and amount_micro_usd <= 0:
            raise InvalidRequest("The amount must be above 0.", param="amount")
        if key is not None and not 1 <= len(key) <= _MAX_KEY:
            raise InvalidRequest(f"A key has 1 to {_MAX_KEY} characters.", param="key")

        def operation(tx: Transaction) -> Refund:
            made = corrections.refund(tx, request_id, amount_micro_usd, reason=reason, key=key)
            if not made.repeated:
                records.record_correction(tx, request_id, refunded=made.amount_micro_usd)
                details = {
                    "request": request_id,
                    "amount": format_usd(made.amount_micro_usd),
                    "reason": reason,
                    "key": key,
                }
                store.audit(tx, actor=actor, action="refund.created", target=made.transfer_id, details=details)
            return made

        return await self._database.write(operation)

    async def rerate(self, rerating: Rerating, *, reason: str, actor: str, dry_run: bool) -> ReratingReport:
        """Rate charges again and post what differs as adjustments of today. Raises InvalidRequest.

        Requests are taken in the order of their ids. When this is interrupted, running it again goes on where it stopped.
        """
        require_reason(reason)
        prices = await self._prices(rerating)
        report = ReratingReport(rerating, dry_run)
        available: dict[str, int] = {}
        last = ""
        while page := await self._page(rerating, last):
            if dry_run:
                await self._foresee(page, prices, report, available)
            else:
                await self._adjust(page, prices, report, reason=reason, actor=actor)
            last = page[-1].request_id
        return report

    async def _prices(self, rerating: Rerating) -> PriceList:
        if rerating.since > rerating.until:
            raise InvalidRequest("The first day is after the last one.", param="from")
        found = await self._database.read(lambda tx: find_prices(tx, rerating.price_version))
        if found is None or found.model != rerating.model:
            raise InvalidRequest(
                f'"{rerating.price_version[:120]}" is not a price version of {rerating.model}; omixa prices list shows them.',
                param="price-version",
            )
        return found.prices

    async def _page(self, rerating: Rerating, last: str) -> Sequence[RatedUsage]:
        return await self._database.read(
            lambda tx: usage_after(
                tx,
                last,
                model=rerating.model,
                mode=rerating.mode,
                since_ms=start_of(rerating.since),
                until_ms=start_of(rerating.until + datetime.timedelta(days=1)),
                limit=BATCH,
            )
        )

    async def _adjust(
        self, page: Sequence[RatedUsage], prices: PriceList, report: ReratingReport, *, reason: str, actor: str
    ) -> None:
        rerating = report.rerating

        def operation(tx: Transaction) -> list[Adjustment]:
            made = [
                corrections.adjust(
                    tx,
                    usage.request_id,
                    usage.price(prices),
                    reference=rerating.reference(usage.request_id),
                    reason=reason,
                )
                for usage in page
            ]
            posted = [one for one in made if one.verdict == "posted"]
            for one in posted:
                records.record_correction(tx, one.request_id, adjusted=one.difference_micro_usd)
            if posted:
                details = {
                    "model": rerating.model,
                    "mode": rerating.mode,
                    "from": str(rerating.since),
                    "to": str(rerating.until),
                    "price_version": rerating.price_version,
                    "label": rerating.label,
                    "reason": reason,
                    "first_request": posted[0].request_id,
                    "last_request": posted[-1].request_id,
                    "transfers": len(posted),
                    "difference": format_usd(sum(one.difference_micro_usd for one in posted)),
                }
                store.audit(tx, actor=actor, action="charges.rerated", target=rerating.id, details=details)
            return made

        for usage, one in zip(page, await self._database.write(operation), strict=True):
            report.add(usage.workspace, one)

    async def _foresee(
        self, page: Sequence[RatedUsage], prices: PriceList, report: ReratingReport, available: dict[str, int]
    ) -> None:
        """Decide as `_adjust` would, without writing. `available` is what each account would have left so far."""

        def operation(tx: Transaction) -> list[Adjustment]:
            return [_foreseen(tx, usage, prices, report.rerating, available) for usage in page]

        for usage, one in zip(page, await self._database.read(operation), strict=True):
            report.add(usage.workspace, one)


def _foreseen(
    tx: Transaction, usage: RatedUsage, prices: PriceList, rerating: Rerating, available: dict[str, int]
) -> Adjustment:
    if usage.account_id not in available:
        available[usage.account_id] = ledger.balance(tx, usage.account_id).available
    new = usage.price(prices)
    foreseen = corrections.foresee(
        tx, usage.request_id, new, reference=rerating.reference(usage.request_id), available=available[usage.account_id]
    )
    if foreseen.verdict == "posted":
        available[usage.account_id] -= foreseen.difference_micro_usd
    return foreseen
