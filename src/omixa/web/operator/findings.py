"""What does not agree between what providers bill and the calls that were made."""

from __future__ import annotations

from urllib.parse import urlencode

from omixa.api.queries import FindingQuery, given, parse_query
from omixa.billing import reconciliation
from omixa.errors import OmixaError
from omixa.gateway.receipt import format_exact
from omixa.gateway.reconciliation import Reconciliation
from omixa.storage.database import Transaction
from omixa.web.console.visit import Visit

# What each kind means, in a sentence.
KINDS = {
    "no_attempt": "The provider bills a call that was never made.",
    "unknown_billed": "A call of unknown end is billed.",
    "unknown_free": "A call of unknown end is not billed.",
    "price_differs": "A call is billed at another price than expected.",
    "not_billed": "A call that should cost something is not billed.",
}


async def list_findings(visit: Visit) -> None:
    """Send a page of what waits to be explained."""
    await _send(visit)


async def accept(visit: Visit) -> None:
    """Explain a finding by taking over what the provider bills as the cost of the call."""
    finding_id = visit.identifier("finding")
    # Of a finding that is there, neither the provider nor its names of deployments are asked for again.
    judge = Reconciliation(visit.services.database, "", {})
    try:
        await judge.accept(finding_id, note=visit.form.text("note"), actor=visit.visitor.person_id)
    except OmixaError as error:
        await _send(visit, error)
        return
    await visit.redirect("operator/findings")


async def _send(visit: Visit, error: OmixaError | None = None) -> None:
    # A form that failed has no question behind its address.
    query = parse_query(visit.exchange, FindingQuery, blank_is_missing=True)
    after = given(query.after)

    def read(tx: Transaction) -> tuple[list[reconciliation.Finding], str | None, int]:
        found, next_after = reconciliation.open_findings(tx, limit=query.limit, after=after or "")
        return found, next_after, sum(reconciliation.count_open(tx).values())

    found, next_after, count = await visit.services.database.read(read)
    await visit.send(
        "operator/findings.html",
        "Findings",
        section="findings",
        status=200 if error is None else error.status,
        error=error,
        findings=[
            (
                one,
                None if one.expected_pico_usd is None else format_exact(one.expected_pico_usd),
                format_exact(one.billed_pico_usd),
            )
            for one in found
        ],
        kinds=KINDS,
        count=count,
        is_first=after is None,
        further=None if next_after is None else urlencode({"after": next_after}),
        calls=[
            visit.operator_call("findings", after=after),
            *(visit.operator_change("POST", f"findings/{one.id}/accept", note="…") for one in found[:1]),
        ],
        commands=[
            "omixa reconcile import FILE --provider PROVIDER",
            "omixa reconcile report --provider PROVIDER --json",
        ],
    )
