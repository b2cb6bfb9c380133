"""LiteLLM's client, as it is."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import litellm

from tests.clients.calls import serve


def _told(made: Any) -> dict[str, Any]:
    pictures = [picture.b64_json for picture in made.data]
    return {"pictures": pictures, "usage": made.usage.model_dump() if made.usage else None}


def generate(client: dict[str, Any], model: str, **fields: Any) -> dict[str, Any]:
    return _told(litellm.image_generation(model=f"openai/{model}", **_address(client), **fields))


def edit(
    client: dict[str, Any], model: str, images: list[str], mask: str | None = None, **fields: Any
) -> dict[str, Any]:
    with ExitStack() as stack:
        files = [stack.enter_context(Path(path).open("rb")) for path in images]
        if mask is not None:
            fields["mask"] = stack.enter_context(Path(mask).open("rb"))
        image = files if len(files) > 1 else files[0]
        return _told(litellm.image_edit(model=f"openai/{model}", image=image, **_address(client), **fields))


def _address(client: dict[str, Any]) -> dict[str, str]:
    return {"api_base": client["base_url"], "api_key": client["api_key"]}


def _describe(error: Exception) -> dict[str, Any]:
    return {"status": getattr(error, "status_code", None), "code": getattr(error, "code", None)}


serve({"generate": generate, "edit": edit}, _describe)
