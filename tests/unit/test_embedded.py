"""What embedded models an engine can serve, as a catalogue describes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from omixa.catalogue.loader import load_catalogue
from omixa.providers.embedded import misfit
from tests.support.catalogues import copy_catalogue


def test_the_engines_fit_the_catalogue_that_comes_with_them() -> None:
    catalogue = load_catalogue()
    embedded = [catalogue.resolve(name) for provider, name in catalogue.offers if provider == "embedded"]
    assert len(embedded) == 3
    assert [misfit(model) for model in embedded] == [None] * 3


@pytest.mark.parametrize(
    ("name", "old", "new", "fault"),
    [
        ("upscale", 'id = "omixa-upscale-1"', 'id = "omixa-upscale-9"', "no engine is called so"),
        ("upscale", "accepted = [2, 4]", "accepted = [2, 3, 4]", "scale"),
        ("upscale", "accepted = [2, 4]", "minimum = 2\nmaximum = 4", "scale"),
        ("upscale", "maximum = 1\nmax_pixels", "maximum = 2\nmax_pixels", "input_images"),
        (
            "cutout",
            '[parameters.input_images]\ntype = "images"\nrequired = true',
            '[parameters.input_images]\ntype = "images"',
            "input_images",
        ),
    ],
    ids=str,
)
def test_what_no_engine_can_do_is_told(tmp_path: Path, name: str, old: str, new: str, fault: str) -> None:
    directory = copy_catalogue(tmp_path / "catalogue")
    file = directory / "models" / f"omixa-{name}-1.toml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    (directory / "providers" / "embedded.toml").unlink()
    model = next(model for model in load_catalogue(directory).models.values() if model.id.startswith(f"omixa-{name}"))
    assert fault in str(misfit(model))
