"""What the gateway may do in a model's place, where its file says that this can be done and the operator allows it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Final

from omixa.catalogue.loader import Catalogue, CatalogueError
from omixa.domain.models import Model, Parameter

_EVERY_VALUE: Final = "*"


def with_emulation(catalogue: Catalogue, *, masks: Iterable[str] = ()) -> Catalogue:
    """Return the catalogue with what the gateway emulates for the models that are named; nothing is, for all others.

    What is allowed is no longer refused by a model's parameters, and everything that is made from them follows. Raises
    CatalogueError for a model that is not there or for which there is nothing to emulate.
    """
    allowed = {name.lower() for name in masks}
    for name in sorted(allowed):
        model = catalogue.models.get(name)
        if model is None:
            raise CatalogueError(f'emulation.masks: the model "{name}" does not exist')
        if model.mask_policy != "composite":
            raise CatalogueError(f"emulation.masks: {model.id} has the mask_policy {model.mask_policy}, not composite")
    models = {
        name: _with_masks(model) if name in allowed else _without(model) for name, model in catalogue.models.items()
    }
    return dataclasses.replace(catalogue, models=models)


def _with_masks(model: Model) -> Model:
    parameters = tuple(_accepting(one, _EVERY_VALUE) if one.name == "mask" else one for one in model.parameters)
    return dataclasses.replace(model, parameters=parameters)


def _without(model: Model) -> Model:
    return dataclasses.replace(model, mask_policy="none") if model.mask_policy == "composite" else model


def _accepting(parameter: Parameter, value: str) -> Parameter:
    unsupported: Mapping[str, str] = {name: why for name, why in parameter.unsupported.items() if name != value}
    return dataclasses.replace(parameter, unsupported=unsupported)
