"""Holds real answers against the API document, so that the document cannot lie."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Any

import httpx2 as httpx
import msgspec
from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

_DOCUMENT = "urn:omixa:document"
# HTTP's own, and what only proxies read.
_NOT_FOR_CLIENTS = frozenset(
    {
        "content-type",
        "content-length",
        "transfer-encoding",
        "connection",
        "cache-control",
        "date",
        "vary",
        "x-accel-buffering",
    }
)


class Document:
    """An OpenAPI document. Its answers are taken at their word: a field or a header of ours that it does not name is a lie."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = document
        self._components = copy.deepcopy(document["components"])
        for name, schema in self._components["schemas"].items():
            if not name.startswith(("ImageRequest", "ImageEdit")):
                _forbid_unknown(schema)
        contents = {"components": self._components}
        self._registry = Registry().with_resource(_DOCUMENT, DRAFT202012.create_resource(contents)).crawl()

    def check(self, answer: httpx.Response) -> None:
        """Raise AssertionError unless an answer is what the document says of its request."""
        answer.read()
        operation = self.operation(answer.request.method, answer.request.url.path)
        described = operation["responses"].get(str(answer.status_code))
        assert described is not None, f"{operation['operationId']}: {answer.status_code} is not documented"
        self._check_headers(answer, described)
        if "content" not in described:
            assert not answer.content, "a body where none is documented"
            return
        content_type = answer.headers["content-type"].partition(";")[0]
        content = described["content"].get(content_type)
        assert content is not None, f"{operation['operationId']}: {content_type} is not documented"
        if content_type == "text/event-stream":
            for event in events(answer.text):
                self.check_value(_event_schema(event), event)
        elif content_type == "application/json" and answer.request.method != "HEAD":
            self._validate(content["schema"], answer.json())

    def check_value(self, name: str, value: object) -> None:
        """Raise a ValidationError unless a value is what the schema of that name says."""
        self._validate({"$ref": f"#/components/schemas/{name}"}, value)

    def operation(self, method: str, path: str) -> Mapping[str, Any]:
        """Return what the document says of a request; it lists canonical paths only."""
        path = re.sub("^/v1/", "/api/v1/", path)
        for template, operations in self.document["paths"].items():
            # Whatever can be got can be asked for without its body.
            method = "GET" if method == "HEAD" else method
            if re.fullmatch(re.sub(r"{\w+}", "[^/]+", template), path) and method.lower() in operations:
                return operations[method.lower()]
        raise AssertionError(f"{method} {path} is not documented")

    def _check_headers(self, answer: httpx.Response, described: Mapping[str, Any]) -> None:
        known = {name.lower(): name for name in described["headers"]}
        for name in answer.headers:
            assert name in known or name in _NOT_FOR_CLIENTS, f"the header {name} is not documented"
        for name in known.values():
            header = self._components["headers"][name]
            value = answer.headers.get(name)
            assert value is not None or not header.get("required"), f"the header {name} is missing"
            if value is not None:
                self._validate(header["schema"], int(value) if header["schema"].get("type") == "integer" else value)

    def _validate(self, schema: Mapping[str, Any], value: object) -> None:
        if "$ref" in schema:
            schema = {"$ref": _DOCUMENT + schema["$ref"]}
        Draft202012Validator(schema, registry=self._registry).validate(value)


def _event_schema(event: Mapping[str, Any]) -> str:
    if "type" not in event:
        return "Error"
    return "PreviewEvent" if event["type"].endswith(".partial_image") else "ImageEvent"


def events(text: str) -> list[dict[str, Any]]:
    """Return the data of server-sent events."""
    return [msgspec.json.decode(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")]


def _forbid_unknown(schema: object) -> None:
    if isinstance(schema, dict):
        if "properties" in schema:
            schema.setdefault("additionalProperties", False)
        for inner in schema.values():
            _forbid_unknown(inner)
    elif isinstance(schema, list):
        for inner in schema:
            _forbid_unknown(inner)
