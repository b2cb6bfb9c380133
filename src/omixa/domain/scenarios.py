"""Scenarios: a tiny language for what a provider does next, for example `429(retry_after=7)x2, then ok; latency=8s`.

Before the semicolon stand steps, separated by commas or the word `then`; each request takes one. A step is a word of `STEPS`, for
some words with a number behind `=`, for some with `(retry_after=SECONDS)` or `(retry_after=none)`, and at the end `xCOUNT` to
play it several times or `x*` for ever. After the last step everything is well again. Behind semicolons stand options:
`latency=8s` lets every answer take so much longer, `routes=2` has as many routes as that lead to the provider.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

PROMPT_PREFIX = "sim:"
SCENARIO_LENGTH_MAX = 4096
STEP_COUNT_MAX = 1_000_000
NUMBER_MAX = 3600.0
LATENCY_MAX_S = 60.0
ROUTES_MAX = 3

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
        "quota": StepKind("the account is exhausted", retry_after=True),
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
_BETWEEN_STEPS = re.compile(r", ?(?:then )?| then ")
_OPTION = re.compile(r"latency=(?P<latency>\d{1,3}(?:\.\d{1,3})?)s?|routes=(?P<routes>\d)")


def _spelled(name: str, kind: StepKind) -> str:
    return f"{name}=NUMBER" if kind.number == "required" else name


GRAMMAR = (
    "A scenario is steps between commas, each with xCOUNT or x* behind it, and options behind semicolons, for example"
    f" 429x2, then ok; latency=8s. Steps: {', '.join(_spelled(name, kind) for name, kind in STEPS.items())}."
    f" {', '.join(name for name, kind in STEPS.items() if kind.retry_after)} also take (retry_after=SECONDS)."
    f" Options: latency=SECONDS, up to {LATENCY_MAX_S:g}, and routes=1 to {ROUTES_MAX}."
)
"""What is accepted, in one paragraph."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step; `count` None plays it for ever. `retry_after` is seconds, "none" for no header, None for the default.

    `latency_s` is its scenario's, and not part of its text.
    """

    name: str
    number: float | None = None
    retry_after: str | None = None
    count: int | None = 1
    latency_s: float = 0.0

    def __str__(self) -> str:
        number = "" if self.number is None else f"={self.number:g}"
        retry_after = "" if self.retry_after is None else f"(retry_after={self.retry_after})"
        count = "x*" if self.count is None else "" if self.count == 1 else f"x{self.count}"
        return self.name + number + retry_after + count


OK = Step("ok")


@dataclass(frozen=True, slots=True)
class Scenario:
    """What the provider does, one step for each request. Every answer takes `latency_s` longer than it would.

    Where requests fail over, it is as if `routes` led to the provider.
    """

    steps: tuple[Step, ...] = ()
    latency_s: float = 0.0
    routes: int = 1

    def __bool__(self) -> bool:
        return self != _NOTHING

    def __str__(self) -> str:
        latency = f"latency={self.latency_s:g}s" if self.latency_s else ""
        routes = f"routes={self.routes}" if self.routes > 1 else ""
        return "; ".join(part for part in (",".join(map(str, self.steps)), latency, routes) if part)

    def step_at(self, position: int) -> Step:
        """Return the step of a request, which is to be played once; `position` counts them from 0."""
        for step in self.steps:
            if step.count is None or position < step.count:
                return replace(step, count=1, latency_s=self.latency_s)
            position -= step.count
        return replace(OK, latency_s=self.latency_s)


_NOTHING = Scenario()


def parse_scenario(text: str) -> Scenario:
    """Return what a text says; an empty one says nothing. Raises ValueError that tells what is accepted."""
    if len(text) > SCENARIO_LENGTH_MAX:
        raise ValueError(f"a scenario has at most {SCENARIO_LENGTH_MAX} characters")
    steps: tuple[Step, ...] = ()
    options: dict[str, float] = {}
    for place, part in enumerate(" ".join(text.split()).split(";")):
        option = _OPTION.fullmatch(part.strip())
        if option is not None:
            _add_option(part.strip(), option, options)
        elif place == 0 and part.strip():
            steps = tuple(_parse_step(each.strip()) for each in _BETWEEN_STEPS.split(part.strip()))
        elif place > 0:
            raise ValueError(_complaint(part.strip(), "is not an option"))
    return Scenario(steps, options.get("latency", 0.0), int(options.get("routes", 1)))


def split_prompt(prompt: str) -> tuple[Scenario, str]:
    """Return the scenario in front of a prompt and what is to be painted; an unknown `sim:` prefix is painted too."""
    if not prompt.startswith(PROMPT_PREFIX):
        return _NOTHING, prompt
    prefix, _, rest = prompt.partition(" ")
    try:
        scenario = parse_scenario(prefix.removeprefix(PROMPT_PREFIX))
    except ValueError:
        return _NOTHING, prompt
    return scenario, (rest.strip() if scenario else "") or prompt


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


def _add_option(text: str, option: re.Match[str], options: dict[str, float]) -> None:
    name, most = ("routes", float(ROUTES_MAX)) if option["latency"] is None else ("latency", LATENCY_MAX_S)
    value = float(option[name])
    if name in options:
        raise ValueError(_complaint(text, f"is a second {name}"))
    if not 0 < value <= most:
        raise ValueError(_complaint(text, f"must be above 0 and up to {most:g}"))
    options[name] = value


def _complaint(text: str, problem: str) -> str:
    return f'"{text[:60]}" {problem}. {GRAMMAR}'
