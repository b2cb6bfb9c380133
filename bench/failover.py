"""`python -m bench.failover`: three keys behind one model, and one of them fails: how many requests notice, and how much.

For each fault a gateway of its own serves the same number of requests, a second of them while all keys are well, the rest after
one key has begun to fail. What every request and every call took is read from the ledger, not from the load generator.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import itertools
import math
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import msgspec

from bench.drawing import FAINT, RULE, dot, line, picture, text
from bench.load import Figures, percentile_ms
from bench.machine import facts
from bench.rounds import finished, order, started
from bench.servers import PROVIDER_KEY, Gateway, Server, choose_answer, configured_gateway, upstream
from bench.works import Work

RESULTS = Path(__file__).with_name("results")
DEFAULT_DATA = Path(__file__).parent.parent / "build" / "bench"
# The promise: of ten thousand requests no more than one fails.
LEAST_SUCCESS = 0.9999
# A provider that says nothing is given up after so long here; by itself Omixa waits for five minutes.
SILENCE_S = 2.0
# How soon a key that was left alone may be tried again, in seconds, less the fifth that chance takes off.
LEAST_COOLDOWN_S = 4.0
KEYS = ("one", "two", "three")
# Thinking for a while, as a provider does, so that requests are under way on every key when one begins to fail.
THINKING_S = 0.02
WORK = Work("failover", "generation", "8k", clients=16, latency_s=THINKING_S, warm_s=0, measure_s=600)
SECONDS_BEFORE = 1.0


@dataclass(frozen=True)
class Fault:
    """What happens to the first key: the answer of `upstream.py`, or None where nobody listens any more."""

    name: str
    answer: str | None
    cooldown_s: float = LEAST_COOLDOWN_S


FAULTS = (
    Fault("none", "8k"),
    Fault("down", None),
    Fault("silent", "silence"),
    # It says itself that two seconds suffice.
    Fault("rate-limited", "429", cooldown_s=1.999),
    Fault("busy", "503"),
    Fault("poisoned", "poison"),
)


@dataclass(frozen=True)
class Request:
    """One request: when it came, in seconds after the fault began, how long it took, and whom it asked."""

    at_s: float
    took_ms: float
    routes: tuple[str, ...]

    @property
    def noticed(self) -> bool:
        """Tell whether it met the key that fails."""
        return len(self.routes) > 1


@dataclass(frozen=True)
class Outcome:
    """What a fault did. The key was left alone from `left_alone_s` on, and tried again at `trials_s`."""

    fault: Fault
    load: Figures
    requests: Sequence[Request]
    left_alone_s: float | None
    trials_s: Sequence[float]
    clean: bool

    @property
    def success(self) -> float:
        """Return the share of the requests that got their picture."""
        return self.load.answered / (self.load.answered + self.load.failed)

    @property
    def noticed(self) -> Sequence[Request]:
        """Return the requests that needed a second call."""
        return [one for one in self.requests if one.noticed]

    @property
    def most_calls(self) -> int:
        """Return how many calls the request made that made most of them."""
        return max(len(one.routes) for one in self.requests)

    @property
    def least_pause_s(self) -> float | None:
        """Return the shortest time for which the key was left alone, None where it was not tried again."""
        moments = [] if self.left_alone_s is None else [self.left_alone_s, *self.trials_s]
        return min((after - before for before, after in itertools.pairwise(moments)), default=None)

    @property
    def kept(self) -> bool:
        """Tell whether the promises held: success, one further call at most, and no more than one trial in a cooldown."""
        pause_s = self.least_pause_s
        return (
            self.clean
            and self.success >= LEAST_SUCCESS
            and self.most_calls <= 2
            and (pause_s is None or pause_s >= self.fault.cooldown_s)
        )

    def percentile(self, share: float, *, noticed: bool) -> float | None:
        """Return the latency in milliseconds of those that met the failing key, or of the others, while it failed."""
        chosen = [one.took_ms / 1000 for one in self.requests if one.at_s >= 0 and one.noticed == noticed]
        return percentile_ms(sorted(chosen), share)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and tell; return 0 when every promise held."""
    parser = argparse.ArgumentParser(prog="python -m bench.failover", description="One of three keys fails.")
    parser.add_argument("--requests", type=int, default=10_000, metavar="N", help="for each fault (10,000)")
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA, metavar="DIR", help="where Omixa keeps its data")
    options = parser.parse_args(arguments)
    options.data.mkdir(parents=True, exist_ok=True)
    outcomes = []
    for fault in FAULTS:
        with tempfile.TemporaryDirectory(prefix="failover-", dir=options.data) as name:
            outcome = _outcome(fault, options.requests, Path(name))
        print(f"{fault.name:<14}{_verdict(outcome)}", flush=True)
        outcomes.append(outcome)
    told = _report(outcomes, options.requests, facts(options.data))
    print(f"\n{told}")
    if options.requests >= 10_000:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "failover.md").write_text(f"{told}\n![Every request while one of three keys fails](failover.png)\n")
        (RESULTS / "failover.png").write_bytes(_draw(outcomes))
        print("Written: bench/results/failover.md, failover.png")
    return 0 if all(one.kept for one in outcomes) else 1


def _verdict(outcome: Outcome) -> str:
    return f"{outcome.success:.4%} served, {len(outcome.noticed)} noticed, {'kept' if outcome.kept else 'BROKEN'}"


# ------------------------------------------------------------------------------------------------------------- measuring


def _outcome(fault: Fault, requests: int, directory: Path) -> Outcome:
    with contextlib.ExitStack() as stack:
        failing = contextlib.ExitStack()
        stack.enter_context(failing)
        providers = {
            name: (failing if name == KEYS[0] else stack).enter_context(upstream(directory, name)) for name in KEYS
        }
        for provider in providers.values():
            choose_answer(provider, "8k", THINKING_S)
        books = configured_gateway(directory, _configuration(directory, providers))
        with books.serve(directory) as omixa:
            load = started(msgspec.structs.replace(order(WORK, omixa, 1.0), requests=requests))
            time.sleep(SECONDS_BEFORE)
            if fault.answer is None:
                failing.close()
            else:
                choose_answer(providers[KEYS[0]], fault.answer, THINKING_S)
            began_ms = time.time() * 1000
            figures = finished(load)
        return _read(fault, figures, books, began_ms)


def _configuration(directory: Path, providers: Mapping[str, Server]) -> str:
    """Return the configuration of three keys, and a catalogue with less patience beside it."""
    catalogue = directory / "catalogue"
    shutil.copytree(str(files("omixa.catalogue") / "data"), catalogue)
    offers = catalogue / "providers" / "foundry.toml"
    patient = "first_byte_timeout_s = 300"
    offers.write_text(offers.read_text().replace(patient, f"first_byte_timeout_s = {SILENCE_S}"))
    tables = (
        f'[[deployments]]\nname = "{name}"\nendpoint = "http://127.0.0.1:{provider.port}"\napi_key = "{PROVIDER_KEY}"\n'
        for name, provider in providers.items()
    )
    return f'catalogue_dir = "{catalogue}"\n\n' + "\n".join(tables)


def _read(fault: Fault, figures: Figures, books: Gateway, began_ms: float) -> Outcome:
    """Read from the ledger what every request did."""
    routes: dict[str, list[str]] = {}
    failed_s: list[tuple[float, float]] = []
    for request_id, deployment, state, sent_at_ms, ended_at_ms in books.query(
        "SELECT request_id, deployment, state, sent_at_ms, ended_at_ms FROM attempt ORDER BY request_id, n"
    ):
        name = deployment.partition("/")[0]
        routes.setdefault(request_id, []).append(name)
        if name == KEYS[0] and state != "ok":
            failed_s.append(((sent_at_ms - began_ms) / 1000, (ended_at_ms - began_ms) / 1000))
    requests = [
        Request((created_at_ms - began_ms) / 1000, ended_at_ms - created_at_ms, tuple(routes.get(request_id, ())))
        for request_id, created_at_ms, ended_at_ms in books.query("SELECT id, created_at_ms, ended_at_ms FROM request")
    ]
    # From the first failure on the key is left alone; what was sent before is part of the same discovery.
    left_alone_s = min((ended_s for _, ended_s in failed_s), default=None)
    trials_s = [] if left_alone_s is None else sorted(sent_s for sent_s, _ in failed_s if sent_s > left_alone_s)
    return Outcome(fault, figures, requests, left_alone_s, trials_s, books.verification()["clean"])


# --------------------------------------------------------------------------------------------------------------- telling


def _report(outcomes: Sequence[Outcome], requests: int, known: Mapping[str, str]) -> str:
    head = [
        "fault",
        "served",
        "noticed it",
        "calls at most",
        "tried again",
        "others p50 ms",
        "others p99 ms",
        "they p99 ms",
    ]
    rows = [
        [
            one.fault.name,
            f"{one.success:.4%}",
            f"{len(one.noticed)}",
            f"{one.most_calls}",
            f"{len(one.trials_s)}",
            _ms(one.percentile(0.5, noticed=False)),
            _ms(one.percentile(0.99, noticed=False)),
            _ms(one.percentile(0.99, noticed=True)),
        ]
        for one in outcomes
    ]
    table = "\n".join("| " + " | ".join(cells) + " |" for cells in (head, ["---"] + ["--:"] * (len(head) - 1), *rows))
    day = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    broken = [one.fault.name for one in outcomes if not one.kept]
    verdict = "Every promise held." if not broken else f"BROKEN: {', '.join(broken)}."
    machine = ", ".join(f"{name}: {value}" for name, value in known.items())
    return (
        f"# One of three keys fails\n\n{day}, {requests:,} requests for each fault, {WORK.clients} at a time, a provider that"
        f" takes {THINKING_S * 1000:.0f} ms, billing on. {verdict}\n\n{table}\n\n"
        "Promised: 99.99 % served, one further call at most for whoever meets the failing key, and no more than one trial of it"
        f" in a cooldown. A key that says nothing is given up after {SILENCE_S:g} s here. *Noticed it* are the requests that"
        f" needed a second call: those under way when the key began to fail, and the trials.\n\n{machine}\n"
    )


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


_WIDTH, _ROW, _TOP, _LEFT, _RIGHT = 1500, 150, 120, 190, 40
_QUIET, _MET = "#5b4bdb", "#e08a1e"
_LOWEST_MS, _HIGHEST_MS = 10.0, 5000.0
_TICKS_MS = (10, 100, 1000)


def _draw(outcomes: Sequence[Outcome]) -> bytes:
    """Return a picture with a row for each fault and a dot for each request, by when it came and how long it took."""
    return picture(_WIDTH, _TOP + _ROW * len(outcomes) + 60, "".join(_elements(outcomes)))


def _elements(outcomes: Sequence[Outcome]) -> Iterator[str]:
    longest_s = max(request.at_s for one in outcomes for request in one.requests)

    def x(at_s: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (at_s + SECONDS_BEFORE + 1) / (longest_s + SECONDS_BEFORE + 1)

    yield text(30, 46, "Every request while one of three keys fails", size=25, weight=700)
    yield text(
        30,
        74,
        "by when it came, in seconds from the fault on, and how many milliseconds it took",
        size=15,
        colour=FAINT,
    )
    for number, one in enumerate(outcomes):
        top = _TOP + _ROW * number
        yield text(30, top + 60, one.fault.name, size=17, weight=700)
        yield text(30, top + 84, f"{one.success:.2%} served", size=13, colour=FAINT)
        yield text(30, top + 104, f"{len(one.noticed)} noticed", size=13, colour=FAINT)
        for tick in _TICKS_MS:
            yield line(_LEFT, _y(tick, top), _WIDTH - _RIGHT, _y(tick, top), RULE, 1)
            yield text(_LEFT - 8, _y(tick, top) + 4, f"{tick}", size=12, colour=FAINT, anchor="end")
        yield line(x(0), top + 6, x(0), top + _ROW - 12, _MET, 1.5, dashes="4 4")
        for request in sorted(one.requests, key=lambda each: each.noticed):
            colour, radius = (_MET, 4.0) if request.noticed else (_QUIET, 1.2)
            yield dot(x(request.at_s), _y(request.took_ms, top), colour, filled=True, radius=radius)
    foot = _TOP + _ROW * len(outcomes) + 20
    for second in range(0, int(longest_s) + 1, 5):
        yield text(x(second), foot, f"{second} s", size=13, colour=FAINT, anchor="middle")
    yield dot(_LEFT + 6, foot + 22, _QUIET, filled=True, radius=4)
    yield text(_LEFT + 18, foot + 27, "one call", size=14)
    yield dot(_LEFT + 106, foot + 22, _MET, filled=True, radius=4)
    yield text(_LEFT + 118, foot + 27, "met the failing key, and was served by another one", size=14)


def _y(took_ms: float, top: float) -> float:
    share = math.log(min(max(took_ms, _LOWEST_MS), _HIGHEST_MS) / _LOWEST_MS) / math.log(_HIGHEST_MS / _LOWEST_MS)
    return top + _ROW - 20 - (_ROW - 34) * share


if __name__ == "__main__":
    sys.exit(main())
