"""LangChain's tool for OpenAI's pictures in Python, as it is."""

from __future__ import annotations

from typing import Any

from langchain_community.tools.openai_dalle_image_generation import OpenAIDALLEImageGenerationTool
from langchain_community.utilities.dalle_image_generator import DallEAPIWrapper

from tests.clients.calls import serve


def generate(client: dict[str, Any], prompt: str, **fields: Any) -> dict[str, Any]:
    tool = OpenAIDALLEImageGenerationTool(api_wrapper=DallEAPIWrapper(**client, **fields))
    return {"pictures": tool.invoke(prompt).split("\n")}


def _describe(error: Exception) -> dict[str, Any]:
    return {"status": getattr(error, "status_code", None), "code": getattr(error, "code", None)}


serve({"generate": generate}, _describe)
