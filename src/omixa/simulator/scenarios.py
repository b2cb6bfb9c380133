"""Moods: which step of which scenario a request takes. The language is in `domain/scenarios.py`."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import replace

from omixa.domain.scenarios import OK, Scenario, Step, parse_scenario, split_prompt
from omixa.simulator.wire import invalid

SCENARIO_HEADER = "x-omixa-scenario"
PROMPT_SCRIPTS_KEPT = 1024


class Script:
    """The steps of a scenario that are still to be played."""

    def __init__(self, scenario: Scenario) -> None:
        self._steps = deque(scenario.steps)
        self._latency_s = scenario.latency_s

    def take(self) -> Step:
        """Return the step for this request and use it up once."""
        step = self._steps[0] if self._steps else OK
        if self._steps and step.count == 1:
            self._steps.popleft()
        elif self._steps and step.count is not None:
            self._steps[0] = replace(step, count=step.count - 1)
        return replace(step, latency_s=self._latency_s)

    def __str__(self) -> str:
        return str(Scenario(tuple(self._steps), self._latency_s))


class Moods:
    """Decides how each request goes: by what its header says, else by its prompt's own scenario, else by the application's."""

    def __init__(self, scenario: str = "") -> None:
        self._script = Script(parse_scenario(scenario))
        self._by_prompt: OrderedDict[bytes, Script] = OrderedDict()

    @property
    def remaining(self) -> str:
        """Return what is left of the application's scenario."""
        return str(self._script)

    def play(self, scenario: str) -> None:
        """Replace the application's scenario. Raises ValueError that lists the accepted steps."""
        self._script = Script(parse_scenario(scenario))

    async def next_step(self, headers: Mapping[str, str], prompt: str) -> Step:
        """Return the step for a request, after the wait that its scenario wants. Raises ServiceError 400.

        The header `x-omixa-scenario` is for its own request: the first of its steps is played, and nothing is used up.
        """
        told = headers.get(SCENARIO_HEADER)
        try:
            step = self.step_for(prompt) if told is None else parse_scenario(told).step_at(0)
        except ValueError as error:
            raise invalid(f"'{SCENARIO_HEADER}': {error}") from error
        await asyncio.sleep(step.latency_s)
        return step

    def step_for(self, prompt: str) -> Step:
        """Return the step for a request without a header. A prompt with its own scenario never uses up the application's.

        The progress of the last `PROMPT_SCRIPTS_KEPT` prompts is remembered; a forgotten one starts again.
        """
        scenario = split_prompt(prompt)[0]
        return (self._prompt_script(prompt, scenario) if scenario else self._script).take()

    def _prompt_script(self, prompt: str, scenario: Scenario) -> Script:
        key = hashlib.sha256(prompt.encode()).digest()
        script = self._by_prompt.setdefault(key, Script(scenario))
        self._by_prompt.move_to_end(key)
        if len(self._by_prompt) > PROMPT_SCRIPTS_KEPT:
            self._by_prompt.popitem(last=False)
        return script
