"""In which order healthy deployments are tried: one pure function for each policy.

Whatever the policy, a lower priority number always goes first (`order`); a policy decides among those that are equal in it.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal, NamedTuple

from omixa.domain.access import UNCONSTRAINED, Constraints
from omixa.domain.models import Deployment

PolicyName = Literal["weighted", "priority", "least_busy", "cheapest", "fastest", "sticky", "quality"]

_HASHES = 2.0**64


class Wanted(NamedTuple):
    """What a request says to whoever chooses: whose it is, the quality that it asks for, and where it may be made."""

    workspace_id: str = ""
    quality: str = "auto"
    constraints: Constraints = UNCONSTRAINED


class Candidate(NamedTuple):
    """A deployment that may be called now, what it is doing, what its provider takes for a picture and how long.

    `p95_ns` is None while that is not known.
    """

    deployment: Deployment
    in_flight: int
    cost_pico_usd: int
    p95_ns: int | None = None


Policy = Callable[[Sequence[Candidate], Wanted, random.Random], list[Candidate]]


def order(candidates: Sequence[Candidate], policy: Policy, wanted: Wanted, draw: random.Random) -> list[Candidate]:
    """Return the candidates, best first: by priority, and within one as the policy says."""
    if len(candidates) < 2:
        return list(candidates)
    # Sorting is stable, so what the policy decided stays where priorities are equal.
    return sorted(policy(candidates, wanted, draw), key=lambda one: one.deployment.priority)


def weighted(candidates: Sequence[Candidate], wanted: Wanted, draw: random.Random) -> list[Candidate]:
    """Give each the share of first places that its weight is of all weights, and so on for the places behind."""
    return sorted(candidates, key=lambda one: _waiting(draw.random(), one.deployment.weight))


def priority(candidates: Sequence[Candidate], wanted: Wanted, draw: random.Random) -> list[Candidate]:
    """Keep the order of the configuration."""
    return list(candidates)


def least_busy(candidates: Sequence[Candidate], wanted: Wanted, draw: random.Random) -> list[Candidate]:
    """Take the one with the fewest calls in progress for its weight; among equals, as `weighted`."""
    return sorted(weighted(candidates, wanted, draw), key=lambda one: one.in_flight / one.deployment.weight)


def cheapest(candidates: Sequence[Candidate], wanted: Wanted, draw: random.Random) -> list[Candidate]:
    """Take the one whose provider charges the least; among equals, as `weighted`."""
    return sorted(weighted(candidates, wanted, draw), key=lambda one: one.cost_pico_usd)


def fastest(candidates: Sequence[Candidate], wanted: Wanted, draw: random.Random) -> list[Candidate]:
    """Take the one whose slow calls are the quickest; first those of which too little is known; among equals, as `weighted`."""
    return sorted(weighted(candidates, wanted, draw), key=lambda one: one.p95_ns or 0)


def sticky(candidates: Sequence[Candidate], wanted: Wanted, draw: random.Random) -> list[Candidate]:
    """Keep a workspace with one deployment, and give each its share of the workspaces by weight.

    Every server comes to the same order, and when one deployment is left out, only its own workspaces move.
    """
    return sorted(candidates, key=lambda one: _waiting(_lot(wanted.workspace_id, one), one.deployment.weight))


def quality(candidates: Sequence[Candidate], wanted: Wanted, draw: random.Random) -> list[Candidate]:
    """Take one that is there for the quality, then one that is there for every quality; among equals, as `weighted`."""

    def distance(one: Candidate) -> int:
        if wanted.quality in one.deployment.qualities:
            return 0
        return 2 if one.deployment.qualities else 1

    return sorted(weighted(candidates, wanted, draw), key=distance)


def _waiting(lot: float, weight: int) -> float:
    """Return an exponential waiting time for a lot from 0 to 1, with the weight as rate.

    The smallest of several is each one's with a probability of just its share of the weights.
    """
    return -math.log(1.0 - lot) / weight


def _lot(workspace_id: str, candidate: Candidate) -> float:
    """Return the lot of a workspace at a deployment: at least 0, below 1, always the same."""
    digest = hashlib.blake2b(f"{workspace_id}\n{candidate.deployment.id}".encode(), digest_size=8).digest()
    # The 53 bits of a float's mantissa, so that rounding never gives 1.
    return float((int.from_bytes(digest) >> 11) << 11) / _HASHES


POLICIES: Mapping[PolicyName, Policy] = MappingProxyType(
    {
        "weighted": weighted,
        "priority": priority,
        "least_busy": least_busy,
        "cheapest": cheapest,
        "fastest": fastest,
        "sticky": sticky,
        "quality": quality,
    }
)
