"""What a catalogue file may say, key by key: an unknown key, a missing one or a wrong type is an error."""

from __future__ import annotations

import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from omixa.domain.models import DigitalSource, MaskPolicy, ParameterType, Refusal, TransparencyPolicy, UsageField

Text = Annotated[str, Meta(min_length=1)]
Positive = Annotated[int, Meta(ge=1)]
Count = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(gt=0)]
Pixels = Annotated[str, Meta(pattern=r"^[1-9][0-9]{0,4}x[1-9][0-9]{0,4}$")]


class Strict(Struct, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """A table of a catalogue file. What a table leaves out is no part of its digest, so that new keys change no old version."""


class ParameterTable(Strict):
    """`[parameters.NAME]`, see `domain.models.Parameter`.

    In a model's file `like` names a table of `parameters.toml`, whose keys hold where the model's own table has none.
    """

    type: ParameterType
    description: Text
    required: bool = False
    accepted: tuple[Text | int, ...] = ()
    foreign: tuple[Text, ...] = ()
    unsupported: dict[Text, Text] = field(default_factory=dict)
    minimum: Count | None = None
    maximum: Count | None = None
    max_pixels: Positive | None = None
    default: str | int | bool | None = None
    example: str | int | bool | None = None


class ComponentTable(Strict):
    """One line of a price list: `usd`, a decimal string, for `per` units of what `counts` counts."""

    name: Text
    counts: UsageField
    usd: str
    per: Positive


class RoundingTable(Strict):
    """To a multiple of `unit_usd`, a decimal string of at least a millionth."""

    unit_usd: str
    direction: Literal["up", "half_up"]


class PriceTable(Strict):
    """One of `[[prices]]` of a model or of `[[offers.costs]]` of a provider, in force from the start of a UTC day."""

    currency: Literal["USD"]
    effective_from: datetime.date
    rounding: RoundingTable
    components: Annotated[tuple[ComponentTable, ...], Meta(min_length=1)]
    fallback: ComponentTable
    extras: tuple[ComponentTable, ...] = ()


class BoundsTable(Strict):
    """`[bounds]`, see `domain.models.UsageBounds`."""

    output_image_tokens_max: Positive
    input_image_tokens_min: Count
    input_image_tokens_max: Count
    output_text_tokens_max: Count = 0
    output_image_tokens_by_quality: dict[Text, Positive] = {}


class ModelFile(Strict):
    """A file of `models/`. The tables of `parameters` are read one by one, so that an error names its parameter."""

    id: Text
    name: Text
    summary: Text
    description: Text
    released: datetime.date
    context_window_tokens: Positive
    edits_follow_reference: bool
    example: dict[str, str | int | bool]
    bounds: BoundsTable
    parameters: dict[Text, dict[str, object]]
    mask_policy: MaskPolicy = "none"
    digital_source: DigitalSource = "trainedAlgorithmicMedia"
    transparency_policy: TransparencyPolicy = "none"
    deprecated: datetime.date | None = None
    retires: datetime.date | None = None
    successor: Text | None = None
    counts_by_size: bool = True
    cheap: bool = False
    prices: tuple[PriceTable, ...] = ()


class SizeTable(Strict):
    """One of `[offers.sizes]`, see `domain.models.NativeSize`."""

    pixels: Pixels
    aspect_ratio: str = ""
    resolution: str = ""
    tokens: Positive | None = None


class RetiredTable(Strict):
    """One model of `retired.toml`: the UTC day from which it could not be called any more, and what to use instead."""

    on: datetime.date
    successor: Text


class OfferTable(Strict):
    """`[[offers]]` of a provider, see `domain.models.Offer`. Sizes are written 832x1248, or as tables."""

    model: Text
    ignored: tuple[Text, ...]
    input_formats: tuple[Literal["png", "jpeg", "webp"], ...]
    max_output_pixels: Positive
    max_edited_pixels: Positive
    first_byte_timeout_s: Seconds
    total_timeout_s: Seconds
    on_disconnect: Literal["finish", "cancel"]
    charges_on_refusal: Refusal
    sizes: dict[Text, Pixels | SizeTable]
    costs: Annotated[tuple[PriceTable, ...], Meta(min_length=1)]
    carries: tuple[Text, ...] = ()
    name: Text | None = None


Host = Annotated[str, Meta(pattern=r"^(\*|[a-z0-9-]+)(\.(\*|[a-z0-9-]+))*\.[a-z]{2,}$")]


class ProviderFile(Strict):
    """A file of `providers/`, see `domain.models.ProviderProfile`. Without an adapter its wire format has the provider's name.

    The hosts are those of every offer, see `domain.models.Offer`.
    """

    id: Text
    offers: tuple[OfferTable, ...]
    adapter: str = ""
    endpoint: str = ""
    resells: bool = False
    api_hosts: tuple[Host, ...] = ()
    result_hosts: tuple[Host, ...] = ()
