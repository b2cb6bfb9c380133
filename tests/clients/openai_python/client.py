"""OpenAI's client for Python, as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import openai

from tests.clients.calls import serve


def _told(made: Any) -> dict[str, Any]:
    fields = made.to_dict()
    pictures = [picture["b64_json"] for picture in fields.pop("data")]
    return {"pictures": pictures, "request_id": made._request_id, **fields}


def generate(client: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return _told(openai.OpenAI(**client).images.generate(**fields))


def edit(client: dict[str, Any], images: list[str], mask: str | None = None, **fields: Any) -> dict[str, Any]:
    files = [Path(path) for path in images]
    if mask is not None:
        fields["mask"] = Path(mask)
    return _told(openai.OpenAI(**client).images.edit(image=files if len(files) > 1 else files[0], **fields))


def stream(client: dict[str, Any], **fields: Any) -> list[dict[str, Any]]:
    return [event.to_dict() for event in openai.OpenAI(**client).images.generate(stream=True, **fields)]


def _describe(error: Exception) -> dict[str, Any]:
    names = {"status": "status_code", "code": "code", "param": "param", "type": "type", "request_id": "request_id"}
    return {name: getattr(error, attribute, None) for name, attribute in names.items()}


serve({"generate": generate, "edit": edit, "stream": stream}, _describe)
