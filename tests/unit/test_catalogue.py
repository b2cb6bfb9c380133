"""The catalogue that ships is what was agreed, and a file with a fault is refused with its place."""

from __future__ import annotations

import dataclasses
import datetime
import re
import shutil
from dataclasses import fields
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest

from omixa.catalogue.checks import CARRIED, CARRIED_BY_SOME
from omixa.catalogue.loader import Catalogue, CatalogueError, load_catalogue, read_model_file
from omixa.catalogue.schema import json_schema
from omixa.domain.images import ImageRequest
from omixa.domain.models import Model, NativeSize, PriceList
from omixa.domain.times import utc_today
from omixa.errors import NotFound
from tests.support.catalogues import remove_prices

MODEL_FILE = "models/mai-image-2.5.toml"
PROVIDER_FILE = "providers/foundry.toml"


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load_catalogue()


@pytest.fixture(scope="module")
def model(catalogue: Catalogue) -> Model:
    return catalogue.resolve("MAI-Image-2.5")


def prices_in(directory: Path | None = None) -> PriceList:
    """Return the one price list of the model."""
    (prices,) = load_catalogue(directory).resolve("MAI-Image-2.5").price_lists
    return prices


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the catalogue that a test may break."""
    with_data = tmp_path / "catalogue"
    shutil.copytree(str(files("omixa.catalogue") / "data"), with_data)
    return with_data


def _replace(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_names_compare_without_case(catalogue: Catalogue) -> None:
    assert catalogue.resolve("mai-IMAGE-2.5") is catalogue.resolve("MAI-Image-2.5")
    assert {"MAI-Image-2.5", "omixa-cutout-1", "omixa-illustrator-1", "omixa-upscale-1"} <= set(catalogue.model_ids)
    assert list(catalogue.model_ids) == sorted(catalogue.model_ids, key=str.lower)


def test_an_unknown_model_is_not_found_and_the_message_says_what_exists(catalogue: Catalogue) -> None:
    with pytest.raises(NotFound) as caught:
        catalogue.resolve("gpt-image-9" * 1000)
    assert caught.value.code == "model_not_found"
    assert caught.value.param == "model"
    assert "MAI-Image-2.5" in caught.value.message
    assert len(caught.value.message) < 300


def test_the_model_is_what_was_agreed(model: Model) -> None:
    assert model.released == datetime.date(2026, 6, 2)
    assert model.context_window_tokens == 32_000
    assert [(c.name, c.usd, c.per, c.unit_price_pico_usd) for c in prices_in().components] == [
        ("input_text", "5.00", 10**6, 5 * 10**6),
        ("input_image", "5.00", 10**6, 5 * 10**6),
        ("output_image", "33.00", 10**6, 33 * 10**6),
    ]
    assert (prices_in().fallback.usd, prices_in().fallback.counts) == ("0.033", "images")
    assert (prices_in().rounding.unit_micro_usd, prices_in().rounding.direction) == (100, "up")


def test_the_offer_is_what_the_provider_can_do(catalogue: Catalogue) -> None:
    offer = catalogue.offer("foundry", "mai-image-2.5")
    assert offer.sizes["1024x1536"] == NativeSize(832, 1248)
    assert offer.sizes["1536x1024"] == NativeSize(1248, 832)
    assert offer.sizes["auto"] == offer.sizes["1024x1024"] == NativeSize(1024, 1024)
    assert offer.ignored == {
        "quality",
        "moderation",
        "input_fidelity",
        "style",
        "user",
        "safety_identifier",
        "partial_images",
    }
    assert (offer.max_output_pixels, offer.max_edited_pixels) == (1_048_576, 1_056_768)
    assert (offer.first_byte_timeout_s, offer.total_timeout_s, offer.on_disconnect) == (300, 330, "finish")
    assert [component.usd for component in offer.costs[0].components] == ["5.00", "8.00", "47.00"]


def test_an_offer_that_does_not_exist_is_an_error(catalogue: Catalogue) -> None:
    with pytest.raises(CatalogueError, match=r"foundry sells MAI-Image-2\.5"):
        catalogue.offer("nobody", "MAI-Image-2.5")


def test_every_parameter_is_described_in_one_line_of_its_own(model: Model) -> None:
    descriptions = [parameter.description for parameter in model.parameters]
    assert all(len(description) > 40 and "\n" not in description for description in descriptions)
    assert len(set(descriptions)) == len(descriptions)


def test_a_model_describes_all_that_a_request_carries() -> None:
    assert CARRIED.keys() | CARRIED_BY_SOME.keys() == {field.name for field in fields(ImageRequest)} - {
        "prompt_tokens",
        "given",
    }


def test_an_error_names_the_models_that_are_most_like_the_name_first(catalogue: Catalogue) -> None:
    assert catalogue.names_near("gpt-image-2.6-flair")[0] == "gpt-image-2.6-flare"
    assert catalogue.names_near("MAI-IMAGE-2.8")[0].startswith("MAI-Image-2.")
    *named, rest = catalogue.names_near()
    assert set(named) < set(catalogue.model_ids)
    assert rest == f"and {len(catalogue.models) - len(named)} more, which GET /api/v1/models lists"


def test_a_quality_has_bounds_of_its_own_where_its_model_says_so(catalogue: Catalogue) -> None:
    bounds = catalogue.resolve("gpt-image-2").bounds
    assert bounds.at("low").output_image_tokens_max == 2048
    assert bounds.at("auto") == bounds
    other = catalogue.resolve("MAI-Image-2.5").bounds
    assert other.at("low") == other


def test_who_makes_a_model_comes_before_those_who_resell_it(catalogue: Catalogue) -> None:
    sellers = [provider for provider, name in catalogue.offers if name == "gpt-image-2"]
    assert sellers == ["openai", "azure-openai"]


def test_nothing_that_ships_is_retired(catalogue: Catalogue) -> None:
    today = utc_today()
    assert [model.id for model in catalogue.models.values() if model.is_retired(today)] == []
    assert [name for name, past in catalogue.retired.items() if past.on > today] == []


@pytest.mark.parametrize(
    ("name", "successor"),
    [
        *((name, "gpt-image-2") for name in ("dall-e-3", "DALL-E-3", "gpt-image-1")),
        ("gemini-2.5-flash-image", "gemini-3.1-flash-image"),
        ("imagen-4.0-ultra-generate-001", "gemini-3-pro-image"),
    ],
)
def test_a_model_that_is_described_no_more_names_its_successor(catalogue: Catalogue, name: str, successor: str) -> None:
    told = rf"it was retired on 2026-[0-9-]{{5}}\. Use {re.escape(successor)} instead\."
    with pytest.raises(NotFound, match=told) as caught:
        catalogue.resolve(name)
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


def test_price_versions_follow_the_content(copy: Path) -> None:
    shipped = prices_in().version
    assert prices_in(copy).version == shipped
    _replace(copy / MODEL_FILE, 'summary = "', '# a remark\nsummary = "Now ')
    assert prices_in(copy).version == shipped
    _replace(copy / MODEL_FILE, 'usd = "33.00"', 'usd = "34.00"')
    changed = prices_in(copy).version
    assert changed != shipped
    assert changed.partition("#")[0] == shipped.partition("#")[0] == "mai-image-2.5@2026-11-01"


def test_the_selling_price_and_the_cost_have_versions_of_their_own(catalogue: Catalogue) -> None:
    cost = catalogue.offer("foundry", "MAI-Image-2.5").costs[0].version
    assert cost.startswith("foundry/mai-image-2.5@2026-06-02#")


UPSCALE_FILE = "models/omixa-upscale-1.toml"
TWIN_PRICES = """
[[prices]]
currency = "USD"
effective_from = 2026-11-01
rounding = { unit_usd = "0.0001", direction = "up" }
fallback = { name = "image", counts = "images", usd = "0.01", per = 1 }
components = [{ name = "image", counts = "images", usd = "0.01", per = 1 }]

"""

FAULTS = [
    (MODEL_FILE, "released = 2026-06-02", "released = ", "line 12"),
    (MODEL_FILE, "released = 2026-06-02", 'released = "soon"', "released"),
    (MODEL_FILE, "released = 2026-06-02", "", "released"),
    (MODEL_FILE, "released = 2026-06-02", "released = 2026-06-02\nretires = 2026-12-01", "retires: needs a day"),
    (
        MODEL_FILE,
        "released = 2026-06-02",
        "released = 2026-06-02\ndeprecated = 2026-12-02\nretires = 2026-12-01",
        "and not a later one",
    ),
    (MODEL_FILE, "released = 2026-06-02", 'released = 2026-06-02\nsuccessor = "gpt-image-2"', "successor: only"),
    (
        MODEL_FILE,
        "released = 2026-06-02",
        'released = 2026-06-02\ndeprecated = 2026-10-01\nsuccessor = "nothing"',
        'the successor "nothing" is no other model',
    ),
    (MODEL_FILE, "[bounds]", "[bounds]\noutput_image_tokens_by_quality = { finest = 1 }", "unknown qualities finest"),
    (MODEL_FILE, "[bounds]", "[bounds]\noutput_image_tokens_by_quality = { high = 9999 }", "a quality has more"),
    ("providers/gemini.toml", "tokens = 1680", "tokens = 1681", "more than the model's output_image_tokens_max"),
    ("providers/gemini.toml", "tokens = 1680", "tokens = 0", "tokens"),
    ("providers/gemini.toml", 'pixels = "848x1264"', 'pixels = "848"', "sizes"),
    ("providers/gemini.toml", ', aspect_ratio = "2:3"', ', shape = "2:3"', "shape"),
    ("models/gemini-3-pro-image.toml", "text_tokens_max = 8192", "text_tokens_max = -1", "output_text_tokens_max"),
    ("retired.toml", "dall-e-2 =", '"mai-image-2.5" =', "mai-image-2.5: must be a name"),
    ("retired.toml", 'successor = "gpt-image-2"', 'successor = "nothing"', "dall-e-2: must be a name"),
    (MODEL_FILE, "edits_follow_reference = true", "edits_follow_reference = 1", "edits_follow_reference"),
    (MODEL_FILE, "[bounds]", "[bounds]\ntypo = 1", "typo"),
    (MODEL_FILE, "output_image_tokens_max = 1056", "output_image_tokens_max = -1", "output_image_tokens_max"),
    (MODEL_FILE, "output_image_tokens_max = 1056", "output_image_tokens_max = 1000", "output_image_tokens_max"),
    (MODEL_FILE, "input_image_tokens_min = 1024", "input_image_tokens_min = 2000", "bounds"),
    (MODEL_FILE, 'usd = "5.00"', "usd = 5.00", "prices"),
    (MODEL_FILE, 'usd = "5.00"', 'usd = "5,00"', "prices: input_text"),
    (MODEL_FILE, 'usd = "5.00"', 'usd = "0.0000001"', "pico-USD"),
    (MODEL_FILE, 'unit_usd = "0.0001"', 'unit_usd = "0"', "prices"),
    (MODEL_FILE, 'name = "input_image"', 'name = "input_text"', "same name"),
    (MODEL_FILE, 'counts = "images"', 'counts = "output_image_tokens"', "fallback"),
    (MODEL_FILE, 'counts = "input_text_tokens"', 'counts = "words"', "words"),
    (MODEL_FILE, 'default = "auto"', 'default = "best"', "parameters.size: 'best'"),
    (MODEL_FILE, "default = 1", "default = 11", "parameters.n"),
    (MODEL_FILE, "default = 1", 'default = "1"', "parameters.n"),
    (MODEL_FILE, "default = 1", "", "parameters.n: needs a default"),
    (MODEL_FILE, "minimum = 1\nmaximum = 10", "minimum = 11\nmaximum = 10", "parameters.n"),
    (MODEL_FILE, 'foreign = ["standard"]', 'foreign = ["low"]', "parameters.quality"),
    (MODEL_FILE, "maximum = 1\n", "maximum = 17\n", "parameters.input_images"),
    (MODEL_FILE, '[parameters.n]\ntype = "integer"', '[parameters.n]\ntype = "float"', "parameters.n"),
    (MODEL_FILE, '[parameters.n]\ntype = "integer"', '[parameters.n]\ntype = "boolean"', "parameters.n"),
    (
        MODEL_FILE,
        "[parameters.size]\n",
        "[parameters.size]\nrequired = true\n",
        "parameters.size: must not be required",
    ),
    (MODEL_FILE, 'required = true\ndescription = """\nWhat', 'description = """\nWhat', "parameters.prompt"),
    (MODEL_FILE, "minimum = 0\nmaximum = 3", "maximum = 3", "parameters.partial_images: needs a minimum"),
    (MODEL_FILE, '[parameters.stream]\ntype = "boolean"', '[parameters.stream]\ntype = "string"', "parameters.stream"),
    (MODEL_FILE, "[parameters.stream]", "[parameters.streams]", "stream"),
    (MODEL_FILE, 'unsupported = { "*" =', "unsupported = { clouds =", "parameters.mask"),
    (MODEL_FILE, 'size = "1024x1024"', 'sizes = "1024x1024"', "example"),
    (MODEL_FILE, 'id = "MAI-Image-2.5"', 'id = "MAI-Image-9"', "offers, MAI-Image-2.5: no model file describes it"),
    (PROVIDER_FILE, 'auto = "1024x1024"', 'auto = "big"', "sizes"),
    (PROVIDER_FILE, 'auto = "1024x1024"', 'auto = "2048x2048"', "max_output_pixels"),
    (PROVIDER_FILE, 'auto = "1024x1024"\n', "", "sizes"),
    (PROVIDER_FILE, '"moderation", ', "", "moderation"),
    (PROVIDER_FILE, '"moderation"', '"modesty"', "modesty"),
    (PROVIDER_FILE, 'usd = "47.00"', 'usd = "-1"', "costs"),
    (
        MODEL_FILE,
        "[parameters.model]",
        TWIN_PRICES + "[parameters.model]",
        "two price lists have the same effective_from",
    ),
    (PROVIDER_FILE, "total_timeout_s = 330", "total_timeout_s = 0", "total_timeout_s"),
    (PROVIDER_FILE, 'on_disconnect = "finish"', 'on_disconnect = "hope"', "on_disconnect"),
    (UPSCALE_FILE, "accepted = [2, 4]", "", "parameters.scale: needs a minimum"),
    (UPSCALE_FILE, "accepted = [2, 4]", 'accepted = [2, "4"]', "parameters.scale"),
    (UPSCALE_FILE, "accepted = [2, 4]", "accepted = [3, 4]", "parameters.scale: 2 is not among"),
    (UPSCALE_FILE, '[parameters.scale]\ntype = "integer"', '[parameters.scale]\ntype = "string"', "parameters.scale"),
    (UPSCALE_FILE, "default = 2\n", "", "parameters.scale: needs a default"),
    (UPSCALE_FILE, 'default = ""', "", "parameters.prompt: must be required or have a default"),
    (UPSCALE_FILE, "max_pixels = 1_048_576", "max_pixels = 0", "parameters.input_images"),
    (UPSCALE_FILE, "[parameters.n]\n", "[parameters.n]\nmax_pixels = 5\n", "only pictures have max_pixels"),
]


@pytest.mark.parametrize(("file", "old", "new", "named"), FAULTS, ids=[f"{new[:40]}" for _, _, new, _ in FAULTS])
def test_a_fault_is_refused_with_its_file_and_place(copy: Path, file: str, old: str, new: str, named: str) -> None:
    _replace(copy / file, old, new)
    with pytest.raises(CatalogueError) as caught:
        load_catalogue(copy)
    assert named in str(caught.value)
    assert ".toml: " in str(caught.value)


def test_bytes_that_are_not_utf_8_are_refused_with_the_file(copy: Path) -> None:
    (copy / PROVIDER_FILE).write_bytes(b'id = "\xff"')
    with pytest.raises(CatalogueError, match=PROVIDER_FILE):
        load_catalogue(copy)


def test_a_model_is_described_and_offered_once(copy: Path) -> None:
    file = copy / PROVIDER_FILE
    (copy / "providers/again.toml").write_bytes(file.read_bytes())
    with pytest.raises(CatalogueError, match='the provider "foundry" is described twice'):
        load_catalogue(copy)
    (copy / "providers/again.toml").unlink()
    once = file.read_text()
    head, offer = once.split("[[offers]]", 1)
    file.write_text(f"{head}[[offers]]{offer}[[offers]]{offer}")
    with pytest.raises(CatalogueError, match="offered twice"):
        load_catalogue(copy)
    file.write_text(once)
    shutil.copy(copy / MODEL_FILE, copy / "models/again.toml")
    with pytest.raises(CatalogueError, match="described twice"):
        load_catalogue(copy)


def test_models_take_parameters_from_a_common_page(copy: Path) -> None:
    """What a model says itself holds."""
    own = read_model_file(copy / MODEL_FILE).parameter("style")
    assert own is not None
    with (copy / "parameters.toml").open("a") as page:
        page.write(
            '\n[bold]\ntype = "string"\ndescription = "Common words."\naccepted = ["bold", "quiet"]\ndefault = "quiet"\n'
        )
    file = copy / MODEL_FILE
    before, after = file.read_text().split("[parameters.style]", 1)
    rest = after[after.index("[parameters.") :]
    file.write_text(f'{before}[parameters.style]\nlike = "bold"\ndefault = "bold"\n\n{rest}')
    style = load_catalogue(copy).resolve("MAI-Image-2.5").parameter("style")
    assert style == dataclasses.replace(own, description="Common words.", accepted=("bold", "quiet"), default="bold")
    assert read_model_file(file).parameter("style") == style
    file.write_text(f'{before}[parameters.style]\nlike = "nothing"\n\n{rest}')
    with pytest.raises(
        CatalogueError, match=r'parameters\.style: parameters\.toml has no "nothing"; it has: .*, bold$'
    ):
        load_catalogue(copy)


def test_an_empty_directory_is_no_catalogue(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="no models"):
        load_catalogue(tmp_path)


def test_the_schema_is_a_schema_and_takes_its_own_example(model: Model) -> None:
    schema = json_schema(model)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for example in schema["examples"]:
        validator.validate(example)
    assert set(schema["properties"]) == {parameter.name for parameter in model.parameters}


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": ""},
        {"prompt": " \n"},
        {"prompt": "a\0b"},
        {"n": 0},
        {"n": 11},
        {"n": "2"},
        {"n": True},
        {"size": "512x512"},
        {"quality": "hd"},
        {"background": "transparent"},
        {"mask": "data:image/png;base64,AAAA"},
        {"response_format": "file"},
        {"output_compression": 50},
        {"output_compression": 50, "output_format": "png"},
        {"input_images": ["https://example.com/a.png"]},
        {"input_images": ["data:image/png;base64,AAAA"] * 2},
        {"user": "x" * 513},
        {"seed": 1},
    ],
    ids=str,
)
def test_the_schema_refuses_what_the_model_cannot_do(model: Model, change: dict[str, object]) -> None:
    validator = jsonschema.Draft202012Validator(json_schema(model))
    assert not validator.is_valid({"model": "MAI-Image-2.5", "prompt": "a cat"} | change)


def test_the_schema_of_a_model_that_enlarges_needs_one_picture_and_no_words(catalogue: Catalogue) -> None:
    schema = json_schema(catalogue.resolve("omixa-upscale-1"))
    assert schema["required"] == ["model", "input_images"]
    assert schema["properties"]["scale"]["enum"] == [2, 4]
    assert "examples" not in schema
    validator = jsonschema.Draft202012Validator(schema)
    picture = "data:image/png;base64,AAAA"
    assert validator.is_valid({"model": "omixa-upscale-1", "input_images": [picture], "scale": 4})
    for wrong in ({"input_images": []}, {"input_images": [picture] * 2}, {"scale": 3}, {"scale": "2"}):
        assert not validator.is_valid({"model": "omixa-upscale-1", "input_images": [picture]} | wrong)
    assert not validator.is_valid({"model": "omixa-upscale-1"})


def test_the_schema_says_why_a_value_is_left_out(model: Model) -> None:
    background = json_schema(model)["properties"]["background"]
    assert background["enum"] == ["auto", "opaque"]
    assert "`transparent` is not supported: this model always paints an opaque background;" in background["description"]


def test_the_list_in_force_is_the_newest_that_has_begun(copy: Path) -> None:
    later = TWIN_PRICES.replace("2026-11-01", "2027-01-01")
    _replace(copy / MODEL_FILE, "[parameters.model]", later + "[parameters.model]")
    model = load_catalogue(copy).resolve("MAI-Image-2.5")
    first, second = model.price_lists
    assert model.prices_on(datetime.date(2026, 10, 31)) is None
    assert model.prices_on(datetime.date(2026, 11, 1)) is first
    assert model.prices_on(datetime.date(2026, 12, 31)) is first
    assert model.prices_on(datetime.date(2027, 1, 1)) is second


def test_a_cost_is_known_before_its_first_list_begins(catalogue: Catalogue) -> None:
    offer = catalogue.offer("foundry", "MAI-Image-2.5")
    assert offer.cost_on(datetime.date(2020, 1, 1)) is offer.cost_on(datetime.date(2030, 1, 1)) is offer.costs[0]


def test_a_catalogue_without_any_price_is_refused(copy: Path) -> None:
    remove_prices(copy)
    with pytest.raises(CatalogueError, match="no model has a price"):
        load_catalogue(copy)


def test_only_what_costs_four_cents_or_less_may_be_asked_for_twice(catalogue: Catalogue) -> None:
    prices = {model.id: model.prices_on(utc_today()) for model in catalogue.models.values() if model.cheap}
    assert "MAI-Image-2.5" in prices
    assert [name for name, one in prices.items() if one and one.fallback.unit_price_pico_usd > 4 * 10**10] == []
