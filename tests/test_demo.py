"""`make demo JOB=…` does what it says, in an empty directory: pictures before and after, a bill, a clean ledger."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from omixa.imaging.codec import convert
from tests.support.imagefiles import opened
from tests.support.pictures import distance_within, outside

DEMO = Path(__file__).parent.parent / "scripts" / "demo.py"
# What each job makes of which picture, by the names of the files.
JOBS = {
    "merge": ("before-rocket.jpg", "after.png"),
    "cutout": ("before-coffee.png", "after.png"),
    "upscale": ("before-coffee.png", "after.png"),
}


def run(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, DEMO, *arguments], cwd=directory, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.parametrize("job", JOBS)
def test_a_job_saves_what_went_in_and_what_came_out(tmp_path: Path, job: str) -> None:
    done = run(tmp_path, job)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "The ledger is clean." in done.stdout
    assert "billed    $0.00" in done.stdout
    before, after = (opened((tmp_path / "demo-output" / name).read_bytes()) for name in JOBS[job])
    assert after.size == tuple(side * (2 if job == "upscale" else 1) for side in before.size)
    assert (after.mode == "RGBA") == (job == "cutout")


def test_the_edit_takes_the_tower_away_and_leaves_the_rest(tmp_path: Path) -> None:
    done = run(tmp_path, "edit")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "The ledger is clean." in done.stdout
    output = tmp_path / "demo-output"
    # The photograph has a colour profile of its own: what stays is what it shows.
    shown, after = ((output / name).read_bytes() for name in ("before-rocket.jpg", "after.png"))
    before, left = opened(bytes(convert(shown, format="png").data)), opened(after)
    mask = (output / "mask.png").read_bytes()
    assert outside(before, left, mask) == 0
    assert distance_within(before, left, mask) > 3


def test_an_unknown_job_is_told_which_there_are(tmp_path: Path) -> None:
    done = run(tmp_path, "paint-the-house")
    assert done.returncode == 2
    assert "image, " in done.stderr
    assert not list(tmp_path.iterdir())
