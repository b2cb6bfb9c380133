"""Parts that are ordinary tests, which the full proof runs again so that its page tells all of it."""

from __future__ import annotations

import os
import re
import subprocess
import sys

from tests.proof.part import Part, Result, Task

_PASSED = re.compile(r"(\d+) passed")


def run_tests(task: Task, *selection: str) -> Result:
    """Run tests by pytest in a process of their own, and count those that passed. Raises when one does not."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:randomly", "--no-header", "-ra", "--verbosity=0", *selection],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"REQUIRE_ALL_TESTS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    passed = _PASSED.search(done.stdout)
    assert passed is not None, done.stdout
    task.progress(1)
    return Result({"tests": int(passed[1])})


GOLDEN = Part(
    name="golden-prices",
    title="Prices that were worked out by hand",
    passes_when="every price is the exact string, and its arithmetic is right",
    run=lambda task: run_tests(task, "tests/unit/test_golden_prices.py"),
    unit="run",
    size=1,
    share=1,
    small=0,
)
FLOATS = Part(
    name="no-floats",
    title="No float in money code",
    passes_when="no file of money code has a float literal, `float`, a true division or JSON that may become a float",
    run=lambda task: run_tests(task, "tests/unit/test_money.py"),
    unit="run",
    size=1,
    share=1,
    small=0,
)
