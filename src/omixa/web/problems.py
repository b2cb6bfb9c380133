"""A page for every code that an error can carry. What the class says is read from errors.py; `errors.toml` adds what to do.

A code without its text has no page, which a test notices.
"""

from __future__ import annotations

import functools
import inspect
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from typing import Literal

import msgspec

from omixa.api.errors import error_body, error_headers
from omixa.api.examples import REQUEST_ID
from omixa.errors import ClientGone, ContentRejected, InternalError, OmixaError, ServiceError, UpstreamError
from omixa.jobs.sweeper import INTERRUPTED

Who = Literal["you", "operator", "provider", "nobody"]


class Text(msgspec.Struct, forbid_unknown_fields=True):
    """What `errors.toml` says of a code. `fix` is Markdown, `message` an example of what the error says."""

    who: Who
    cause: str
    fix: str
    message: str
    param: str | None = None


@dataclass(frozen=True, slots=True)
class Kind:
    """One way in which a code is met: its status, its type, and whether the same request may succeed later."""

    status: int
    type: str
    retry: bool
    meaning: str


@dataclass(frozen=True, slots=True)
class Problem:
    """A code with all that its page says. `example` is an answer as it is sent."""

    code: str
    text: Text
    kinds: tuple[Kind, ...]
    example: str
    headers: str

    @property
    def path(self) -> str:
        """Return the address of its page below the root."""
        return f"docs/errors/{self.code}"


def problems() -> list[Problem]:
    """Return all codes that have a text, in the order of the alphabet."""
    texts, found = error_texts(), error_codes()
    return [_problem(code, found[code], texts[code]) for code in sorted(found.keys() & texts.keys())]


def error_texts() -> dict[str, Text]:
    """Return what `errors.toml` says, by code."""
    raw = (files("omixa.web") / "errors.toml").read_bytes()
    return msgspec.convert(tomllib.loads(raw.decode()), dict[str, Text])


def error_codes() -> dict[str, list[tuple[type[OmixaError], str]]]:
    """Return every code with the classes that carry it, and what it means there."""
    codes: dict[str, list[tuple[type[OmixaError], str]]] = {}
    for error in _tree(OmixaError):
        for code, meaning in {error.default_code: _sentence(error), **error.further_codes}.items():
            codes.setdefault(code, []).append((error, meaning))
    return codes


@functools.cache
def outcome_codes() -> list[str]:
    """Return with which codes a request can end for which something was held, in the order of the alphabet."""
    kinds = (UpstreamError, ServiceError, InternalError, ContentRejected, ClientGone)
    codes = {code for code, found in error_codes().items() if any(issubclass(kind, kinds) for kind, _ in found)}
    return sorted(codes | {INTERRUPTED})


def _tree(root: type[OmixaError]) -> Iterator[type[OmixaError]]:
    # Other modules have errors of their own that no client ever sees.
    if root.__module__ == OmixaError.__module__:
        yield root
        for child in root.__subclasses__():
            yield from _tree(child)


def _problem(code: str, found: list[tuple[type[OmixaError], str]], text: Text) -> Problem:
    # The most common one is the most general one, which comes first in the tree.
    kinds = [Kind(error.status, error.type, error.caller_may_retry, meaning) for error, meaning in found]
    error = found[0][0](text.message, code=code)
    error.param = text.param
    body = msgspec.json.format(error_body(error, REQUEST_ID), indent=2).decode()
    headers = "\n".join(f"{name.decode()}: {value.decode()}" for name, value in error_headers(error))
    return Problem(code, text, tuple(dict.fromkeys(kinds)), body, f"HTTP/1.1 {error.status}\n{headers}")


def _sentence(kind: type) -> str:
    return " ".join((inspect.getdoc(kind) or "").partition("\n\n")[0].split())
