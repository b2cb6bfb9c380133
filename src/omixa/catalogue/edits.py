"""A model as the edit route speaks of it: its reference pictures have OpenAI's names there, and one must be given."""

from __future__ import annotations

import dataclasses
from typing import Literal

from omixa.domain.models import Model, Parameter

EditField = Literal["image", "images"]
"""What the pictures to edit are called: `image` in a form, `images` in JSON."""


def as_edit(model: Model, field: EditField) -> Model:
    """Return the model with its field of pictures renamed and required. Everything else is the same as for generations."""
    parameters = tuple(_pictures(one, field) if one.type == "images" else one for one in model.parameters)
    return dataclasses.replace(model, parameters=parameters)


def _pictures(parameter: Parameter, field: EditField) -> Parameter:
    return dataclasses.replace(parameter, name=field, required=True, minimum=1)
