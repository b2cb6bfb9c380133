"""The command line of the proof: `python -m tests.proof`."""

from __future__ import annotations

import argparse
import json
import logging
import random
import signal
import sys
import time
from pathlib import Path

from omixa.cli.memory import collect_seldom, leave_out_what_is_loaded
from tests.proof.full import FullRun
from tests.proof.part import RESULT, Part, Task, surroundings
from tests.proof.parts import PARTS, part_named

ROOT = Path(__file__).resolve().parents[2]
SECONDS_BETWEEN_SIGNS = 5.0


def main() -> int:
    """Do what the arguments say and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.proof", description="Prove the ledger, or one part of it.")
    parser.add_argument("part", nargs="?", choices=[part.name for part in PARTS], help="the part to run alone")
    parser.add_argument("--size", type=int, help="how much of it; by default what the tests do")
    parser.add_argument("--seed", type=int, help="its chance; told at the start, so that a run can be repeated")
    parser.add_argument("--list", action="store_true", help="list the parts and their full sizes")
    parser.add_argument(
        "--scale", type=int, default=1, help="divide all sizes by this, to see how long a full run takes"
    )
    options = parser.parse_args()
    # Also where this was started in the background, which would have these ignored: whoever is told to end stops its servers.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    # What the code under test logs of its faults is part of the tests.
    logging.disable(logging.CRITICAL)
    if options.list:
        for part in PARTS:
            print(f"{part.name:18} {part.size:>10,} {part.unit:10} {part.title}")
        return 0
    if options.part:
        run_alone(part_named(options.part), options.size, options.seed)
        return 0
    return FullRun(ROOT, scale=options.scale).run()


def run_alone(part: Part, size: int | None, seed: int | None) -> None:
    """Run one share of a part in this process and print what it did."""
    if reason := part.why_not():
        sys.exit(reason)
    size = (part.small or part.size) if size is None else size
    seed = random.SystemRandom().randrange(2**32) if seed is None else seed
    print(f"{part.name} --size {size} --seed {seed}", flush=True)
    told = began = time.monotonic()

    def progress(done: int) -> None:
        nonlocal told
        if time.monotonic() - told > SECONDS_BETWEEN_SIGNS:
            told = time.monotonic()
            print(f"{done:,} of {size:,} {part.unit} after {told - began:.0f} s", flush=True)

    # As a server treats its memory.
    collect_seldom()
    leave_out_what_is_loaded()
    with surroundings(part) as (directory, cluster):
        result = part.run(Task(size, seed, directory, progress, cluster))
    print(f"passed in {time.monotonic() - began:.1f} s")
    print(RESULT + json.dumps(result.figures))
