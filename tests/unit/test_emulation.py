"""What the operator may let the gateway do in a model's place: only what the catalogue says can be done, and has a price for."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from omixa.catalogue.emulation import CUTOUT_MODEL, with_emulation
from omixa.catalogue.loader import Catalogue, CatalogueError, load_catalogue
from omixa.catalogue.schema import json_schema
from tests.support.commands import Omixa

MODEL = "MAI-Image-2.5"


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load_catalogue()


def test_nothing_is_emulated_unless_it_is_allowed(catalogue: Catalogue) -> None:
    model = with_emulation(catalogue).resolve(MODEL)
    assert (model.mask_policy, model.transparency_policy) == ("none", "none")
    assert not model.cuts_out("transparent")
    properties = json_schema(model)["properties"]
    assert "not" in properties["mask"]
    assert "transparent" not in properties["background"]["enum"]


def test_what_is_allowed_is_accepted_and_nothing_else_changes(catalogue: Catalogue) -> None:
    allowed = with_emulation(catalogue, masks=["mai-image-2.5"], transparency=[MODEL])
    model = allowed.resolve(MODEL)
    assert model.cuts_out("transparent")
    assert not model.cuts_out("opaque")
    properties = json_schema(model)["properties"]
    assert "anyOf" in properties["mask"]
    assert "transparent" in properties["background"]["enum"]
    assert allowed.resolve("omixa-illustrator-1") == catalogue.resolve("omixa-illustrator-1")
    assert model.price_lists == catalogue.resolve(MODEL).price_lists


def _without_extras(catalogue: Catalogue) -> Catalogue:
    model = catalogue.resolve(MODEL)
    lists = tuple(dataclasses.replace(prices, extras=()) for prices in model.price_lists)
    changed = dataclasses.replace(model, price_lists=lists)
    return dataclasses.replace(catalogue, models={**catalogue.models, MODEL.lower(): changed})


def _without_cutouts(catalogue: Catalogue) -> Catalogue:
    offers = {key: offer for key, offer in catalogue.offers.items() if offer.model != CUTOUT_MODEL}
    return dataclasses.replace(catalogue, offers=offers)


def test_what_cannot_be_emulated_is_refused(catalogue: Catalogue) -> None:
    with pytest.raises(CatalogueError, match='the model "dall-e-2" does not exist'):
        with_emulation(catalogue, transparency=["dall-e-2"])
    with pytest.raises(CatalogueError, match="has the transparency_policy native, not cutout"):
        with_emulation(catalogue, transparency=["omixa-illustrator-1"])
    with pytest.raises(CatalogueError, match="has no price for it"):
        with_emulation(_without_extras(catalogue), transparency=[MODEL])
    with pytest.raises(CatalogueError, match=f"needs the model {CUTOUT_MODEL}"):
        with_emulation(_without_cutouts(catalogue), transparency=[MODEL])


def test_a_server_that_could_not_cut_out_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['onnxruntime'] = None\n")
    variables = {"PYTHONPATH": str(tmp_path), "OMIXA_EMULATION_TRANSPARENCY": MODEL, "OMIXA_PORT": "0"}
    done = Omixa(tmp_path, variables).run("serve")
    assert done.returncode != 0
    assert "emulation.transparency needs onnxruntime: pip install 'omixa[vision]'" in done.stderr
