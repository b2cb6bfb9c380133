"""In which order healthy deployments are tried: one pure function for each policy.

Whatever the policy, a lower priority number always goes first (`order`); a policy decides among those that are equal in it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Literal, NamedTuple

from omixa.domain.models import Deployment

PolicyName = Literal["weighted", "priority", "least_busy", "cheapest"]


class Candidate(NamedTuple):
    """A deployment that may be called now, what it is doing and what its provider takes for a picture."""

    deployment: Deployment
    in_flight: int
    cost_pico_usd: int


Policy = Callable[[Sequence[Candidate], random.Random], list[Candidate]]


def order(candidates: Sequence[Candidate], policy: Policy, draw: random.Random) -> list[Candidate]:
    """Return the candidates, best first: by priority, and within one as the policy says."""
    if len(candidates) < 2:
        return list(candidates)
    # Sorting is stable, so what the policy decided stays where priorities are equal.
    return sorted(policy(candidates, draw), key=lambda one: one.deployment.priority)


def weighted(candidates: Sequence[Candidate], draw: random.Random) -> list[Candidate]:
    """Give each the share of first places that its weight is of all weights, and so on for the places behind."""
    # Exponential waiting times with the weights as rates: the smallest of them is each one's with just that probability.
    return sorted(candidates, key=lambda one: -math.log(1.0 - draw.random()) / one.deployment.weight)


def priority(candidates: Sequence[Candidate], draw: random.Random) -> list[Candidate]:
    """Keep the order of the configuration."""
    return list(candidates)


def least_busy(candidates: Sequence[Candidate], draw: random.Random) -> list[Candidate]:
    """Take the one with the fewest calls in progress for its weight; among equals, as `weighted`."""
    return sorted(weighted(candidates, draw), key=lambda one: one.in_flight / one.deployment.weight)


def cheapest(candidates: Sequence[Candidate], draw: random.Random) -> list[Candidate]:
    """Take the one whose provider charges the least; among equals, as `weighted`."""
    return sorted(weighted(candidates, draw), key=lambda one: one.cost_pico_usd)


POLICIES: Mapping[PolicyName, Policy] = MappingProxyType(
    {"weighted": weighted, "priority": priority, "least_busy": least_busy, "cheapest": cheapest}
)
