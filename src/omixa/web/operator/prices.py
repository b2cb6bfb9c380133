"""Prices: what is in force and what is to come, and who would pay how much more by other lists, before anything changes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from omixa.api.queries import DifferenceQuery, parse_query, read_month
from omixa.domain.access import Mode
from omixa.domain.models import Model
from omixa.domain.money import format_percent
from omixa.domain.times import month_before
from omixa.errors import InvalidRequest, OmixaError
from omixa.gateway.price_lists import PriceDifference, price_difference, published_lists, read_candidate_text
from omixa.web.console.visit import Visit
from omixa.web.operator.months import months_until


async def show_prices(visit: Visit) -> None:
    """Send the lists. What they would change is worked out when somebody asks."""
    today = visit.services.pipeline.today()
    lists = await visit.services.database.read(lambda tx: published_lists(tx, visit.services.catalogue, today))
    await visit.send(
        "operator/prices.html",
        "Prices",
        section="prices",
        in_force=[one for one in lists if one.standing == "in force"],
        to_come=[one for one in lists if one.standing == "to come"],
        past=[one for one in lists if one.standing in ("over", "withdrawn")],
        calls=[visit.operator_call("prices")],
        commands=["omixa prices list --json", "omixa prices diff FILE --json"],
    )


async def show_difference(visit: Visit) -> None:
    """Send who would pay how much more by the newest lists of the catalogue."""
    query = parse_query(visit.exchange, DifferenceQuery, blank_is_missing=True)
    await _send(visit, query.month, query.mode, visit.services.catalogue.models.values())


async def compare_file(visit: Visit) -> None:
    """Send the same for the lists of a model file that is in no catalogue yet. Nothing is written, nothing is kept of it."""
    form = visit.form
    text, mode = form.exact("file"), form.text("mode")
    try:
        model = read_candidate_text(text, _directory(visit))
    except InvalidRequest as error:
        await _send(visit, form.text("month"), _mode(mode), (), text=text, error=error)
        return
    await _send(visit, form.text("month"), _mode(mode), (model,), text=text)


def _mode(text: str) -> Mode:
    return "test" if text == "test" else "live"


def _directory(visit: Visit) -> Path | None:
    configured = visit.services.settings.catalogue_dir
    return Path(configured) if configured else None


async def _send(
    visit: Visit,
    month: str,
    mode: Literal["live", "test"],
    candidates: Iterable[Model],
    *,
    text: str = "",
    error: OmixaError | None = None,
) -> None:
    services, today = visit.services, visit.services.pipeline.today()
    first = month_before(today)
    found: PriceDifference | None = None
    try:
        first = read_month(month) or first
        if error is None:
            with services.reports.slot():
                found = await services.database.read(
                    lambda tx: price_difference(tx, services.catalogue, candidates, today=today, month=first, mode=mode)
                )
    except OmixaError as refusal:
        error = refusal
    await visit.send(
        "operator/difference.html",
        "What would change",
        section="prices",
        status=200 if error is None else error.status,
        error=error,
        found=found,
        rows=[]
        if found is None
        else [(row, format_percent(row.difference_micro_usd, row.old_micro_usd)) for row in found.rows],
        month=f"{first:%Y-%m}",
        months=months_until(today),
        mode_of=mode,
        text=text,
        calls=[visit.operator_call("prices/difference", month=f"{first:%Y-%m}", mode=mode)],
        commands=[f"omixa prices diff {'FILE ' if text else ''}--month {first:%Y-%m} --mode {mode} --json"],
    )
