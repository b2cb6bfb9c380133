"""All parts of the proof, in the order in which a full run takes them: the one that tells soonest, then the long ones."""

from __future__ import annotations

from tests.proof import (
    admission,
    admission_http,
    ceilings,
    crash_points,
    kills,
    mutants,
    ordinary,
    pauses,
    postgres_faults,
    power_cuts,
    server_kills,
    stateful,
    storm,
)
from tests.proof.part import Part

PARTS: tuple[Part, ...] = (
    mutants.PART,
    stateful.SQLITE,
    stateful.POSTGRESQL,
    kills.SQLITE,
    kills.POSTGRESQL,
    server_kills.PART,
    crash_points.SQLITE,
    crash_points.POSTGRESQL,
    power_cuts.PART,
    admission.SQLITE,
    admission.POSTGRESQL,
    admission_http.PART,
    pauses.PART,
    postgres_faults.KILLED_BACKENDS,
    postgres_faults.STOPPED_SERVERS,
    postgres_faults.LOST_COMMITS,
    storm.SQLITE,
    storm.POSTGRESQL,
    ceilings.PART,
    ordinary.GOLDEN,
    ordinary.FLOATS,
)


def part_named(name: str) -> Part:
    """Return a part."""
    return {part.name: part for part in PARTS}[name]
