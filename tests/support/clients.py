"""Other people's client libraries, each in a process of its own, as `make clients` installs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
INSTALLED = ROOT / ".venv-clients"
NODE = INSTALLED / "bin" / "node"
LIBRARIES = ("openai_python", "openai_node", "vercel_ai", "langchain_python", "langchain_js", "litellm_python")
# LiteLLM fetches prices from the web while it is imported, unless it is told not to.
_VARIABLES = {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}


def missing(library: str) -> str | None:
    """Return what must be done before a library can be used, or None when it is installed."""
    place = ROOT / "tests" / "clients" / library
    if library == "openai_python":
        return None
    needed = [INSTALLED / ".done"]
    if (place / "package.json").exists():
        needed.append(place / "node_modules" / ".package-lock.json")
    absent = next((path for path in needed if not path.exists()), None)
    return None if absent is None else f"{absent.relative_to(ROOT)} is missing: `make clients` installs it"


def python_of(library: str) -> Path:
    """Return the interpreter that has a library."""
    return Path(sys.executable) if library == "openai_python" else INSTALLED / "bin" / "python"


def environment(**variables: str) -> dict[str, str]:
    """Return variables without proxies, keys and options that the machine may have."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return kept | _VARIABLES | variables


class ClientFailed(Exception):
    """What a library raised. `told` is what it says of it: name, message, status and code, where it knows them."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        super().__init__(f"{told['name']}: {told['message']}")
        self.told = told


@dataclass
class Library:
    """A library in its process; it answers one call at a time."""

    process: subprocess.Popen[str]
    errors: Path

    def call(self, call: str, **fields: Any) -> Any:
        """Make a call and return what it brings. Raises ClientFailed."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"call": call, **fields}) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, f"it has stopped: {self.errors.read_text()[-4000:]}"
        answer = json.loads(line)
        if "error" in answer:
            raise ClientFailed(answer["error"])
        return answer["made"]


@contextmanager
def running_library(library: str, **variables: str) -> Iterator[Library]:
    """Start the process of a library, with these variables in its environment."""
    module = f"tests.clients.{library}.client"
    script = ROOT / "tests" / "clients" / library / "client.mjs"
    command = [NODE, script] if script.exists() else [python_of(library), "-m", module]
    with tempfile.TemporaryDirectory() as directory:
        errors = Path(directory) / "stderr"
        with errors.open("w") as stderr:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment(**variables),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        with process:
            try:
                yield Library(process, errors)
            finally:
                process.kill()


@dataclass(frozen=True)
class Client:
    """One way to call the gateway: a library, and where it has several, which of its providers."""

    library: str
    provider: str | None = None
    edits: bool = True
    # Some ask for several pictures by as many requests.
    makes_one_a_call: bool = False
    # Some read links only and do not say so: the workspace's setting must.
    needs_links: bool = False

    def __str__(self) -> str:
        return self.library if self.provider is None else f"{self.library}-{self.provider}"

    @property
    def fields(self) -> dict[str, Any]:
        return {} if self.provider is None else {"provider": self.provider}
