"""What the gateway may do in a model's place, where its file says that this can be done and the operator allows it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Final

from omixa.catalogue.loader import Catalogue, CatalogueError
from omixa.domain.models import Model, Parameter

_EVERY_VALUE: Final = "*"


CUTOUT_MODEL: Final = "omixa-cutout-1"
"""The embedded model that takes backgrounds away."""


def with_emulation(catalogue: Catalogue, *, masks: Iterable[str] = (), transparency: Iterable[str] = ()) -> Catalogue:
    """Return the catalogue with what the gateway emulates for the models that are named; nothing is, for all others.

    What is allowed is no longer refused by a model's parameters, and everything that is made from them follows. Raises
    CatalogueError for a model that is not there or for which there is nothing to emulate.
    """
    masked = _allowed(catalogue, masks, "masks", "mask_policy", "composite")
    cut_out = _allowed(catalogue, transparency, "transparency", "transparency_policy", "cutout")
    if cut_out and ("embedded", CUTOUT_MODEL) not in catalogue.offers:
        raise CatalogueError(f"emulation.transparency: needs the model {CUTOUT_MODEL}, and the catalogue has none")
    for model in (catalogue.models[name] for name in sorted(cut_out)):
        for prices in model.price_lists:
            if not any(extra.counts == "cutouts" for extra in prices.extras):
                raise CatalogueError(
                    f"emulation.transparency: the price list {prices.version} has no price for it; each list of {model.id} needs"
                    " extras with a line that counts cutouts"
                )
    models = {
        name: _emulating(model, masked=name in masked, cut_out=name in cut_out)
        for name, model in catalogue.models.items()
    }
    return dataclasses.replace(catalogue, models=models)


def _allowed(catalogue: Catalogue, names: Iterable[str], option: str, policy: str, needed: str) -> frozenset[str]:
    """Return the models that an option names, in lower case. Raises CatalogueError when one is not fit for it."""
    allowed = frozenset(name.lower() for name in names)
    for name in sorted(allowed):
        model = catalogue.models.get(name)
        if model is None:
            raise CatalogueError(f'emulation.{option}: the model "{name}" does not exist')
        if getattr(model, policy) != needed:
            raise CatalogueError(
                f"emulation.{option}: {model.id} has the {policy} {getattr(model, policy)}, not {needed}"
            )
    return allowed


def _emulating(model: Model, *, masked: bool, cut_out: bool) -> Model:
    if masked:
        model = _with_parameter(model, "mask", _EVERY_VALUE)
    elif model.mask_policy == "composite":
        model = dataclasses.replace(model, mask_policy="none")
    if cut_out:
        return _with_parameter(model, "background", "transparent")
    return dataclasses.replace(model, transparency_policy="none") if model.transparency_policy == "cutout" else model


def _with_parameter(model: Model, name: str, value: str) -> Model:
    """Return the model with a value that is no longer refused."""
    parameters = tuple(_accepting(one, value) if one.name == name else one for one in model.parameters)
    return dataclasses.replace(model, parameters=parameters)


def _accepting(parameter: Parameter, value: str) -> Parameter:
    unsupported: Mapping[str, str] = {name: why for name, why in parameter.unsupported.items() if name != value}
    accepted = parameter.accepted if value == _EVERY_VALUE else (*parameter.accepted, value)
    return dataclasses.replace(parameter, accepted=accepted, unsupported=unsupported)
