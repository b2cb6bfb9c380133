"""What may be called, with which parameters, where, and at which price. Made from the catalogue's TOML files."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from omixa.domain.access import NO_LIMITS, Constraints, Mode, RateLimits, Secret
from omixa.domain.images import PIXELS_PER_TOKEN
from omixa.domain.money import Rounding

ParameterType = Literal["string", "integer", "boolean", "image", "images"]
Refusal = Literal["nothing", "input", "picture"]
MaskPolicy = Literal["native", "composite", "none"]
TransparencyPolicy = Literal["native", "cutout", "none"]
UsageField = Literal[
    "input_text_tokens", "input_image_tokens", "output_image_tokens", "output_text_tokens", "images", "cutouts"
]


SIMULATOR_SCHEME = "simulator:"
"""How the endpoints of the simulator begin. It is reached without a network."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One field of the request body.

    `accepted` are the values of an enumeration. `unsupported` maps values that exist in the API but that this model cannot
    honour to the reason given in the refusal; "*" stands for every value. `foreign` are harmless words of other services
    that count as the default. `minimum` and `maximum` bound integers, string lengths (characters) and list lengths,
    `max_pixels` each picture of a list.
    `description` is Markdown for the documentation page.
    """

    name: str
    type: ParameterType
    description: str
    required: bool = False
    accepted: tuple[str | int, ...] = ()
    foreign: tuple[str, ...] = ()
    unsupported: Mapping[str, str] = field(default_factory=dict)
    minimum: int | None = None
    maximum: int | None = None
    max_pixels: int | None = None
    default: str | int | bool | None = None
    example: str | int | bool | None = None

    @property
    def refusal(self) -> str | None:
        """Return why the model takes no value at all here, if that is so."""
        return self.unsupported.get("*")

    def within(self, number: int) -> bool:
        """Tell whether a number, or a length, is neither below the minimum nor above the maximum."""
        low_enough = self.maximum is None or number <= self.maximum
        return low_enough and (self.minimum is None or number >= self.minimum)


@dataclass(frozen=True, slots=True)
class PriceComponent:
    """One line of a price list: `unit_price_pico_usd` for each unit of `counts`; `usd` per `per` is how people read it."""

    name: str
    counts: UsageField
    unit_price_pico_usd: int
    usd: str
    per: int


@dataclass(frozen=True, slots=True)
class PriceList:
    """A selling price or a provider's cost. `fallback` is used alone when a provider reports no usable usage.

    `extras` are for what the gateway does besides. It counts that itself, so they are charged beside either rule, where used.

    `version` names the content for ever: the owner, the date and the first hex digits of a SHA-256 over everything else, for
    example mai-image-2.5@2026-11-01#1f0c9a3b.
    """

    version: str
    currency: str
    effective_from: datetime.date
    components: tuple[PriceComponent, ...]
    fallback: PriceComponent
    rounding: Rounding
    extras: tuple[PriceComponent, ...] = ()

    @property
    def lines(self) -> tuple[PriceComponent, ...]:
        """Return the components, the fallback and the extras, in the order in which people read them."""
        return (*self.components, self.fallback, *self.extras)


def in_force(lists: Sequence[PriceList], day: datetime.date) -> PriceList | None:
    """Return the price list of a UTC day, which is the newest that has begun, or None before the first one."""
    newest: PriceList | None = None
    for prices in lists:
        if prices.effective_from <= day and (newest is None or prices.effective_from > newest.effective_from):
            newest = prices
    return newest


@dataclass(frozen=True, slots=True)
class UsageBounds:
    """Upper bounds of what one picture can use, from which the amount to hold follows.

    A text token is at least one byte, and no more than the context window fits. A reference picture costs one token for each
    tile of 32 x 32 pixels after the provider has scaled it, so between `input_image_tokens_min` and
    `input_image_tokens_max`, whatever its own size is. A model that writes or thinks besides may do so up to
    `output_text_tokens_max`.
    """

    output_image_tokens_max: int
    input_image_tokens_min: int
    input_image_tokens_max: int
    output_text_tokens_max: int = 0
    output_image_tokens_by_quality: Mapping[str, int] = field(default_factory=dict)

    def at(self, quality: str) -> UsageBounds:
        """Return the bounds of pictures of one quality; without a bound of their own, that of the dearest."""
        most = self.output_image_tokens_by_quality.get(quality)
        return self if most is None else replace(self, output_image_tokens_max=most)


DigitalSource = Literal["trainedAlgorithmicMedia", "algorithmicMedia", "algorithmicallyEnhanced"]
"""Where a model's pixels come from, in IPTC's words: a network that was trained, an algorithm, or a picture made better."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model as a customer names it.

    `price_lists` are its selling prices, oldest first; without one in force it cannot be called. `released` is the day the
    model came out. `example` is a complete request body. `edits_follow_reference` says that an edit has the shape of its
    reference picture and no other. Nothing new should be built on a model since it is `deprecated`, and from the day on which it
    `retires` it cannot be called; `successor` is what to use then. `mask_policy` says who honours a mask: the model itself
    (native), the gateway, which lays the original over the edit outside the mask (composite), or nobody. `transparency_policy`
    says who makes a background transparent: the model (native), the gateway through the cutout model (cutout), or nobody.
    `digital_source` is what signed pictures say of themselves. `counts_by_size` says that a picture's tokens follow from its size
    alone, so that its price is known before it is made. `cheap` says that a second call for a picture is worth its cost to the
    operator when the first one is slow, where hedging is on. Descriptions are Markdown.
    """

    id: str
    name: str
    summary: str
    description: str
    released: datetime.date
    context_window_tokens: int
    parameters: tuple[Parameter, ...]
    price_lists: tuple[PriceList, ...]
    bounds: UsageBounds
    example: Mapping[str, str | int | bool]
    edits_follow_reference: bool
    mask_policy: MaskPolicy = "none"
    digital_source: DigitalSource = "trainedAlgorithmicMedia"
    transparency_policy: TransparencyPolicy = "none"
    deprecated: datetime.date | None = None
    retires: datetime.date | None = None
    successor: str | None = None
    counts_by_size: bool = True
    cheap: bool = False

    def is_retired(self, day: datetime.date) -> bool:
        """Tell whether the model cannot be called any more on a UTC day."""
        return self.retires is not None and self.retires <= day

    def parameter(self, name: str) -> Parameter | None:
        """Return the parameter of that name, if the model has it."""
        return next((parameter for parameter in self.parameters if parameter.name == name), None)

    @property
    def needs_pictures(self) -> bool:
        """Tell whether a request must have pictures, so that words alone are none."""
        return any(parameter.type == "images" and parameter.required for parameter in self.parameters)

    @property
    def takes_pictures(self) -> bool:
        """Tell whether a request may have pictures."""
        return any(parameter.type == "images" and parameter.refusal is None for parameter in self.parameters)

    def cuts_out(self, background: str) -> bool:
        """Tell whether the gateway is to take the background away from this model's pictures."""
        return background == "transparent" and self.transparency_policy == "cutout"

    def prices_on(self, day: datetime.date) -> PriceList | None:
        """Return the selling prices of a UTC day, or None before the first price list begins."""
        return in_force(self.price_lists, day)


@dataclass(frozen=True, slots=True)
class NativeSize:
    """What the provider is asked to paint for a size of the API; where they differ, the gateway resamples.

    `aspect_ratio` and `resolution` are the provider's own words for it, such as 2:3 and 1K, where it is not told pixels.
    `tokens` is what such a picture counts, where that is not one for each tile of 32 x 32 pixels.
    """

    width: int
    height: int
    aspect_ratio: str = ""
    resolution: str = ""
    tokens: int | None = None

    @property
    def pixels(self) -> int:
        """Return how many pixels the picture has."""
        return self.width * self.height

    @property
    def output_tokens(self) -> int:
        """Return how many tokens the picture counts."""
        return self.pixels // PIXELS_PER_TOKEN if self.tokens is None else self.tokens


@dataclass(frozen=True, slots=True)
class Offer:
    """A model as one provider sells it: what the wire can carry and what it costs the operator.

    `name` is what the provider calls the model, where a deployment has no name of its own.
    `ignored` names parameters for which the provider has no knob, `carries` those which only some wires carry and this one does.
    `sizes` maps the API's sizes to native ones. Timeouts are in seconds: `first_byte_timeout_s` from the end of sending to the
    first byte of the answer, `total_timeout_s` for the call.
    `max_output_pixels` is the largest picture that may be asked for, `max_edited_pixels` the largest that an edit may bring.
    `charges_on_refusal` says what the provider bills when its content filter refuses. `costs` are the provider's price lists,
    oldest first and at least one. Besides the endpoint, addresses that the provider names are only called at `api_hosts`, with
    the credential, and at `result_hosts`, without it; in their names a label may be * for any one.
    """

    provider: str
    model: str
    ignored: frozenset[str]
    sizes: Mapping[str, NativeSize]
    input_formats: frozenset[str]
    max_output_pixels: int
    max_edited_pixels: int
    first_byte_timeout_s: float
    total_timeout_s: float
    on_disconnect: Literal["finish", "cancel"]
    charges_on_refusal: Refusal
    costs: tuple[PriceList, ...]
    carries: frozenset[str] = frozenset()
    name: str = ""
    api_hosts: tuple[str, ...] = ()
    result_hosts: tuple[str, ...] = ()

    def cost_on(self, day: datetime.date) -> PriceList:
        """Return what the provider charges on a UTC day; before the first price list begins, that one."""
        return in_force(self.costs, day) or self.costs[0]


@dataclass(frozen=True, slots=True)
class ProviderProfile:
    """Who sells offers, and how it is spoken to.

    `adapter` is the wire format. `endpoint` is where its API is for everybody, or empty where each account has an address of its
    own. One that `resells` others' models is not whom a simulator plays for them.
    """

    id: str
    adapter: str
    endpoint: str = ""
    resells: bool = False


@dataclass(frozen=True, slots=True)
class Deployment:
    """A model at a provider's address with a credential. `id` is what routes, attempts and logs call it.

    `account` names whose credential it is: deployments of one account lose it together. `region` is where it is, in the
    operator's word. A lower `priority` is tried first; within one, `weight` is the share of requests. `limits` are what the
    provider allows this deployment, 0 where no limit is known; the gateway keeps to them by itself. `qualities` are those for
    which it is there under the policy `quality`, none for every one. One that runs `in_process` is never left out for its
    failures, because nothing else would serve in its place. With an `entra_scope` it has no credential of its own but tokens of
    Microsoft Entra for that scope. `fault` says in one word why it is out of use from the start, if it is.
    """

    id: str
    provider: str
    model: str
    endpoint: str
    deployment_name: str
    api_key: Secret | None
    bearer_token: Secret | None
    modes: frozenset[Mode]
    account: str = ""
    region: str = ""
    weight: int = 1
    priority: int = 0
    limits: RateLimits = NO_LIMITS
    qualities: frozenset[str] = frozenset()
    in_process: bool = False
    entra_scope: str = ""
    fault: str = ""

    def is_same_place_as(self, other: Deployment) -> bool:
        """Tell whether calls go to the same address with the same credential: what is known of one holds for the other."""
        return (self.endpoint, self.deployment_name, self.api_key, self.bearer_token, self.entra_scope, self.fault) == (
            other.endpoint,
            other.deployment_name,
            other.api_key,
            other.bearer_token,
            other.entra_scope,
            other.fault,
        )

    @property
    def is_simulated(self) -> bool:
        """Tell whether the simulator inside the process stands in for the provider."""
        return self.endpoint.startswith(SIMULATOR_SCHEME)

    def is_within(self, constraints: Constraints) -> bool:
        """Tell whether a workspace with these constraints may use it."""
        providers, regions = constraints.providers, constraints.regions
        if providers is not None and self.provider.lower() not in providers:
            return False
        return regions is None or self.in_process or self.region.lower() in regions
