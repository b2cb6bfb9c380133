"""What recorded usage would cost at other prices. Usage, price version and markup of every charge are kept for this, for ever."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import msgspec
from sqlalchemy import BigInteger, Integer, bindparam, func, select

from omixa.billing.prices import load_prices
from omixa.billing.pricing import rate
from omixa.domain.access import Mode
from omixa.domain.images import Usage
from omixa.domain.models import PriceList
from omixa.errors import InvalidRequest
from omixa.storage.database import Row, Transaction
from omixa.storage.tables import request, usage_record, workspace

_alike = (usage_record.c.model, usage_record.c.usage_json, usage_record.c.markup_ppm, usage_record.c.price_version_id)
# Requests that used the same cost the same: most of a month are like many others.
_usage_alike = (
    select(
        workspace.c.name.label("workspace"),
        *_alike,
        func.min(usage_record.c.request_id).label("request_id"),
        func.count().label("requests"),
        func.sum(usage_record.c.amount).label("charged"),
    )
    .join(workspace, workspace.c.id == usage_record.c.workspace_id)
    .where(
        usage_record.c.mode == bindparam("mode"),
        usage_record.c.at_ms >= bindparam("since_ms", type_=BigInteger),
        usage_record.c.at_ms < bindparam("until_ms", type_=BigInteger),
    )
    .group_by(workspace.c.name, *_alike)
)
_usage = (
    select(
        usage_record,
        workspace.c.name.label("workspace"),
        request.c.account_id,
    )
    .join(workspace, workspace.c.id == usage_record.c.workspace_id)
    .join(request, request.c.id == usage_record.c.request_id)
    .where(
        usage_record.c.mode == bindparam("mode"),
        usage_record.c.at_ms >= bindparam("since_ms", type_=BigInteger),
        usage_record.c.at_ms < bindparam("until_ms", type_=BigInteger),
    )
    .order_by(usage_record.c.request_id)
)
_usage_after = _usage.where(
    usage_record.c.model == bindparam("model"), usage_record.c.request_id > bindparam("after")
).limit(bindparam("limit", type_=Integer))


@dataclass(frozen=True, slots=True)
class RatedUsage:
    """What a request used and what was charged for it, in micro-USD."""

    request_id: str
    workspace: str
    account_id: str
    model: str
    usages: tuple[Usage, ...]
    charged_micro_usd: int
    markup_ppm: int
    price_version: str

    def price(self, prices: PriceList) -> int:
        """Return what the same usage costs by another list, at the same markup. Raises InvalidRequest when that is not known."""
        return _price(self.request_id, self.usages, prices, self.markup_ppm)


def _price(request_id: str, usages: tuple[Usage, ...], prices: PriceList, markup_ppm: int) -> int:
    try:
        return rate(usages, prices, markup_ppm=markup_ppm).amount_micro_usd
    except ValueError as error:
        raise InvalidRequest(f"{request_id} cannot be rated by {prices.version}: {error}") from error


def usage_after(
    tx: Transaction, request_id: str, *, model: str, mode: Mode, since_ms: int, until_ms: int, limit: int
) -> list[RatedUsage]:
    """Return up to `limit` of a model's charges of a time, in the order of their requests, from behind one of them on."""
    rows = tx.all(
        _usage_after, after=request_id, model=model, mode=mode, since_ms=since_ms, until_ms=until_ms, limit=limit
    )
    return [_rated(row) for row in rows]


def _rated(row: Row) -> RatedUsage:
    return RatedUsage(
        request_id=row["request_id"],
        workspace=row["workspace"],
        account_id=row["account_id"],
        model=row["model"],
        usages=msgspec.json.decode(row["usage_json"], type=tuple[Usage, ...]),
        charged_micro_usd=row["amount"],
        markup_ppm=row["markup_ppm"],
        price_version=row["price_version_id"],
    )


@dataclass(frozen=True, slots=True)
class PriceComparison:
    """What a workspace's requests to a model cost by two price lists. Amounts are micro-USD, `charged` is what was charged."""

    workspace: str
    model: str
    requests: int = 0
    charged_micro_usd: int = 0
    old_micro_usd: int = 0
    new_micro_usd: int = 0

    @property
    def difference_micro_usd(self) -> int:
        """Return how much more the new list costs."""
        return self.new_micro_usd - self.old_micro_usd


def compare_prices(
    tx: Transaction,
    old: Mapping[str, PriceList],
    new: Mapping[str, PriceList],
    *,
    mode: Mode,
    since_ms: int,
    until_ms: int,
) -> list[PriceComparison]:
    """Rate the usage of a time by two lists for each model and add up by workspace and model, in the order of the alphabet.

    Models that `new` does not name are left out; for one that `old` does not name, the list counts that was charged by.
    """
    found: dict[tuple[str, str], PriceComparison] = {}
    charged_by: dict[str, PriceList] = {}
    for group in tx.each(_usage_alike, mode=mode, since_ms=since_ms, until_ms=until_ms):
        model, version = group["model"], group["price_version_id"]
        if model not in new:
            continue
        before = old.get(model) or charged_by.get(version)
        if before is None:
            before = charged_by[version] = load_prices(tx, version)
        usages = msgspec.json.decode(group["usage_json"], type=tuple[Usage, ...])
        old_price, new_price = (
            _price(group["request_id"], usages, prices, group["markup_ppm"]) for prices in (before, new[model])
        )
        requests, key = int(group["requests"]), (group["workspace"], model)
        row = found.get(key) or PriceComparison(*key)
        found[key] = replace(
            row,
            requests=row.requests + requests,
            charged_micro_usd=row.charged_micro_usd + int(group["charged"]),
            old_micro_usd=row.old_micro_usd + requests * old_price,
            new_micro_usd=row.new_micro_usd + requests * new_price,
        )
    return [found[key] for key in sorted(found)]
