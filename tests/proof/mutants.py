"""Deliberate bugs, kept as small patches: each breaks one promise, and the tests that it names must fail with it.

`tests/proof/mutants/NN-name.patch` begins with three lines for people and for this module: `Breaks:` the promise, `Caught
by:` tests by their pytest ids, separated by spaces, and optionally `Needs: postgresql`. The patch itself has one line of
context, so that it outlives changes around it; when it does not apply any more, its bug has to be put into the new code.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.proof.part import Part, Result, Task
from tests.support.postgres import why_not

ROOT = Path(__file__).resolve().parents[2]
PATCHES = ROOT / "tests/proof/mutants"
# What the tests of a mutant need of the project. What Python has compiled goes along: it is compiled anew where a patch
# has changed its source, and every process would have to do that for all modules otherwise.
_COPIED = (
    "src",
    "tests",
    "bench",
    "docs",
    "scripts",
    "pyproject.toml",
    "README.md",
    "CHANGELOG.md",
    "LICENSE",
    "NOTICE",
)
_IGNORED = shutil.ignore_patterns("node_modules")
_TIMEOUT_S = 1200
# What pytest exits with when tests have failed, and when there was nothing to run or the run itself broke.
_TESTS_FAILED = 1


@dataclass(frozen=True)
class Mutant:
    """A deliberate bug: the promise that it breaks, and the tests that must catch it."""

    path: Path
    breaks: str
    caught_by: tuple[str, ...]
    needs_postgres: bool

    @property
    def name(self) -> str:
        return self.path.stem

    @classmethod
    def read(cls, path: Path) -> Mutant:
        """Read a patch's own lines."""
        head = path.read_text(encoding="utf-8").partition("\n--- ")[0]
        lines = dict(re.findall(r"^([A-Z][a-z ]+): (.+)$", head, flags=re.MULTILINE))
        return cls(path, lines["Breaks"], tuple(lines["Caught by"].split()), lines.get("Needs") == "postgresql")


def mutants() -> list[Mutant]:
    """Return all mutants in the order of their numbers."""
    return [Mutant.read(path) for path in sorted(PATCHES.glob("*.patch"))]


def copy_project(to: Path) -> None:
    """Copy what tests need of the project."""
    for name in _COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, to / name, ignore=_IGNORED)
        else:
            shutil.copy2(source, to / name)


def check_applies(mutant: Mutant) -> None:
    """Raise when a bug cannot be put into the project as it is now; nothing is changed."""
    _git_apply(mutant, ROOT, "--check")


def _git_apply(mutant: Mutant, tree: Path, *options: str) -> None:
    done = subprocess.run(
        ["git", "apply", *options, str(mutant.path)],
        cwd=tree,
        # Where no repository is around it, git patches files and asks for nothing else.
        env=os.environ | {"GIT_CEILING_DIRECTORIES": str(tree.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (
        f"{mutant.path.name} does not apply any more, because the code around its bug has changed. The bug is still worth"
        f" catching ({mutant.breaks}). Put it into the code as it is now, replace the patch below its first lines by"
        f" what `git diff -U1` says, take the bug out again, and see that `python -m tests.proof mutants --size 1000` catches"
        f" it.\n{done.stderr}"
    )


def run_tests(
    name: str, tests: Sequence[str], directory: Path, mutant: Mutant | None
) -> subprocess.CompletedProcess[str]:
    """Run tests in a copy of the project, with a bug in it or with none. Raises when they cannot run."""
    tree = directory / name
    copy_project(tree)
    if mutant is not None:
        _git_apply(mutant, tree)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "--tb=line", *tests],
        cwd=tree,
        # The copy comes before the project's own installation.
        env=os.environ | {"PYTHONPATH": str(tree / "src"), "REQUIRE_ALL_TESTS": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=_TIMEOUT_S,
    )
    shutil.rmtree(tree)
    assert done.returncode in {0, _TESTS_FAILED}, f"{name}: its tests cannot run\n{done.stdout}{done.stderr}"
    return done


def is_caught(mutant: Mutant, directory: Path) -> bool:
    """Tell whether the tests that a mutant names fail with it."""
    return run_tests(mutant.name, mutant.caught_by, directory, mutant).returncode == _TESTS_FAILED


def run(task: Task) -> Result:
    """Try `size` mutants: chosen at random, or all of them. Before all of them, see that their tests pass without any."""
    possible = [mutant for mutant in mutants() if not (mutant.needs_postgres and why_not())]
    chosen = task.chance().sample(possible, min(task.size, len(possible)))
    if len(chosen) == len(possible):
        tests = sorted({test for mutant in chosen for test in mutant.caught_by})
        healthy = run_tests("healthy", tests, task.directory, None)
        assert healthy.returncode == 0, healthy.stdout
    survivors = []
    for number, mutant in enumerate(chosen, 1):
        if not is_caught(mutant, task.directory):
            survivors.append(f"{mutant.name} ({mutant.breaks}) was not caught by {' '.join(mutant.caught_by)}")
        task.progress(number)
    assert not survivors, "\n".join(survivors)
    return Result({"mutants": len(chosen), "caught": len(chosen)})


PART = Part(
    name="mutants",
    title="Deliberate bugs, each in a copy of the project",
    passes_when="the tests that it names catch every one",
    run=run,
    unit="mutants",
    size=len(mutants()),
    share=len(mutants()),
    small=2,
)
