"""Further names of models, for tools that have the names of another service built in."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from omixa.catalogue.loader import Catalogue, CatalogueError


def with_aliases(catalogue: Catalogue, aliases: Iterable[tuple[str, str]]) -> Catalogue:
    """Return the catalogue with names that stand for models: pairs of a name and a model's id.

    Answers and receipts have both, and lists have the models' own names only. Raises CatalogueError for a model that is not
    there, for a name that a model has already, and for one that is given twice.
    """
    known: dict[str, str] = {}
    for alias, model in aliases:
        if model.lower() not in catalogue.models:
            raise CatalogueError(f'model_aliases: the model "{model}" does not exist')
        if alias.lower() in catalogue.models:
            raise CatalogueError(f'model_aliases: "{alias}" is the name of a model')
        if known.setdefault(alias.lower(), model.lower()) != model.lower():
            raise CatalogueError(f'model_aliases: "{alias}" stands for two models')
    return dataclasses.replace(catalogue, aliases=known)
