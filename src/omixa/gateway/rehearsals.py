"""Rehearsals: a test key's client meets the failures of a scenario, one step after the other over all its tries of a request.

The progress belongs to one request and its repeats, which are known by the client's own Idempotency-Key or else by what they ask
for, and to one API key, so clients that rehearse beside each other do not disturb each other. It is forgotten when the request
has brought a picture, so that the next one begins at the beginning, and when nobody repeats the request for ten minutes.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from omixa.domain.money import format_usd
from omixa.domain.scenarios import Scenario

SIMULATE_HEADER: Final = "Omixa-Simulate"
SIMULATE_MAX_CHARACTERS: Final = 256
PLAYS_KEPT: Final = 1024
EARLIER_KEPT: Final = 20
PAUSE_MAX_S: Final = 600.0


@dataclass(slots=True)
class _Play:
    """How far a scenario is. `taken` counts the steps that calls have taken, `earlier` are the ids of the last tries."""

    began_s: float
    latest_s: float
    tries: int = 0
    taken: int = 0
    earlier: deque[str] = field(default_factory=lambda: deque(maxlen=EARLIER_KEPT))


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """One try. `record` is what is kept of it with the request."""

    scenario: Scenario
    record: Mapping[str, Any]
    _play: _Play
    _forget: Callable[[], None]

    def next_step(self) -> str:
        """Return what the next call is to meet, as the simulator reads it, and use it up."""
        step = self.scenario.step_at(self._play.taken)
        self._play.taken += 1
        return str(Scenario((step,), self.scenario.latency_s))

    def end(self) -> None:
        """Say that the request has brought a picture."""
        self._forget()


class Rehearsals:
    """The scenarios under way, the last `PLAYS_KEPT` of them. `clock` gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._plays: OrderedDict[str, _Play] = OrderedDict()

    def begin(self, request_id: str, identity: str, scenario: Scenario) -> Rehearsal:
        """Begin a try of the request that `identity` names, or the first one."""
        name, now_s = f"{identity} {scenario}", self._clock()
        play = self._plays.pop(name, None)
        if play is None or now_s - play.latest_s > PAUSE_MAX_S:
            play = _Play(now_s, now_s)
        self._plays[name] = play
        if len(self._plays) > PLAYS_KEPT:
            self._plays.popitem(last=False)
        play.latest_s = now_s
        play.tries += 1
        record = {
            "scenario": str(scenario),
            "tries": play.tries,
            "waited_ms": int((now_s - play.began_s) * 1000),
            "earlier_requests": list(play.earlier),
        }
        play.earlier.append(request_id)

        def forget() -> None:
            if self._plays.get(name) is play:
                del self._plays[name]

        return Rehearsal(scenario, record, play, forget)


def rehearsal_json(record: Mapping[str, Any], provider_calls: int, billed_micro_usd: int) -> dict[str, Any]:
    """Return what is told of a rehearsal. Tries that bring no picture cost nothing, so this one's price is that of all."""
    return {**record, "provider_calls": provider_calls, "live_amount": format_usd(billed_micro_usd)}
