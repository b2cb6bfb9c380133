"""Deployments: what each is, whether it is used now, and how its calls ended lately."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode, urlsplit

from omixa.api.queries import MixQuery, parse_query
from omixa.domain.money import format_percent
from omixa.routing.router import Standing
from omixa.usage import operators
from omixa.usage.operators import CallMix
from omixa.web.console.visit import Visit

HOURS: Final[Mapping[str, str]] = {"1": "hour", "6": "6 hours", "24": "day"}
_NONE: Final = CallMix(0, {})


@dataclass(frozen=True, slots=True)
class RouteLine:
    """A deployment in the list. `host` is where it is, `question` leads to those of its calls that failed."""

    standing: Standing
    mix: CallMix

    @property
    def host(self) -> str:
        """Return where it is, nothing inside the process."""
        deployment = self.standing.deployment
        return "" if deployment.in_process else urlsplit(deployment.endpoint).netloc

    @property
    def question(self) -> str:
        """Return what comes behind the address of the calls that failed, for those of this one."""
        return urlencode({"route": self.standing.deployment.id})

    @property
    def answered(self) -> str | None:
        """Return how many of a hundred calls brought a picture; None without calls."""
        return format_percent(self.mix.calls - self.mix.failed, self.mix.calls)


async def show_routes(visit: Visit) -> None:
    """Send the page."""
    query = parse_query(visit.exchange, MixQuery, blank_is_missing=True)
    window_ms = int(query.hours) * 3_600_000
    mix = await visit.services.database.read(lambda tx: operators.call_mix(tx, since_ms=tx.now_ms() - window_ms))
    lines = [RouteLine(one, mix.get(one.deployment.id, _NONE)) for one in visit.services.router.standings()]
    await visit.send(
        "operator/routes.html",
        "Routes",
        section="routes",
        # Who needs attention comes first; the configured order stays within that.
        lines=sorted(
            (line for line in lines if not line.standing.deployment.in_process),
            key=lambda line: line.standing.state == "closed",
        ),
        inside=[line for line in lines if line.standing.deployment.in_process],
        policy=visit.services.settings.routing.policy,
        hours=query.hours,
        choices=HOURS,
        is_cut=sum(one.calls for one in mix.values()) >= operators.MAX_CALLS,
        most=operators.MAX_CALLS,
        calls=[visit.operator_call("routes"), visit.operator_call("routes/calls", hours=query.hours)]
        + [visit.operator_change("POST", "routes/enable", route=line.standing.deployment.id) for line in lines[:1]],
        commands=["omixa routes show --json", "omixa routes test MODEL"],
    )


async def enable_route(visit: Visit) -> None:
    """Use a deployment's account again, as if nothing had happened."""
    await visit.services.routes.enable(visit.form.text("route"), actor=visit.visitor.person_id)
    await visit.redirect("operator/routes")
