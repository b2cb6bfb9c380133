"""All parts of the proof, in the order in which a full run takes them."""

from __future__ import annotations

from tests.proof import crash_points, kills, power_cuts, server_kills, stateful
from tests.proof.part import Part

PARTS: tuple[Part, ...] = (
    stateful.SQLITE,
    stateful.POSTGRESQL,
    kills.SQLITE,
    kills.POSTGRESQL,
    server_kills.PART,
    power_cuts.PART,
    crash_points.SQLITE,
    crash_points.POSTGRESQL,
)


def part_named(name: str) -> Part:
    """Return a part."""
    return {part.name: part for part in PARTS}[name]
