"""What those who speak OpenAI's Images API do differently: Azure OpenAI, and servers that were built to be called in its place.

Source: the references of the services, and what engines do with words that they take for options.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from omixa.domain.images import ImageFormat
from omixa.errors import UpstreamRejected

_ENGINE_OPTIONS = re.compile(r"<\s*/?\s*sd_cpp_extra_args", re.IGNORECASE)


def _without_options(prompt: str) -> str:
    """Return a prompt that sets no options of stable-diffusion.cpp. Raises UpstreamRejected for one that does."""
    if _ENGINE_OPTIONS.search(prompt):
        raise UpstreamRejected(
            "prompt must not contain <sd_cpp_extra_args>: it would set options of the engine.", param="prompt"
        )
    return prompt


def _without_bars(prompt: str) -> str:
    """Return a prompt for LocalAI, which takes what stands behind a bar for what must not be painted."""
    return _without_options(prompt).replace("|", "\N{FULLWIDTH VERTICAL LINE}")


@dataclass(frozen=True, slots=True)
class Dialect:
    """What those who speak this wire format do differently.

    `key_header` carries the key, None where it is a bearer token. `formats` are those that can be asked for; others are encoded
    by the gateway, from a PNG. `picture_field` is the field of a form that takes pictures to edit. Only where `is_open` may a
    picture be asked for in base64, and must be, and is a size of `auto` the gateway's to choose. `guard` makes prompts harmless.
    """

    key_header: str | None = None
    formats: tuple[ImageFormat, ...] = ("png", "jpeg", "webp")
    picture_field: Literal["image", "image[]"] = "image[]"
    is_open: bool = False
    guard: Callable[[str], str] = str


OPENAI = Dialect()
AZURE = Dialect(key_header="api-key", formats=("png", "jpeg"))
COMPATIBLE = Dialect(formats=("png",), picture_field="image", is_open=True, guard=_without_options)
LOCALAI = dataclasses.replace(COMPATIBLE, guard=_without_bars)
