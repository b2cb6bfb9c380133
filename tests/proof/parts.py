"""All parts of the proof, in the order in which a full run takes them."""

from __future__ import annotations

from tests.proof import stateful
from tests.proof.part import Part

PARTS: tuple[Part, ...] = (stateful.SQLITE, stateful.POSTGRESQL)


def part_named(name: str) -> Part:
    """Return a part."""
    return {part.name: part for part in PARTS}[name]
