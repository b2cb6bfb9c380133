"""What a scene tells about itself, so that subjects find their places."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stage:
    """Where subjects may go: baselines between `far` and `near`, air above `air`, water between two levels (or none)."""

    far: float
    near: float
    air: float
    water: tuple[float, float] | None = None
    platform: tuple[float, float] | None = None  # centre x and top y of a pedestal or table
    lights: bool = False
