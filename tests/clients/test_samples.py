"""The samples of docs/clients.md, as they stand there; only the address is the test's."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from tests.clients.conftest import Books
from tests.support.clients import NODE, ROOT, environment, missing, python_of

PAGE = ROOT / "docs" / "clients.md"
ADDRESS = "http://127.0.0.1:8787"
# The libraries of a section, by the language of its samples.
LIBRARIES = {
    ("OpenAI for Python", "python"): "openai_python",
    ("OpenAI for JavaScript", "js"): "openai_node",
    ("AI SDK", "js"): "vercel_ai",
    ("LangChain", "js"): "langchain_js",
    ("LangChain", "python"): "langchain_python",
    ("LiteLLM", "python"): "litellm_python",
    ("cURL", "sh"): "",
}


@dataclass(frozen=True)
class Sample:
    section: str
    language: str
    text: str

    @property
    def library(self) -> str:
        return LIBRARIES[self.section, self.language]

    def command(self, directory: Path) -> list[str | Path]:
        """Write the sample down where its library is within reach, and return what runs it."""
        suffix = {"python": "py", "js": "mjs", "sh": "sh"}[self.language]
        file = directory / f"sample.{suffix}"
        file.write_text(self.text)
        if self.language == "js":
            (directory / "node_modules").symlink_to(ROOT / "tests" / "clients" / self.library / "node_modules")
            return [NODE, file]
        return ["bash", "-euo", "pipefail", file] if self.language == "sh" else [python_of(self.library), file]


def samples() -> list[Sample]:
    found = []
    for section in PAGE.read_text().split("\n## ")[1:]:
        title = section.partition("\n")[0]
        found += [Sample(title, *match) for match in re.findall(r"```(\w+)\n(.*?)```", section, re.DOTALL)]
    return found


def _without_curl() -> str | None:
    return None if shutil.which("curl") else "curl is not installed: `apt-get install curl`"


@pytest.mark.parametrize("sample", samples(), ids=lambda sample: f"{sample.section} {sample.language}")
def test_a_sample_does_what_it_says(sample: Sample, books: Books, tmp_path: Path) -> None:
    reason = missing(sample.library) if sample.library else _without_curl()
    if reason is not None:
        pytest.skip(reason)
    assert ADDRESS in sample.text
    if sample.library == "langchain_python":
        books.prefer_links()
    local = Sample(sample.section, sample.language, sample.text.replace(ADDRESS, books.gateway.url))
    done = subprocess.run(
        local.command(tmp_path),
        cwd=tmp_path,
        env=environment(OMIXA_API_KEY=books.key),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    pictures = sorted(tmp_path.glob("*.png"))
    assert tmp_path / "kite.png" in pictures
    for path in pictures:
        with Image.open(path) as image:
            image.load()
    charges = books.charges()
    assert charges
    assert charges == [("0.002000", 1)] * len(charges)
    # A sample that prints what it was charged prints what the receipts say.
    assert sorted(re.findall(r"0\.\d{6}", done.stdout)) in ([], ["0.002000"])
    for request_id in re.findall(r"req_\w+", done.stdout):
        assert books.receipt(request_id)["billed_amount"] == "0.002000"


def test_every_section_has_samples() -> None:
    assert {(sample.section, sample.language) for sample in samples()} == set(LIBRARIES)
