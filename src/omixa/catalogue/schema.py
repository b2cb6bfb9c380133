"""A model's request body as JSON Schema 2020-12, for documentation, forms and clients that check before they send.

Whatever the schema accepts, `validation.validate` accepts, as far as a schema can tell: it counts no tokens and opens no
pictures. The other way round `validate` is more lenient: null for what is optional, other words for a default.
"""

from __future__ import annotations

from typing import Any

from omixa.catalogue.edits import as_edit
from omixa.domain.models import Model, Parameter

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_FILE = {"type": "string", "format": "binary"}
DATA_URL_PATTERN = "^data:image/(png|jpeg|webp|avif);base64,[A-Za-z0-9+/]+={0,2}$"


def json_schema(model: Model) -> dict[str, Any]:
    """Return the schema of a request to a model, as plain JSON values."""
    parameters = {parameter.name: parameter for parameter in model.parameters}
    rules: list[dict[str, Any]] = []
    if {"output_compression", "output_format"} <= parameters.keys():
        rules.append(_compression_rule())
    if "background" in parameters and "transparent" in parameters["background"].accepted:
        rules.append(_transparency_rule())
    return {
        "$schema": DIALECT,
        "title": model.name,
        "description": model.description,
        "type": "object",
        "properties": {parameter.name: _property(parameter) for parameter in model.parameters},
        "required": [parameter.name for parameter in model.parameters if parameter.required],
        "additionalProperties": False,
        **_examples(model),
    } | ({"allOf": rules} if rules else {})


def edit_schema(model: Model) -> dict[str, Any]:
    """Return the schema of an edit by a model, as JSON asks for it."""
    return json_schema(as_edit(model, "images"))


def form_schema(model: Model) -> dict[str, Any]:
    """Return the schema of an edit by a model, as a form asks for it: the pictures are files."""
    schema = json_schema(as_edit(model, "image"))
    pictures = schema["properties"]["image"]
    if "items" in pictures:
        schema["properties"]["image"] = {**pictures, "items": _FILE}
    mask = schema["properties"]["mask"]
    if "anyOf" in mask:
        schema["properties"]["mask"] = {"description": mask["description"], **_FILE}
    return schema


def _examples(model: Model) -> dict[str, Any]:
    # The model's own example has no picture.
    return {} if model.needs_pictures else {"examples": [dict(model.example)]}


def _property(parameter: Parameter) -> dict[str, Any]:
    schema: dict[str, Any] = {"description": _description(parameter)}
    if parameter.refusal is not None:
        return schema | {"not": {}}
    schema |= _shape(parameter)
    if parameter.default is not None:
        schema["default"] = parameter.default
    if parameter.example is not None:
        schema["examples"] = [parameter.example]
    return schema


def _description(parameter: Parameter) -> str:
    notes = [
        f"`{value}` is not supported: {reason}." for value, reason in parameter.unsupported.items() if value != "*"
    ]
    return " ".join([parameter.description, *notes])


def _shape(parameter: Parameter) -> dict[str, Any]:
    if parameter.type == "images":
        fewest = {} if parameter.minimum is None else {"minItems": parameter.minimum}
        return {"type": "array", "items": _picture(), **fewest, "maxItems": parameter.maximum}
    if parameter.type == "image":
        return _picture()
    if parameter.type == "integer" and parameter.accepted:
        return {"type": "integer", "enum": list(parameter.accepted)}
    if parameter.type == "integer":
        return {"type": "integer", "minimum": parameter.minimum, "maximum": parameter.maximum}
    if parameter.type == "boolean":
        return {"type": "boolean"}
    return _string(parameter)


def _string(parameter: Parameter) -> dict[str, Any]:
    if parameter.accepted:
        return {"type": "string", "enum": list(parameter.accepted)}
    schema: dict[str, Any] = {"type": "string", "not": {"pattern": "\\u0000"}}
    if parameter.required:
        schema["pattern"] = "\\S"
    if parameter.minimum is not None:
        schema["minLength"] = parameter.minimum
    if parameter.maximum is not None:
        schema["maxLength"] = parameter.maximum
    return schema


def _picture() -> dict[str, Any]:
    address = {"type": "string", "pattern": DATA_URL_PATTERN}
    inner = {"type": "object", "properties": {"url": address}, "required": ["url"], "additionalProperties": False}
    item = {
        "type": "object",
        "properties": {"type": {"const": "image_url"}, "image_url": {"anyOf": [inner, address]}},
        "required": ["image_url"],
        "additionalProperties": False,
    }
    return {"anyOf": [item, address]}


def _compression_rule() -> dict[str, Any]:
    """Lossless pictures take no compression but the neutral one; png is also what an absent format means."""
    compressed = {"required": ["output_format"], "properties": {"output_format": {"enum": ["jpeg", "webp"]}}}
    neutral = {"properties": {"output_compression": {"const": 100}}}
    return {"if": compressed, "else": neutral}


def _transparency_rule() -> dict[str, Any]:
    """Leave JPEG out where the background is transparent."""
    transparent = {"required": ["background"], "properties": {"background": {"const": "transparent"}}}
    return {"if": transparent, "then": {"properties": {"output_format": {"not": {"const": "jpeg"}}}}}
