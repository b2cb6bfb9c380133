"""What the page of a model says, worked out from its catalogue entry. HTML and Markdown show the same values."""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from omixa.api.examples import example_generation, example_request, plain_request
from omixa.api.models import capabilities
from omixa.billing.pricing import Charge, Terms
from omixa.catalogue.loader import Catalogue
from omixa.domain.access import Mode
from omixa.domain.models import Model, Offer, Parameter, PriceComponent, PriceList
from omixa.domain.money import format_usd
from omixa.gateway import quotes
from omixa.gateway.receipt import format_exact
from omixa.services import Services
from omixa.web.samples import Sample, samples
from omixa.web.writing import brief, code_span, plain

# Seconds that a client should wait longer than the gateway does, so that it hears how its request ended.
PATIENCE_S: Final = 10
# A picture in an example is cut after this many characters.
_SHOWN_BASE64: Final = 24


@dataclass(frozen=True, slots=True)
class Chip:
    """One thing that a model can do, with its icon."""

    icon: str
    text: str


@dataclass(frozen=True, slots=True)
class Card:
    """A price at a glance: `amount` in US dollars for `unit`."""

    label: str
    amount: str
    unit: str
    note: str


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a request; `accepted` and `description` are Markdown."""

    name: str
    type: str
    required: str
    accepted: str
    description: str


@dataclass(frozen=True, slots=True)
class SizePrice:
    """What one picture of a size costs with the example's prompt; `native` is how it is painted where that differs."""

    size: str
    native: str
    tokens: int
    amount: str


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a price list as it stands in the catalogue."""

    component: str
    counts: str
    usd: str
    per: str


@dataclass(frozen=True, slots=True)
class Prices:
    """A price list. `state` says whether it is past, in force or to come."""

    version: str
    since: datetime.date
    state: str
    lines: tuple[Line, ...]
    rounding: str


@dataclass(frozen=True, slots=True)
class Successor:
    """The model to use instead of one that is deprecated."""

    id: str
    slug: str


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """A model as its page shows it. Without a price list in force there are no cards, no sizes and no answer to show; where
    nobody knows before how many tokens a picture uses, there are no sizes and no answer either.

    A model that works without words has no prompt in its example, and 0 tokens of it.
    """

    id: str
    slug: str
    name: str
    summary: str
    description: str
    provider: str
    released: datetime.date
    deprecated: datetime.date | None
    retires: datetime.date | None
    successor: Successor | None
    context_window_tokens: int
    modes: tuple[Mode, ...]
    routes: tuple[str, ...]
    deadline_s: int
    timeout_s: int
    idempotency_hours: int
    retention_hours: int
    chips: tuple[Chip, ...]
    fields: tuple[Field, ...]
    samples: tuple[Sample, ...]
    prompt: str | None
    prompt_tokens: int
    payload: str
    prices: tuple[Prices, ...]
    cards: tuple[Card, ...]
    sizes: tuple[SizePrice, ...]
    answer: str | None
    receipt: tuple[tuple[str, str], ...]
    total: str | None

    @property
    def path(self) -> str:
        """Return the address of the page below the root."""
        return f"docs/models/{self.slug}"

    @property
    def is_sold(self) -> bool:
        """Tell whether the model has a price list in force."""
        return bool(self.cards)


@dataclass(frozen=True, slots=True)
class Seller:
    """A model with the offer that its page speaks of: the first provider that sells it."""

    model: Model
    offer: Offer

    @property
    def slug(self) -> str:
        """Return the model's id as one step of an address."""
        return quote(self.model.id, safe="")


def sellers(catalogue: Catalogue) -> list[Seller]:
    """Return every model that somebody sells, in the order of the alphabet."""
    found = []
    for _, model in sorted(catalogue.models.items()):
        offer = catalogue.seller(model)
        if offer is not None:
            found.append(Seller(model, offer))
    return found


def expected_charge(
    seller: Seller, prices: PriceList, day: datetime.date, *, size: str, prompt_tokens: int
) -> Charge | None:
    """Return what a request for one picture costs at list price, by the rule of the estimate; None where that is not known."""
    request = dataclasses.replace(plain_request(seller.model, prompt_tokens), size=size, n=1)
    return quotes.expected(request, seller.model, seller.offer, Terms(day, prices, markup_ppm=0))


def model_facts(seller: Seller, services: Services, day: datetime.date) -> ModelFacts:
    """Return what the page of a model shows on a UTC day."""
    model, offer, settings = seller.model, seller.offer, services.settings
    prices = model.prices_on(day)
    prompt = model.example.get("prompt")
    tokens = 0 if prompt is None else services.tokenizer.count(str(prompt)).tokens
    routes = routes_by_keys(model, services)
    timeout_s = int(settings.run_deadline_s) + PATIENCE_S
    charge = None if prices is None else _example_charge(seller, prices, day, tokens)
    return ModelFacts(
        id=model.id,
        slug=seller.slug,
        name=model.name,
        summary=model.summary,
        description=model.description,
        provider=offer.provider,
        released=model.released,
        deprecated=model.deprecated,
        retires=model.retires,
        successor=None if model.successor is None else Successor(model.successor, quote(model.successor, safe="")),
        context_window_tokens=model.context_window_tokens,
        modes=tuple(mode for mode in ("live", "test") if any(mode in keys for keys in routes)),
        routes=tuple(_told(keys, len(names)) for keys, names in routes.items()),
        deadline_s=int(settings.run_deadline_s),
        timeout_s=timeout_s,
        idempotency_hours=settings.idempotency_retention_hours,
        retention_hours=settings.result_retention_hours,
        chips=tuple(_chips(model)),
        fields=tuple(_field(parameter, model) for parameter in model.parameters),
        samples=tuple(samples(model.example, timeout_s=timeout_s, pictures=("png",) if model.needs_pictures else ())),
        prompt=None if prompt is None else str(prompt),
        prompt_tokens=tokens,
        payload=_pretty(example_request(model) if model.needs_pictures else dict(model.example)),
        prices=tuple(_price_list(one, prices, day) for one in reversed(model.price_lists)),
        cards=() if prices is None else tuple(_cards(seller, prices, day, tokens)),
        sizes=() if prices is None else tuple(_sizes(seller, prices, day, tokens)),
        answer=None if prices is None or charge is None else _answer(example_generation(model, offer, prices, tokens)),
        receipt=() if charge is None else tuple(_receipt(charge)),
        total=None if charge is None else format_usd(charge.amount_micro_usd),
    )


def routes_by_keys(model: Model, services: Services) -> dict[tuple[Mode, ...], list[str]]:
    """Return the deployments that serve a model, by the modes of the keys that they serve, live ones first."""
    found: dict[tuple[Mode, ...], list[str]] = {}
    for one in services.router.deployments:
        if one.model.lower() == model.id.lower():
            found.setdefault(tuple(sorted(one.modes)), []).append(one.id)
    return dict(sorted(found.items()))


def _told(keys: Sequence[Mode], count: int) -> str:
    routes = "1 route" if count == 1 else f"{count} routes, with failover,"
    return f"{routes} for {' and '.join(keys)} keys"


def short_usd(micro_usd: int) -> str:
    """Return an amount with as many digits as it needs, and at least two."""
    return brief(format_usd(micro_usd))


def _example_charge(seller: Seller, prices: PriceList, day: datetime.date, tokens: int) -> Charge | None:
    size = plain_request(seller.model, tokens).size
    return expected_charge(seller, prices, day, size=size, prompt_tokens=tokens)


def _receipt(charge: Charge) -> Iterator[tuple[str, str]]:
    for item in charge.items:
        if item.quantity:
            yield f"{_words(item.component)} × {item.quantity:,}", _exact_usd(item.amount_pico_usd)


def _exact_usd(pico_usd: int) -> str:
    """Return an exact price with six digits, and further ones where they are not zero."""
    text = format_exact(pico_usd)
    return text[:-6] + text[-6:].rstrip("0")


def _words(component: str) -> str:
    return component.replace("_", " ").capitalize()


def _chips(model: Model) -> Iterator[Chip]:
    can = capabilities(model)
    yield Chip("image", "Image")
    if can.edits:
        pictures = "1 picture" if can.max_input_images == 1 else f"up to {can.max_input_images} pictures"
        yield Chip("images", f"Edits {pictures}")
    if can.masks:
        yield Chip("brush", "Masks")
    if can.transparency:
        yield Chip("layers", "Transparent background")
    if can.streaming:
        yield Chip("zap", "Streaming")
    yield Chip("scroll-text", f"Context window {model.context_window_tokens:,} tokens")


# ----------------------------------------------------------------------------------------------------------------- fields


def _field(parameter: Parameter, model: Model) -> Field:
    notes = [
        f"{code_span(value)} is refused: {plain(reason)}."
        for value, reason in parameter.unsupported.items()
        if value != "*" and code_span(value) not in parameter.description
    ]
    return Field(
        name=parameter.name,
        type="array" if parameter.type == "images" else parameter.type,
        required="Required" if parameter.required else "Optional",
        accepted=_accepted(parameter, model),
        description=" ".join([parameter.description, *notes]),
    )


def _accepted(parameter: Parameter, model: Model) -> str:
    if parameter.refusal is not None:
        return "not available"
    values, is_fixed = (
        _values(parameter, model),
        parameter.minimum is not None and parameter.minimum == parameter.maximum,
    )
    if parameter.default is None or parameter.default == "" or is_fixed:
        return values
    return f"{values}; default {code_span(_json_word(parameter.default))}"


def _values(parameter: Parameter, model: Model) -> str:
    if parameter.type == "images":
        count = "1 picture" if parameter.maximum == 1 else f"1 to {parameter.maximum} pictures"
        return f"{count}: data URLs of PNG, JPEG, WebP or AVIF"
    if parameter.type == "image":
        return "a PNG as data URL"
    if parameter.type == "boolean":
        return "`true`, `false`"
    if parameter.type == "integer" and not parameter.accepted:
        return (
            f"{parameter.minimum}"
            if parameter.minimum == parameter.maximum
            else f"{parameter.minimum} to {parameter.maximum}"
        )
    if parameter.accepted:
        return ", ".join(code_span(value) for value in parameter.accepted)
    if parameter.name == "prompt":
        return f"{'1' if parameter.required else 'up'} to {model.context_window_tokens:,} tokens"
    return "text" if parameter.maximum is None else f"up to {parameter.maximum} characters"


def _json_word(value: str | int | bool) -> str:
    return json.dumps(value) if isinstance(value, bool) else str(value)


# ----------------------------------------------------------------------------------------------------------------- prices


def _price_list(prices: PriceList, current: PriceList | None, day: datetime.date) -> Prices:
    state = "in force" if prices is current else "past" if prices.effective_from <= day else "to come"
    way = "up" if prices.rounding.direction == "up" else "half up"
    rounding = f"{way} to a multiple of ${short_usd(prices.rounding.unit_micro_usd)}"
    return Prices(
        version=prices.version,
        since=prices.effective_from,
        state=state,
        lines=tuple(
            Line(_words(one.name) if one is not prices.fallback else "Flat", _counts(one), one.usd, _per(one))
            for one in prices.lines
        ),
        rounding=rounding,
    )


def _counts(component: PriceComponent) -> str:
    return component.counts.replace("_", " ")


def _per(component: PriceComponent) -> str:
    noun = {"images": "image", "cutouts": "cutout"}.get(component.counts, "token")
    if component.per == 1:
        return f"per {noun}"
    amount = "1M" if component.per == 1_000_000 else f"{component.per:,}"
    return f"per {amount} {noun}s"


def _cards(seller: Seller, prices: PriceList, day: datetime.date, tokens: int) -> Iterator[Card]:
    yield _token_card("Input", prices, "input_", "The words of the prompt, and pictures to rework.")
    size = plain_request(seller.model, tokens).size
    count = seller.offer.sizes[size].output_tokens
    charge = expected_charge(seller, prices, day, size=size, prompt_tokens=tokens)
    note = f"A picture of {_shown_size(size)} has {count:,} tokens."
    yield _token_card(
        "Output",
        prices,
        "output_",
        note if charge is not None else "As many as the picture needs; quality counts most.",
    )
    flat = next((one for one in prices.components if one.counts == "images"), None)
    if flat is not None:
        yield Card("Image", flat.usd, _per(flat), "Whatever its size. A request that fails is free.")
        return
    if charge is None:
        ceiling = quotes.ceiling(plain_request(seller.model, tokens), seller.model, Terms(day, prices, markup_ppm=0))
        note = "What it costs is known when it is made; this much is held. A request that fails is free."
        yield Card("Image", short_usd(ceiling.amount_micro_usd), "at most, per image", note)
        return
    yield Card(
        "Image",
        short_usd(charge.amount_micro_usd),
        f"per image, {_shown_size(size)}",
        f"With the example's prompt of {tokens} tokens. A request that fails is free.",
    )


def _token_card(label: str, prices: PriceList, kind: str, note: str) -> Card:
    lines = [one for one in prices.components if one.counts.startswith(kind)]
    if not lines:
        return Card(label, "0", "no charge for tokens", "Tokens are counted and reported, for comparison only.")
    dearest = max(lines, key=lambda one: one.unit_price_pico_usd)
    return Card(label, dearest.usd, _per(dearest), note)


def _sizes(seller: Seller, prices: PriceList, day: datetime.date, tokens: int) -> Iterator[SizePrice]:
    size = seller.model.parameter("size")
    for name in map(str, size.accepted if size is not None else ()):
        native = seller.offer.sizes[name]
        painted = f"{native.width}x{native.height}"
        charge = expected_charge(seller, prices, day, size=name, prompt_tokens=tokens)
        if charge is None:
            return
        yield SizePrice(
            size=_shown_size(name),
            native="" if painted == name else _shown_size(painted),
            tokens=native.output_tokens,
            amount=short_usd(charge.amount_micro_usd),
        )


def _shown_size(size: str) -> str:
    return size.replace("x", "×") if size[:1].isdigit() else size


# --------------------------------------------------------------------------------------------------------------- examples


def _answer(answer: dict[str, Any]) -> str:
    for picture in answer["data"]:
        picture["b64_json"] = picture["b64_json"][:_SHOWN_BASE64] + "…"
    return _pretty(answer)


def _pretty(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
