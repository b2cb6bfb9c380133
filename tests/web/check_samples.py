"""Run every program that the pages print, and write down when: `make samples` writes src/omixa/web/programs/checked.toml."""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

import pytest

from omixa.domain.times import utc_today
from omixa.web.samples import CHECKED, LANGUAGES, template_digest

ROOT = Path(__file__).parent.parent.parent
FILE = ROOT / "src" / "omixa" / "web" / "programs" / CHECKED
TEST = "tests/web/test_samples.py::test_a_program_runs_as_printed"


class Outcomes:
    """Collects how the programs of each language did."""

    def __init__(self) -> None:
        self.by_language: defaultdict[str, list[bool]] = defaultdict(list)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note what was run; what was skipped says nothing."""
        if report.when == "call" and not report.skipped:
            # The test's name ends with [language-model].
            _, _, parameters = report.nodeid.partition("[")
            for language in sorted((one.id for one in LANGUAGES), key=len, reverse=True):
                if parameters.startswith(f"{language}-"):
                    self.by_language[language].append(report.passed)
                    break


def main() -> int:
    """Run them; return 0 when every language was run and every program did its work."""
    outcomes = Outcomes()
    code = pytest.main([str(ROOT / TEST), "-q", "-p", "no:cacheprovider"], plugins=[outcomes])
    today = utc_today().isoformat()
    lines = ["# Written by `make samples`: when every program of a template was last run as printed.\n"]
    for language in LANGUAGES:
        done = outcomes.by_language[language.id]
        if done and all(done):
            lines.append(f'\n[{language.id}]\nday = "{today}"\ndigest = "{template_digest(language)}"\n')
        elif language.is_run:
            sys.stderr.write(f"{language.name} was not run, or not every program of it did its work.\n")
            code = code or 1
    FILE.write_text("".join(lines), encoding="utf-8")
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
