"""What may be called, with which parameters, where, and at which price. Made from the catalogue's TOML files."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from omixa.domain.access import Mode, Secret
from omixa.domain.money import Rounding

ParameterType = Literal["string", "integer", "boolean", "image", "images"]
UsageField = Literal["input_text_tokens", "input_image_tokens", "output_image_tokens", "images"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One field of the request body.

    `accepted` are the values of an enumeration. `unsupported` maps values that exist in the API but that this model cannot
    honour to the reason given in the refusal; "*" stands for every value. `foreign` are harmless words of other services
    that count as the default. `minimum` and `maximum` bound integers, string lengths (characters) and list lengths.
    """

    name: str
    type: ParameterType
    description: str
    required: bool = False
    accepted: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()
    unsupported: Mapping[str, str] | None = None
    minimum: int | None = None
    maximum: int | None = None
    default: str | int | bool | None = None


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
    """A selling price or a provider's cost. `fallback` is used alone when a provider reports no usable usage."""

    version: str
    currency: str
    effective_from: datetime.date
    components: tuple[PriceComponent, ...]
    fallback: PriceComponent
    rounding: Rounding


@dataclass(frozen=True, slots=True)
class UsageBounds:
    """Proven upper bounds of what one picture can use, from which the amount to hold follows.

    A text token is at least one byte, and no more than the context window fits. An input picture costs one token for each
    32 x 32 pixels, at least `input_image_tokens_min`, and no more than `input_image_tokens_max` because larger ones are
    scaled down by the provider.
    """

    output_image_tokens_max: int
    input_image_tokens_min: int
    input_image_tokens_max: int


@dataclass(frozen=True, slots=True)
class Model:
    """A model as a customer names it."""

    id: str
    name: str
    summary: str
    description: str
    released: datetime.date
    context_window_tokens: int
    parameters: tuple[Parameter, ...]
    prices: PriceList
    bounds: UsageBounds

    def parameter(self, name: str) -> Parameter | None:
        """Return the parameter of that name, if the model has it."""
        return next((parameter for parameter in self.parameters if parameter.name == name), None)


@dataclass(frozen=True, slots=True)
class NativeSize:
    """What the provider is asked to paint for a size of the API; where they differ, the gateway resamples."""

    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Offer:
    """A model as one provider sells it: what the wire can carry and what it costs the operator.

    `ignored` names parameters for which the provider has no knob. `sizes` maps the API's sizes to native ones. Timeouts are
    in seconds: `first_byte_timeout_s` from the end of sending to the first byte of the answer, `total_timeout_s` for the call.
    """

    provider: str
    model: str
    ignored: frozenset[str]
    sizes: Mapping[str, NativeSize]
    input_formats: frozenset[str]
    max_output_pixels: int
    first_byte_timeout_s: float
    total_timeout_s: float
    on_disconnect: Literal["finish", "cancel"]
    cost: PriceList


@dataclass(frozen=True, slots=True)
class Deployment:
    """A model at a provider's address with a credential. `id` is what routes, attempts and logs call it."""

    id: str
    provider: str
    model: str
    endpoint: str
    deployment_name: str
    api_key: Secret | None
    bearer_token: Secret | None
    modes: frozenset[Mode]
