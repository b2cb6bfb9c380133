"""What is kept of a deployment's health while the server that learned it is away."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Memory:
    """What a server has learned of a deployment. Times are in milliseconds and count from one moment, on no clock.

    `cooling_ms` is how long it is still left alone: None for not at all, 0 or less where one call may try it. `unreachable` says
    that it is left alone because it could not be reached. `calls` are how long ago each of the last pictures came, and how long
    it had taken.
    """

    cooling_ms: int | None = None
    unreachable: bool = False
    strikes: int = 0
    ejections: int = 0
    calls: tuple[tuple[int, int], ...] = ()

    def after(self, elapsed_ms: int) -> Memory:
        """Return what is left of it when so much time has passed; a clock that was set back counts as none."""
        passed_ms = max(elapsed_ms, 0)
        return replace(
            self,
            cooling_ms=None if self.cooling_ms is None else self.cooling_ms - passed_ms,
            calls=tuple((ago_ms + passed_ms, took_ms) for ago_ms, took_ms in self.calls),
        )


NOTHING = Memory()
