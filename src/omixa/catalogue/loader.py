"""Read the catalogue: TOML files in, domain values out, and nothing that does not add up."""

from __future__ import annotations

import difflib
import hashlib
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import TypeVar

import msgspec

from omixa.catalogue import checks
from omixa.catalogue.files import (
    ComponentTable,
    ModelFile,
    OfferTable,
    ParameterTable,
    PriceTable,
    ProviderFile,
    RetiredTable,
    SizeTable,
)
from omixa.domain.models import (
    Model,
    NativeSize,
    Offer,
    Parameter,
    PriceComponent,
    PriceList,
    ProviderProfile,
    UsageBounds,
)
from omixa.domain.money import Rounding, parse_unit_price, parse_usd
from omixa.errors import ModelNotFound

# Enough hex digits to tell the few versions of one price list apart.
VERSION_DIGITS = 8
# An unknown name is shown up to this many characters, beside this many that there are.
MAX_SHOWN_CHARS = 80
MAX_NAMED = 5
RETIRED_FILE = "retired.toml"

# Parameters that several models have in the same words.
COMMON_FILE = "parameters.toml"
CommonParameters = Mapping[str, Mapping[str, object]]

T = TypeVar("T")


class CatalogueError(ValueError):
    """A catalogue file is wrong. The message names the file, the place and the fault."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All models, offers and who sells them. Names of models are in lower case as keys. `aliases` are further names of models.

    `retired` are models that are described no more, and what to use instead.
    """

    models: Mapping[str, Model]
    offers: Mapping[tuple[str, str], Offer]
    providers: Mapping[str, ProviderProfile]
    aliases: Mapping[str, str] = field(default_factory=dict)
    retired: Mapping[str, RetiredTable] = field(default_factory=dict)

    @property
    def model_ids(self) -> tuple[str, ...]:
        """Return the ids of all models, as they are written, in the order of the alphabet."""
        return tuple(model.id for _, model in sorted(self.models.items()))

    def names_near(self, name: str = "") -> list[str]:
        """Return some ids of models for an error message, those most like a name first, and how many more there are."""
        lower = {model.id.lower(): model.id for model in sorted(self.models.values(), key=lambda model: model.id)}
        near = [lower[one] for one in difflib.get_close_matches(name.lower(), lower, MAX_NAMED)]
        named = [*near, *(one for one in lower.values() if one not in near)][:MAX_NAMED]
        left = len(lower) - len(named)
        return [*named, f"and {left} more, which GET /api/v1/models lists"] if left else named

    def resolve(self, name: str) -> Model:
        """Return the model of that name, compared without case.

        Raises ModelNotFound with the names that exist, or with the successor of one that is described no more.
        """
        key = name.lower()
        model = self.models.get(self.aliases.get(key, key))
        if model is None and key in self.retired:
            past = self.retired[key]
            raise ModelNotFound(
                f'the model "{key}" does not exist any more: it was retired on {past.on}. Use {past.successor} instead.',
                param="model",
            )
        if model is None:
            shown = name if len(name) <= MAX_SHOWN_CHARS else name[:MAX_SHOWN_CHARS] + "…"
            near = ", ".join(self.names_near(shown))
            raise ModelNotFound(f'the model "{shown}" does not exist; models here: {near}', param="model")
        return model

    def seller(self, model: Model) -> Offer | None:
        """Return a model as its maker sells it, else as somebody does who resells it, or None where nobody does."""
        # Offers are in that order.
        return next((offer for offer in self.offers.values() if offer.model.lower() == model.id.lower()), None)

    def offer(self, provider: str, model: str) -> Offer:
        """Return a model as a provider sells it. Raises CatalogueError with the offers that exist."""
        offer = self.offers.get((provider, model.lower()))
        if offer is None:
            known = ", ".join(f"{offer.provider} sells {offer.model}" for offer in self.offers.values())
            raise CatalogueError(f'no provider file says that "{provider}" sells "{model}"; known: {known}')
        return offer


def load_catalogue(directory: Traversable | None = None) -> Catalogue:
    """Read the files of a directory, by default of the catalogue that comes with Omixa.

    Models may take parameters from the directory's `parameters.toml`. Raises CatalogueError for a key that is unknown, missing or
    of the wrong type, and for values that contradict each other.
    """
    directory = files("omixa.catalogue") / "data" if directory is None else directory
    common = _common_parameters(directory)
    models: dict[str, Model] = {}
    for place, text in _texts(directory, "models"):
        model = read_model(place, text, common)
        with _at(place):
            if models.setdefault(model.id.lower(), model) is not model:
                raise CatalogueError(f'the model "{model.id}" is described twice')
    offers: dict[tuple[str, str], Offer] = {}
    providers: dict[str, ProviderProfile] = {}
    for place, text in _texts(directory, "providers"):
        with _at(place):
            file = _read(text, ProviderFile)
            profile = ProviderProfile(file.id, file.adapter or file.id, file.endpoint, file.resells)
            if providers.setdefault(profile.id, profile) is not profile:
                raise CatalogueError(f'the provider "{file.id}" is described twice')
            _add_offers(file, models, offers)
    retired = _retired(directory / RETIRED_FILE, models)
    _check_successors(models)
    if not models:
        raise CatalogueError("the catalogue has no models: put at least one TOML file into models/")
    if not any(model.price_lists for model in models.values()):
        raise CatalogueError("no model has a price, so none could be called: give at least one [[prices]]")
    # Who makes a model comes before those who resell it, wherever only one can be named.
    ordered = dict(sorted(offers.items(), key=lambda offer: providers[offer[0][0]].resells))
    return Catalogue(models, ordered, providers, retired=retired)


def _retired(file: Traversable, models: Mapping[str, Model]) -> Mapping[str, RetiredTable]:
    if not file.is_file():
        return {}
    with _at(RETIRED_FILE):
        retired = _read(file.read_bytes(), dict[str, RetiredTable])
        for name, table in retired.items():
            if name != name.lower() or name in models or table.successor.lower() not in models:
                raise CatalogueError(
                    f"{name}: must be a name in lower case of no model here, and its successor one of these"
                )
    return retired


def _check_successors(models: Mapping[str, Model]) -> None:
    for model in models.values():
        following = None if model.successor is None else models.get(model.successor.lower())
        if model.successor is not None and (following is None or following is model):
            raise CatalogueError(
                f'models/{model.id.lower()}.toml: the successor "{model.successor}" is no other model of the catalogue'
            )


def read_model_file(path: Path) -> Model:
    """Return the model of one file of a catalogue. Raises CatalogueError, and OSError where it cannot be read."""
    beside = path.resolve().parent.parent
    return read_model(str(path), path.read_bytes(), _common_parameters(beside))


def read_candidate(text: bytes, directory: Traversable | None = None) -> Model:
    """Return the model of a file that is in no catalogue yet. Raises CatalogueError.

    It may take parameters from those of a catalogue's directory, by default of the catalogue that comes with Omixa.
    """
    return read_model(
        "the file", text, _common_parameters(files("omixa.catalogue") / "data" if directory is None else directory)
    )


def read_model(place: str, text: bytes, common: CommonParameters) -> Model:
    """Return the model of one file's text; `place` is how errors name it. Raises CatalogueError."""
    with _at(place):
        return _model(_read(text, ModelFile), common)


def _common_parameters(directory: Traversable) -> CommonParameters:
    """Return the tables of `parameters.toml`, which need not exist."""
    file = directory / COMMON_FILE
    if not file.is_file():
        return {}
    with _at(COMMON_FILE):
        return _read(file.read_bytes(), dict[str, dict[str, object]])


@contextmanager
def _at(place: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise CatalogueError(f"{place}: {error}") from error


def _texts(directory: Traversable, folder: str) -> Iterator[tuple[str, bytes]]:
    here = directory / folder
    if here.is_dir():
        for file in sorted(here.iterdir(), key=lambda entry: entry.name):
            if file.name.endswith(".toml"):
                yield f"{folder}/{file.name}", file.read_bytes()


def _read(text: bytes, shape: type[T]) -> T:
    return msgspec.convert(tomllib.loads(text.decode()), shape)


def _model(file: ModelFile, common: CommonParameters) -> Model:
    parameters = tuple(_parameter(name, table, common) for name, table in file.parameters.items())
    with _at("prices"):
        price_lists = _price_lists(file.prices, owner=file.id.lower())
    model = Model(
        id=file.id,
        name=file.name,
        summary=file.summary,
        description=_unwrap(file.description),
        released=file.released,
        context_window_tokens=file.context_window_tokens,
        parameters=parameters,
        price_lists=price_lists,
        bounds=UsageBounds(**msgspec.structs.asdict(file.bounds)),
        example=file.example,
        edits_follow_reference=file.edits_follow_reference,
        mask_policy=file.mask_policy,
        digital_source=file.digital_source,
        transparency_policy=file.transparency_policy,
        deprecated=file.deprecated,
        retires=file.retires,
        successor=file.successor,
        counts_by_size=file.counts_by_size,
        cheap=file.cheap,
    )
    checks.check_model(model)
    return model


def _parameter(name: str, table: Mapping[str, object], common: CommonParameters) -> Parameter:
    with _at(f"parameters.{name}"):
        own = dict(table)
        like = own.pop("like", None)
        if like is not None and like not in common:
            raise CatalogueError(f'{COMMON_FILE} has no "{like}"; it has: {", ".join(common) or "nothing"}')
        shared = {} if like is None else common[str(like)]
        fields = msgspec.structs.asdict(msgspec.convert({**shared, **own}, ParameterTable))
        parameter = Parameter(name=name, **fields | {"description": _unwrap(fields["description"])})
        checks.check_parameter(parameter)
    return parameter


def _price_lists(tables: Sequence[PriceTable], *, owner: str) -> tuple[PriceList, ...]:
    lists = tuple(_price_list(table, owner=owner) for table in tables)
    checks.check_price_lists(lists)
    return tuple(sorted(lists, key=lambda prices: prices.effective_from))


def _price_list(table: PriceTable, *, owner: str) -> PriceList:
    digest = hashlib.sha256(msgspec.json.encode(table, order="sorted")).hexdigest()
    return PriceList(
        version=f"{owner}@{table.effective_from.isoformat()}#{digest[:VERSION_DIGITS]}",
        currency=table.currency,
        effective_from=table.effective_from,
        components=tuple(_component(component) for component in table.components),
        fallback=_component(table.fallback),
        extras=tuple(_component(component) for component in table.extras),
        rounding=Rounding(checks.positive(parse_usd(table.rounding.unit_usd)), table.rounding.direction),
    )


def _component(table: ComponentTable) -> PriceComponent:
    with _at(table.name):
        price_pico_usd = parse_unit_price(table.usd, table.per)
    return PriceComponent(table.name, table.counts, price_pico_usd, table.usd, table.per)


def _add_offers(file: ProviderFile, models: Mapping[str, Model], offers: dict[tuple[str, str], Offer]) -> None:
    for table in file.offers:
        with _at(f"offers, {table.model}"):
            offer = _offer(file, table)
            if offers.setdefault((offer.provider, offer.model.lower()), offer) is not offer:
                raise CatalogueError("the model is offered twice")
            checks.check_offer(offer, models.get(offer.model.lower()))


def _offer(file: ProviderFile, table: OfferTable) -> Offer:
    with _at("costs"):
        costs = _price_lists(table.costs, owner=f"{file.id}/{table.model.lower()}")
    return Offer(
        provider=file.id,
        model=table.model,
        name=table.name or table.model,
        ignored=frozenset(table.ignored),
        sizes={name: _native_size(size) for name, size in table.sizes.items()},
        input_formats=frozenset(table.input_formats),
        max_output_pixels=table.max_output_pixels,
        max_edited_pixels=table.max_edited_pixels,
        first_byte_timeout_s=table.first_byte_timeout_s,
        total_timeout_s=table.total_timeout_s,
        on_disconnect=table.on_disconnect,
        charges_on_refusal=table.charges_on_refusal,
        costs=costs,
        carries=frozenset(table.carries),
        api_hosts=file.api_hosts,
        result_hosts=file.result_hosts,
    )


def _native_size(size: str | SizeTable) -> NativeSize:
    table = SizeTable(pixels=size) if isinstance(size, str) else size
    width, height = map(int, table.pixels.split("x"))
    return NativeSize(width, height, table.aspect_ratio, table.resolution, table.tokens)


def _unwrap(text: str) -> str:
    """Return text with one line for each paragraph: line breaks in a file are for people who edit it."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.strip().split("\n\n"))
