"""The page that says which tests play which fault is made from the tests, and no cell of it is empty."""

from __future__ import annotations

import subprocess
import sys

from tests.support.matrix import ROOT, ROWS


def test_every_row_is_played_in_all_four_ways_and_the_page_says_by_which_tests() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.matrix", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert list(ROWS) == list(range(1, 36))
