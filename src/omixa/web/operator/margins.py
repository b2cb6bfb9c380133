"""What is left of a month's charges after the providers' costs, by model and provider."""

from __future__ import annotations

from omixa.api.queries import MarginQuery, parse_query, read_month
from omixa.billing.margins import Margin, margins
from omixa.domain.money import PICO_PER_MICRO, format_percent
from omixa.domain.times import month_after
from omixa.errors import OmixaError
from omixa.gateway.receipt import format_exact
from omixa.web.console.visit import Visit
from omixa.web.operator.months import months_until


async def show_margins(visit: Visit) -> None:
    """Send the page, by default of this month."""
    query = parse_query(visit.exchange, MarginQuery, blank_is_missing=True)
    services, today = visit.services, visit.services.pipeline.today()
    found: list[Margin] | None = None
    error: OmixaError | None = None
    month = today.replace(day=1)
    try:
        month = read_month(query.month) or month
        since, until = month, month_after(month)
        found = await services.database.read(lambda tx: margins(tx, query.mode, since, until))
    except OmixaError as refusal:
        error = refusal
    await visit.send(
        "operator/margins.html",
        "Margins",
        section="margins",
        status=200 if error is None else error.status,
        error=error,
        rows=None if found is None else [(row, *_amounts(row)) for row in found],
        month=f"{month:%Y-%m}",
        months=months_until(today),
        mode_of=query.mode,
        calls=[visit.operator_call("margins", month=f"{month:%Y-%m}", mode=query.mode)],
        commands=[f"omixa prices margin --month {month:%Y-%m} --mode {query.mode} --json"],
    )


def _amounts(row: Margin) -> tuple[str, str, str, str | None]:
    """Return what calls with a picture cost, what others did, what is left, and that in percent."""
    costs = row.reported_pico_usd + row.estimated_pico_usd
    percent = format_percent(row.margin_pico_usd, row.earned_micro_usd * PICO_PER_MICRO)
    return format_exact(costs), format_exact(row.absorbed_pico_usd), format_exact(row.margin_pico_usd), percent
