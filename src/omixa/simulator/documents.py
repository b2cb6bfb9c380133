"""What the simulators share that answer at once with a document in JSON which holds the picture in base64 and what it used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import pybase64
from starlette.responses import Response

from omixa.domain.scenarios import Step
from omixa.simulator.replies import BIG_USAGE_FACTOR
from omixa.simulator.service import Service


class DocumentService(Service):
    """Spoils documents in the mood of a step."""

    def answer(self, document: object, step: Step, headers: Mapping[str, str]) -> Response:
        """Return the answer that carries a document."""
        body = msgspec.json.encode(document)
        if step.name == "badjson":
            body = body[:-2]
        return self.deliver(body, "png", step, {"content-type": "application/json", **headers})


def encoded(data: bytes, step: Step) -> str:
    """Return a picture as text, which is no base64 where the mood is so."""
    text = pybase64.b64encode_as_string(data)
    return "!" + text[1:] if step.name == "badbase64" else text


def reported(usage: Mapping[str, int], step: Step, *, text: str, most: int) -> Mapping[str, Any] | None:
    """Return what is reported of a usage, None for nothing. `text` names the count of words, of which `most` may be."""
    match step.name:
        case "nousage":
            return None
        case "badusage":
            absurd = (-1, "many", 10**15)
            return {name: absurd[place % len(absurd)] for place, name in enumerate(usage)}
        case "longusage":
            return {**usage, text: most}
        case "bigusage":
            return {name: count * BIG_USAGE_FACTOR for name, count in usage.items()}
    return usage
