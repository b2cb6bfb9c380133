"""Moods: a tiny language for what goes wrong next, for example `429(retry_after=7)x2,slow=3,reset,503x*`.

A scenario is a list of steps between commas; each request takes one. A step is a word of `STEPS`, for some words with a
number behind `=`, for some with `(retry_after=SECONDS)` or `(retry_after=none)`, and at the end `xCOUNT` to play it
several times or `x*` for ever. After the last step everything is well again.
"""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

PROMPT_PREFIX = "sim:"
SCENARIO_LENGTH_MAX = 4096
STEP_COUNT_MAX = 1_000_000
NUMBER_MAX = 3600.0
PROMPT_SCRIPTS_KEPT = 1024

Number = Literal["none", "optional", "required"]


@dataclass(frozen=True, slots=True)
class StepKind:
    """A word of the language: what it does, whether a number follows, and whether `retry_after` may be said."""

    meaning: str
    number: Number = "none"
    retry_after: bool = False


STEPS: Mapping[str, StepKind] = MappingProxyType(
    {
        "ok": StepKind("an ordinary answer"),
        "401": StepKind("the key is refused"),
        "403": StepKind("the key may not do this"),
        "404": StepKind("the deployment does not exist"),
        "429": StepKind("over the rate limit, Retry-After 1 unless said otherwise", retry_after=True),
        "quota": StepKind("429 with insufficient_quota", retry_after=True),
        "500": StepKind("internal error"),
        "502": StepKind("bad gateway"),
        "503": StepKind("unavailable, Retry-After when said", retry_after=True),
        "504": StepKind("gateway timeout"),
        "filter": StepKind("the content filter refuses"),
        "redirect": StepKind("307 to another host"),
        "slow": StepKind("slow=SECONDS before the answer", number="required"),
        "drip": StepKind("the body at drip=BYTES_PER_SECOND, 200 if not said", number="optional"),
        "hang": StepKind("the picture is made and never answered"),
        "reset": StepKind("the connection is cut in the middle of the body"),
        "short": StepKind("Content-Length promises more than comes"),
        "html": StepKind("200 with text/html"),
        "badjson": StepKind("JSON that ends too early"),
        "badbase64": StepKind("b64_json that is not base64"),
        "notpng": StepKind("base64 of a text"),
        "jpeg": StepKind("a JPEG instead of a PNG"),
        "bomb": StepKind("a tiny PNG that says 60000x60000"),
        "damaged": StepKind("a PNG with one wrong bit in its pixels"),
        "truncated": StepKind("a PNG cut in half"),
        "empty": StepKind("an empty data list"),
        "nodata": StepKind("no data field"),
        "nousage": StepKind("no usage"),
        "badusage": StepKind("usage with a negative count, a string and 10^15"),
        "longusage": StepKind("as many text tokens as the context window has"),
        "bigusage": StepKind("a hundred times the usage"),
        "topusage": StepKind("num_output_tokens at the top level, no usage object"),
        "huge": StepKind("a body of more than 64 MiB"),
        "streamerror": StepKind("an error event in place of the picture, where events are asked for"),
        "streamfilter": StepKind("an event that says that the content filter refuses, where events are asked for"),
    }
)

_STEP = re.compile(
    r"(?P<name>" + "|".join(sorted(STEPS, key=len, reverse=True)) + r")"
    r"(?:=(?P<number>\d{1,9}(?:\.\d{1,6})?))?"
    r"(?:\(retry_after=(?P<retry_after>\d{1,6}|none)\))?"
    r"(?:x(?P<count>\d{1,7}|\*))?"
)


@dataclass(frozen=True, slots=True)
class Step:
    """One step; `count` None plays it for ever. `retry_after` is seconds, "none" for no header, None for the default."""

    name: str
    number: float | None = None
    retry_after: str | None = None
    count: int | None = 1

    def __str__(self) -> str:
        number = "" if self.number is None else f"={self.number:g}"
        retry_after = "" if self.retry_after is None else f"(retry_after={self.retry_after})"
        count = "x*" if self.count is None else "" if self.count == 1 else f"x{self.count}"
        return self.name + number + retry_after + count


OK = Step("ok")


def parse_scenario(text: str) -> tuple[Step, ...]:
    """Return the steps of a scenario; an empty text has none. Raises ValueError that lists the accepted steps."""
    if len(text) > SCENARIO_LENGTH_MAX:
        raise ValueError(f"a scenario has at most {SCENARIO_LENGTH_MAX} characters")
    if not text.strip():
        return ()
    return tuple(_parse_step(part.strip()) for part in text.split(","))


def describe_steps() -> str:
    """Return the accepted steps and their meaning, one a line."""
    return "\n".join(f"{name}: {kind.meaning}" for name, kind in STEPS.items())


def _parse_step(text: str) -> Step:
    match = _STEP.fullmatch(text)
    if match is None:
        raise ValueError(_complaint(text, "is not a step"))
    kind = STEPS[match["name"]]
    number = None if match["number"] is None else float(match["number"])
    count = None if match["count"] == "*" else int(match["count"] or 1)
    if (number is None and kind.number == "required") or (number is not None and kind.number == "none"):
        raise ValueError(_complaint(text, f"{'needs' if number is None else 'takes no'} number"))
    if number is not None and not 0 < number <= NUMBER_MAX:
        raise ValueError(_complaint(text, f"needs a number above 0 and up to {NUMBER_MAX:g}"))
    if match["retry_after"] is not None and not kind.retry_after:
        raise ValueError(_complaint(text, "takes no retry_after"))
    if count is not None and not 1 <= count <= STEP_COUNT_MAX:
        raise ValueError(_complaint(text, f"needs a count from 1 to {STEP_COUNT_MAX}"))
    return Step(match["name"], number, match["retry_after"], count)


def _complaint(text: str, problem: str) -> str:
    return f'"{text}" {problem}. Steps, separated by commas, each with xCOUNT or x* behind it:\n{describe_steps()}'


class Script:
    """The steps that are still to be played."""

    def __init__(self, steps: Iterable[Step] = ()) -> None:
        self._steps = deque(steps)

    def take(self) -> Step:
        """Return the step for this request and use it up once."""
        if not self._steps:
            return OK
        step = self._steps[0]
        if step.count == 1:
            self._steps.popleft()
        elif step.count is not None:
            self._steps[0] = replace(step, count=step.count - 1)
        return step

    def __str__(self) -> str:
        return ",".join(map(str, self._steps))


class Moods:
    """Decides how each request goes: by its prompt's own scenario, else by the application's."""

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

    def step_for(self, prompt: str) -> Step:
        """Return the step for a request. A prompt with its own scenario never uses up the application's.

        The progress of the last `PROMPT_SCRIPTS_KEPT` prompts is remembered; a forgotten one starts again.
        """
        steps = split_prompt(prompt)[0]
        return self._prompt_script(prompt, steps).take() if steps else self._script.take()

    def _prompt_script(self, prompt: str, steps: tuple[Step, ...]) -> Script:
        key = hashlib.sha256(prompt.encode()).digest()
        script = self._by_prompt.setdefault(key, Script(steps))
        self._by_prompt.move_to_end(key)
        if len(self._by_prompt) > PROMPT_SCRIPTS_KEPT:
            self._by_prompt.popitem(last=False)
        return script


def split_prompt(prompt: str) -> tuple[tuple[Step, ...], str]:
    """Return the scenario in front of a prompt and what is to be painted; an unknown `sim:` prefix is painted too."""
    if not prompt.startswith(PROMPT_PREFIX):
        return (), prompt
    prefix, _, rest = prompt.partition(" ")
    try:
        steps = parse_scenario(prefix.removeprefix(PROMPT_PREFIX))
    except ValueError:
        return (), prompt
    return steps, (rest.strip() if steps else "") or prompt
