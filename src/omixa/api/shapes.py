"""What answers look like. Handlers build these values, and the API document takes its schemas and descriptions from them.

Names of classes are names of schemas in the document, so they are as stable as the paths. Keys stand in the order in which
people read an answer. A field whose default is UNSET is left out where it has nothing to say; every other field is present.
"""

from __future__ import annotations

import datetime
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from omixa.access.store import KeyState
from omixa.billing.budgets import Period
from omixa.billing.lots import LotKind
from omixa.catalogue.files import Count, Positive
from omixa.domain.access import Mode, ResponseFormat, Role, Scope
from omixa.domain.accounts import Auth
from omixa.domain.images import ImageFormat
from omixa.domain.models import MaskPolicy, ParameterType, TransparencyPolicy, UsageField
from omixa.usage.analytics import CorrectionKind, PeriodType, RequestState

Amount = Annotated[str, Meta(pattern=r"^-?\d+\.\d{6}$", description="An amount of money: a decimal with six digits.")]
ExactAmount = Annotated[
    str, Meta(pattern=r"^\d+\.\d{12}$", description="An amount of money before rounding: a decimal with twelve digits.")
]
MarkupPpm = Annotated[
    int,
    Meta(
        description="What the workspace pays above the price list, in parts per million of `exact_amount`;"
        " a discount below zero.",
        examples=[0],
    ),
]
Price = Annotated[str, Meta(pattern=r"^\d+\.\d{6,12}$", examples=["33.000000"])]
UnixSeconds = Annotated[int, Meta(ge=0, description="Unix time in seconds.")]
Instant = Annotated[
    str,
    Meta(
        pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$",
        description="A time in UTC with milliseconds.",
        examples=["2026-11-23T14:05:09.250Z"],
    ),
]
HASH_PATTERN = "^[0-9a-f]{64}$"
RequestId = Annotated[str, Meta(pattern=r"^req_[0-9a-hjkmnp-tv-z]{26}$", description="The id of a request.")]
CallId = Annotated[str, Meta(pattern=r"^att_[0-9a-hjkmnp-tv-z]{26}$", description="The id of a call to a provider.")]
FindingId = Annotated[str, Meta(pattern=r"^find_[0-9a-hjkmnp-tv-z]{26}$", description="The id of a finding.")]
RateLimit = Annotated[Count | None, Meta(description="0 is no limit, null what is usual on this server.")]
Operation = Literal["generation", "edit"]
GivenAmount = Annotated[
    str, Meta(pattern=r"^\d{1,10}(\.\d{1,6})?$", description="US dollars, as a decimal.", examples=["25.00"])
]
Reason = Annotated[str, Meta(max_length=500, description="For the audit log.")]
Currency = Annotated[str, Meta(description="ISO 4217.", examples=["USD"])]


class Shape(Struct, kw_only=True):
    """Base of all answers."""


# ----------------------------------------------------------------------------------------------------------------- errors


class ErrorDetails(Shape):
    """What went wrong and who can do something about it."""

    message: Annotated[str, Meta(description="A sentence for people. It may change; programs look at `code`.")]
    type: Annotated[str, Meta(description="The family of the error.")]
    param: Annotated[str | None, Meta(description="The field, query or path parameter at fault, where there is one.")]
    code: Annotated[str, Meta(description="A stable word for exactly this kind of error.")]
    request_id: Annotated[str, Meta(description="The same as in the header `x-request-id`.")]


class Error(Shape):
    """An error, in the shape of OpenAI's API."""

    error: ErrorDetails


# ----------------------------------------------------------------------------------------------------------------- images


class InputTokens(Shape):
    """Input tokens by kind."""

    text_tokens: Count
    image_tokens: Count


class OutputTokens(Shape):
    """Output tokens by kind: of the pictures, and of words that a model wrote or thought besides."""

    text_tokens: Count
    image_tokens: Count


class Usage(Shape):
    """What was used, under the names of OpenAI's API."""

    input_tokens: Count
    input_tokens_details: InputTokens
    output_tokens: Count
    output_tokens_details: OutputTokens
    total_tokens: Count
    images: Annotated[Count, Meta(description="Pictures that arrived.")]
    usage_estimated: Annotated[
        bool, Meta(description="True when the provider reported nothing; then the flat price for each picture applies.")
    ]


class BilledUsage(Usage):
    """What was used and what it cost."""

    billed_amount: Annotated[Amount, Meta(description="What was charged, in US dollars.")]


class EventUsage(Usage):
    """What one picture of a stream used. The last event carries what the whole request cost."""

    billed_amount: Annotated[Amount | UnsetType, Meta(description="What the whole request cost, in US dollars.")] = (
        UNSET
    )


class LineItem(Shape):
    """One line of a receipt: `quantity` units at `unit_price` US dollars for each `per` units."""

    component: str
    quantity: Count
    unit_price: Annotated[str, Meta(description="As the price list has it.", examples=["33.00"])]
    per: Positive
    amount: ExactAmount


class InputImage(Shape):
    """A picture that was given, in the order in which it was."""

    format: ImageFormat
    size: Annotated[str, Meta(description="Width and height in pixels, upright.", examples=["1024x1536"])]
    pixels: Positive
    tokens: Annotated[
        Count,
        Meta(
            description="Its part of the input tokens of each picture that was made, where the model counts them together."
        ),
    ]


class AttemptOutcome(Shape):
    """One call to a provider: `attempt` counts from 1, `image` from 0."""

    attempt: Positive
    image: Count
    route: str
    outcome: Annotated[str, Meta(description='"ok", or a word for what failed.')]


class Emulation(Shape):
    """Something the gateway did because the model cannot."""

    parameter: str
    how: str


class FailedImage(Shape):
    """A picture that was asked for and could not be made. It is not charged."""

    image: Count
    code: str
    message: str


class Rehearsal(Shape):
    """What a test key rehearsed, and what it would have come to with a live key. The scenario is played over all tries."""

    scenario: Annotated[str, Meta(description="What the simulator played.", examples=["429x2,ok; latency=8s"])]
    tries: Annotated[Positive, Meta(description="How often the client has sent the request, this time included.")]
    waited_ms: Annotated[Count, Meta(description="Milliseconds from its first try to this one.")]
    earlier_requests: Annotated[
        list[RequestId], Meta(description="The tries before this one, of which none was charged; the last 20.")
    ]
    provider_calls: Annotated[Count, Meta(description="How often this try has called the provider.")]
    live_amount: Annotated[Amount, Meta(description="What a live key would have been charged, for all tries together.")]


class Receipt(Shape):
    """How an answer came about and what it cost, to the last digit."""

    request_id: RequestId
    mode: Mode
    operation: Operation
    requested_model: str
    model: str
    route: Annotated[str, Meta(description="Which deployment made the first picture.")]
    provider: str
    simulated: Annotated[bool, Meta(description="True when the simulator painted instead of the model.")]
    price_version: Annotated[str, Meta(description="Names the price list for ever.")]
    currency: Currency
    line_items: list[LineItem]
    exact_amount: ExactAmount
    markup_ppm: MarkupPpm
    rounded_to: Annotated[Amount, Meta(description="The smallest step of a charge.")]
    rounding: Literal["up", "half_up"]
    held_amount: Annotated[Amount, Meta(description="What was reserved before any provider was called.")]
    billed_amount: Amount
    usage_by_image: Annotated[list[Usage], Meta(description="What each picture used, in the order of `data`.")]
    input_images: list[InputImage]
    attempts: list[AttemptOutcome]
    ignored_parameters: Annotated[list[str], Meta(description="Parameters that were given and have no effect here.")]
    emulated: list[Emulation]
    provenance: Annotated[
        list[Literal["none", "kept", "lost", "signed"]],
        Meta(
            description="What became of each picture's Content Credentials (C2PA), in the order of `data`: the provider put none"
            " in, they are in the picture as they came, or they were lost when it was resampled or encoded anew."
        ),
    ]
    failed: list[FailedImage]
    joined_request: Annotated[
        bool | UnsetType, Meta(description="True in the answer to a retry that is charged with the request it repeats.")
    ] = UNSET
    parked_from: Annotated[
        RequestId | UnsetType, Meta(description="The request that had made this result and could not be charged.")
    ] = UNSET
    rehearsal: Rehearsal | UnsetType = UNSET


class Picture(Shape):
    """A picture."""

    b64_json: Annotated[
        str | None,
        Meta(
            description="The file in base64; null where links were asked for.",
            extra_json_schema={"contentEncoding": "base64"},
        ),
    ]
    url: Annotated[
        str | None,
        Meta(
            description="A link to the file, which needs no key and ends after a while; null unless it was asked for."
        ),
    ]


class ImageAnswer(Shape):
    """Pictures, what they used and what they cost."""

    created: UnixSeconds
    data: list[Picture]
    size: Annotated[str, Meta(pattern=r"^\d+x\d+$", description="Width and height of the first picture.")]
    output_format: ImageFormat
    quality: str
    background: str
    usage: BilledUsage
    omixa: Receipt


class PartOfAnswer(Shape):
    """Which request and which of its pictures an event belongs to."""

    request_id: RequestId
    image: Count


class PreviewEvent(Shape):
    """The data of a server-sent event with a picture in the making. Only models that make previews send them."""

    type: Literal["image_generation.partial_image", "image_edit.partial_image"]
    b64_json: Annotated[str, Meta(extra_json_schema={"contentEncoding": "base64"})]
    created_at: UnixSeconds
    partial_image_index: Annotated[Count, Meta(description="Counts from 0.")]
    size: str
    quality: str
    background: str
    output_format: ImageFormat


class ImageEvent(Shape):
    """The data of a server-sent event with a finished picture; the last one carries the receipt."""

    type: Literal["image_generation.completed", "image_edit.completed"]
    b64_json: Annotated[str | None, Meta(extra_json_schema={"contentEncoding": "base64"})]
    created_at: UnixSeconds
    size: str
    quality: str
    background: str
    output_format: ImageFormat
    usage: EventUsage
    omixa: Annotated[
        dict[str, Any],
        Meta(
            extra_json_schema={
                "anyOf": [{"$ref": "#/components/schemas/Receipt"}, {"$ref": "#/components/schemas/PartOfAnswer"}]
            }
        ),
    ]
    url: Annotated[str | UnsetType, Meta(description="A link to the file, where links were asked for.")] = UNSET


# -------------------------------------------------------------------------------------------------------------- estimates


class Quote(Shape):
    """A price and the lines that it is the sum of, rounded once."""

    amount: Amount
    exact_amount: ExactAmount
    line_items: list[LineItem]


class Refusal(Shape):
    """What a request would be refused with."""

    code: str
    message: str


class Estimate(Shape, tag_field="object", tag="estimate"):
    """What a request would cost and whether it would be admitted now. Nothing is held, and prices may change until it is sent."""

    model: str
    requested_model: str
    operation: Operation
    mode: Mode
    price_version: Annotated[str, Meta(description="Names the price list for ever.")]
    currency: Currency
    markup_ppm: MarkupPpm
    rounded_to: Annotated[Amount, Meta(description="The smallest step of a charge.")]
    rounding: Literal["up", "half_up"]
    ceiling: Annotated[Quote, Meta(description="The most it can cost. That is held, and no more is ever charged.")]
    expected: Annotated[
        Quote | None,
        Meta(
            description="What it costs when all pictures arrive and the provider counts as the gateway does. Null for an edit,"
            " whose shape the provider chooses, and where no provider is configured."
        ),
    ]
    balance: Balance
    admitted: Annotated[bool, Meta(description="Whether the same request would be admitted now.")]
    refusal: Annotated[Refusal | None, Meta(description="Why not.")]


# ----------------------------------------------------------------------------------------------------------------- models


class Capabilities(Shape):
    """What a model can do, in brief. The schema has it all."""

    edits: Annotated[bool, Meta(description="Takes reference pictures.")]
    masks: Annotated[bool, Meta(description="Takes a mask that limits where an edit may paint.")]
    mask_policy: Annotated[
        MaskPolicy,
        Meta(
            description="Who honours a mask: the model itself (`native`), the gateway, which lays the original over the edit"
            " outside the mask (`composite`), or nobody (`none`)."
        ),
    ]
    transparency: Annotated[bool, Meta(description="Paints on a transparent background.")]
    transparency_policy: Annotated[
        TransparencyPolicy,
        Meta(
            description="Who makes a background transparent: the model itself (`native`), the gateway, which cuts the picture"
            " out as a line of its own on the bill (`cutout`), or nobody (`none`)."
        ),
    ]
    streaming: Annotated[bool, Meta(description="Answers with server-sent events.")]
    max_images: Annotated[Positive, Meta(description="The largest `n`.")]
    max_input_images: Count
    sizes: list[str]
    output_formats: list[str]


class ModelSummary(Shape, tag_field="object", tag="model"):
    """A model in the list."""

    id: Annotated[str, Meta(description="What `model` in a request names, in upper or lower case.")]
    created: Annotated[UnixSeconds, Meta(description="When the model came out, Unix time in seconds.")]
    owned_by: Annotated[str, Meta(description="The provider that makes the pictures.")]
    name: str
    summary: str
    context_window_tokens: Positive
    deprecated: Annotated[
        str | None, Meta(description="The day since which nothing new should be built on it, if there is one.")
    ]
    retires: Annotated[str | None, Meta(description="The UTC day from which it answers 404, where that is known.")]
    successor: Annotated[str | None, Meta(description="The model to use instead.")]
    capabilities: Capabilities


class ModelList(Shape, tag_field="object", tag="list"):
    """The models that a key may call."""

    data: list[ModelSummary]


class ParameterDescription(Shape):
    """One field of a request: its values, and the reason for each that exists elsewhere and is refused here."""

    name: str
    type: ParameterType
    required: bool
    description: Annotated[str, Meta(description="Markdown.")]
    accepted: list[str | int]
    default: str | int | bool | None
    minimum: int | None
    maximum: int | None
    max_pixels: Annotated[
        int | None, Meta(description="The most pixels of each picture, where the model has a limit of its own.")
    ]
    example: str | int | bool | None
    unsupported: Annotated[dict[str, str], Meta(description="Refused values and why; `*` stands for every value.")]


class PriceLine(Shape):
    """One line of a price list: `unit_price` US dollars for each `per` units of what `counts` counts."""

    component: str
    counts: UsageField
    unit_price: Annotated[str, Meta(examples=["33.00"])]
    per: Positive


class PriceRounding(Shape):
    """How the sum of a request becomes its charge: once, to a multiple of `to` US dollars."""

    to: Amount
    direction: Literal["up", "half_up"]


class Prices(Shape):
    """What a model costs, in US dollars. A request is the sum of `components`, or `fallback` where usage is unknown."""

    currency: Currency
    input: Annotated[Price, Meta(description="For a million input tokens; the highest, where kinds of input differ.")]
    output: Annotated[Price, Meta(description="For a million output tokens.")]
    image: Annotated[Price, Meta(description="For a picture whose usage the provider did not report.")]
    components: list[PriceLine]
    fallback: PriceLine
    extras: Annotated[
        list[PriceLine], Meta(description="For what the gateway does besides, where that is allowed and asked for.")
    ]
    rounding: PriceRounding
    effective_from: Annotated[str, Meta(extra_json_schema={"format": "date"})]


class Limits(Shape):
    """The most that one request may ask for."""

    max_images: Positive
    max_input_images: Count
    context_window_tokens: Positive
    max_body_bytes: Positive


class Model(ModelSummary, tag_field="object", tag="model"):
    """All that a caller can know of a model."""

    description: Annotated[str, Meta(description="Markdown.")]
    parameters: list[ParameterDescription]
    prices: Annotated[Prices | None, Meta(description="In force today. Null when there are none: it cannot be called.")]
    price_version: Annotated[str | None, Meta(description="Names the price list for ever.")]
    limits: Limits
    schema_url: Annotated[str, Meta(description="Where the JSON Schema of requests is, on this server.")]


# --------------------------------------------------------------------------------------------------------------- requests


class RequestSummary(Shape, tag_field="object", tag="request"):
    """A request in the log. One that is not captured has charged nothing."""

    id: RequestId
    created: UnixSeconds
    created_at: Instant
    ended_at: Instant | None
    duration_ms: Count | None
    state: Annotated[
        RequestState, Meta(description="`held` while it runs, then `captured` when charged or `released` when not.")
    ]
    outcome: Annotated[
        str | None, Meta(description='"ok", the code of the error that was told, or null while it runs.')
    ]
    model: str
    operation: Operation
    key_id: str
    usage: Usage | None
    held_amount: Annotated[Amount, Meta(description="What was reserved before any provider was called.")]
    billed_amount: Annotated[Amount, Meta(description="What was charged. Corrections leave it as it was.")]
    refunded_amount: Annotated[Amount, Meta(description="What was given back of the charge.")]
    adjusted_amount: Annotated[
        Amount, Meta(description="What later re-ratings added to the charge; below zero it was credited.")
    ]
    currency: Currency
    result_expires_at: Annotated[Instant | None, Meta(description="Until when the answer can be fetched again.")]
    result_deleted_at: Annotated[
        Instant | None, Meta(description="When the workspace had the answer deleted before its time.")
    ]
    joined_requests: Annotated[
        Count, Meta(description="Retries that were answered by this request. They cost nothing.")
    ]
    parked_from: Annotated[
        RequestId | None,
        Meta(description="The request that had made this result and could not be charged; no provider was called."),
    ]


class AttemptStep(Shape):
    """One call to a provider on the request's time line, in milliseconds from the moment of its hold."""

    attempt: Positive
    image: Count
    route: str
    outcome: Annotated[str | None, Meta(description='"ok", a word for what failed, or null while it runs.')]
    offset_ms: Count
    duration_ms: Count | None
    late_ms: Annotated[
        Count | None,
        Meta(
            description="After how long the answer came all the same, though the call had been given up; null where none did."
        ),
    ]


class Correction(Shape):
    """A later correction of a charge, which itself stays as it was."""

    id: Annotated[str, Meta(description="The transfer in the ledger.")]
    kind: Annotated[
        CorrectionKind,
        Meta(description="`refund` gives back a part of the charge, `adjustment` follows from other prices."),
    ]
    amount: Annotated[Amount, Meta(description="What was credited to the workspace; below zero it was charged.")]
    created_at: Instant


class RequestDetails(RequestSummary, tag_field="object", tag="request"):
    """What happened to a request, and how its charge follows from its usage. Prompts and pictures are not part of it."""

    mode: Mode
    error_code: Annotated[str | None, Meta(description="The code of the error that was told, if there was one.")]
    route: Annotated[str | None, Meta(description="Which deployment made the first picture.")]
    requested_model: str
    parameters: Annotated[dict[str, Any], Meta(description="What was asked for, without the prompt and pictures.")]
    price_version: str
    line_items: list[LineItem]
    exact_amount: ExactAmount | None
    markup_ppm: MarkupPpm
    attempts: list[AttemptStep]
    corrections: Annotated[list[Correction], Meta(description="Refunds and adjustments, oldest first.")]
    rehearsal: Rehearsal | UnsetType = UNSET


class ReceiptCall(Shape):
    """One call to a provider, and what it costs the operator, whoever pays for the picture."""

    attempt: Positive
    image: Count
    route: str
    outcome: Annotated[str, Meta(description='"ok", or a word for what failed.')]
    sent_at: Instant
    ended_at: Instant | None
    late_at: Annotated[
        Instant | None,
        Meta(description="When the answer came that nobody waited for any more: what is known of the cost is from it."),
    ]
    cost_amount: ExactAmount
    cost_basis: Annotated[
        Literal["reported", "estimated", "none"],
        Meta(description="From the provider's report, estimated because it may have charged, or nothing."),
    ]


class ReceiptTransfer(Shape):
    """A row of the ledger. Its hash is over the other fields and the hash of the row before it."""

    id: str
    kind: str
    debit_account: str
    credit_account: str
    amount: Amount
    request_id: RequestId | None
    reason: str
    reverses: str | None
    external_ref: str | None
    recorded_at: Instant
    chain_account: Annotated[str, Meta(description="Whose chain of hashes this row continues.")]
    chain_seq: Annotated[Positive, Meta(description="Its place in that chain, counted from 1.")]
    prev_hash: Annotated[str, Meta(pattern=HASH_PATTERN, description="The hash of the row before it.")]
    hash: Annotated[str, Meta(pattern=HASH_PATTERN, description="SHA-256, hexadecimal.")]


class RequestReceipt(Shape, tag_field="object", tag="receipt"):
    """What a request cost and why, with all that is needed to check it later. Made from the ledger's rows alone."""

    request_id: RequestId
    workspace: str
    mode: Mode
    key_id: str
    model: str
    requested_model: str
    operation: Operation
    state: Literal["captured", "released"]
    outcome: str
    requested_at: Instant
    settled_at: Instant
    images_asked: Positive
    usage: Usage | None
    input_images: list[InputImage]
    price_version: str
    currency: Currency
    line_items: list[LineItem]
    exact_amount: Annotated[ExactAmount, Meta(description="The sum of the lines.")]
    markup_ppm: Annotated[int, Meta(description="Parts per million on top of the lines; a discount below zero.")]
    rounded_to: Amount
    rounding: Literal["up", "half_up"]
    held_amount: Amount
    billed_amount: Amount
    released_amount: Annotated[Amount, Meta(description="What was given back of the hold.")]
    absorbed_amount: Annotated[Amount, Meta(description="The part of the price above the hold: the operator bears it.")]
    refunded_amount: Annotated[Amount, Meta(description="What was given back of the charge.")]
    adjusted_amount: Annotated[
        Amount, Meta(description="What later re-ratings added to the charge; below zero it was credited.")
    ]
    paid_amount: Annotated[Amount, Meta(description="What the request cost in the end.")]
    attempts: list[ReceiptCall]
    cost_amount: Annotated[ExactAmount, Meta(description="What all attempts cost the operator.")]
    transfers: Annotated[
        list[ReceiptTransfer], Meta(description="The charge and its corrections; empty where nothing was charged.")
    ]
    rehearsal: Rehearsal | UnsetType = UNSET


class RequestList(Shape, tag_field="object", tag="list"):
    """A page of the request log, newest first."""

    data: list[RequestSummary]
    first_id: RequestId | None
    last_id: Annotated[
        RequestId | None,
        Meta(
            description="Give it as `after` for the next page. After a search of prompts that stopped on its way, it is the last"
            " request that was looked at."
        ),
    ]
    has_more: bool


# ---------------------------------------------------------------------------------------------------------------- results


class StoredPicture(Shape):
    """A picture that is kept, with links to it and to a small WebP of it. The links need no key."""

    index: Annotated[Count, Meta(description="Counts from 0, as in the answer.")]
    output_format: ImageFormat
    size: str
    size_bytes: Count
    url: str
    thumbnail_url: str


class PictureList(Shape, tag_field="object", tag="list"):
    """The pictures that are kept of a request."""

    data: list[StoredPicture]
    request_id: RequestId
    prompt: Annotated[
        str | None,
        Meta(
            description="What was asked for, its first 10,000 characters, where the workspace keeps its prompts; null where not."
        ),
    ]
    links_expire_at: Annotated[
        Instant, Meta(description="Until when these links may be used. New ones can be asked for.")
    ]
    result_expires_at: Annotated[Instant, Meta(description="Until when the pictures are kept.")]


class DeletedResult(Shape, tag_field="object", tag="request.result"):
    """A result that is not kept any more. What it cost, and why, stays."""

    id: RequestId
    deleted: Literal[True]


class ResultSettings(Shape, tag_field="object", tag="result_settings"):
    """How the results of a workspace are kept and come back, in both modes."""

    workspace: str
    retention_hours: Annotated[
        Count, Meta(description="How long results are kept; 0: until they are delivered, and a minute longer.")
    ]
    usual_retention_hours: Annotated[Count, Meta(description="What counts for workspaces that have set nothing.")]
    is_usual: Annotated[bool, Meta(description="Whether this workspace has set nothing.")]
    response_format: Annotated[
        ResponseFormat,
        Meta(description="How pictures come back where a request does not say: `both` is inside and as links."),
    ]
    keep_prompts: Annotated[
        bool,
        Meta(
            description="Whether prompts are kept beside the pictures and can be searched. Where `retention_hours` is 0, none is."
        ),
    ]


class ResultSettingsChange(Shape):
    """What is to be changed of a workspace's results; the rest stays."""

    retention_hours: Annotated[
        int | UnsetType | None,
        Meta(
            description="From 0, which is until they are delivered, to what is usual on this server; null is what is usual."
            " Results that are kept already get the shorter time too."
        ),
    ] = UNSET
    response_format: Annotated[
        ResponseFormat | UnsetType, Meta(description="How pictures come back where a request does not say.")
    ] = UNSET
    keep_prompts: Annotated[
        bool | UnsetType,
        Meta(description="Whether prompts are kept from now on; false deletes those that are kept."),
    ] = UNSET


# ------------------------------------------------------------------------------------------------------------------ usage


class Rollup(Shape, tag_field="object", tag="rollup"):
    """Sums of one UTC day or month. `model`, `key_id` and `route` say whose, where they were asked for."""

    period: Annotated[str, Meta(pattern=r"^\d{4}-\d\d(-\d\d)?$", examples=["2026-11-23", "2026-11"])]
    model: str | None
    key_id: str | None
    route: Annotated[
        str | None,
        Meta(description="The deployment that made the first picture; empty for charges from before that was kept."),
    ]
    requests: Count
    images: Count
    input_tokens: Count
    output_tokens: Count
    billed_amount: Amount
    refunded_amount: Annotated[Amount, Meta(description="What was given back in this period, whenever it was charged.")]
    adjusted_amount: Annotated[
        Amount, Meta(description="What re-ratings in this period added; below zero it was credited.")
    ]


class RollupList(Shape, tag_field="object", tag="list"):
    """Sums, oldest first. Periods without a charge or a correction are left out."""

    period_type: PeriodType
    currency: Currency
    data: list[Rollup]


class Balance(Shape, tag_field="object", tag="balance"):
    """The money of a workspace in the mode of the key."""

    workspace: str
    mode: Mode
    currency: Currency
    posted: Annotated[Amount, Meta(description="Credit less charges.")]
    held: Annotated[Amount, Meta(description="Reserved by requests in progress.")]
    available: Annotated[Amount, Meta(description="`posted` less `held`: what new requests can use.")]


class BudgetForecast(Shape):
    """What a budget will have spent when it begins anew, if its requests go on as in the last days."""

    scope: Annotated[
        Literal["workspace", "key"], Meta(description="Whose spending counts: that of all keys, or of one.")
    ]
    key_id: Annotated[str | None, Meta(description="Of a key's budget, which key.")]
    period: Period
    limit: Amount
    spent: Amount
    held: Annotated[Amount, Meta(description="Reserved by requests in progress.")]
    expected: Annotated[Amount, Meta(description="What would be spent by `resets_at`, if the limit allowed it.")]
    exhausted_at: Annotated[
        Instant | None, Meta(description="When the limit is reached; null: not before `resets_at`.")
    ]
    resets_at: Instant


class Forecast(Shape, tag_field="object", tag="forecast"):
    """What a workspace will have spent, if it goes on as in the last seven UTC days, which end at `as_of`.

    Refunds are taken off and adjustments added. Whoever began later is measured from their first day on.
    """

    as_of: Instant
    currency: Currency
    average_day_amount: Annotated[Amount, Meta(description="What 24 hours cost lately.")]
    month: Annotated[str, Meta(pattern=r"^\d{4}-\d\d$", examples=["2026-11"])]
    month_spent_amount: Annotated[Amount, Meta(description="Spent in this month until now.")]
    month_expected_amount: Annotated[Amount, Meta(description="Spent when this month ends.")]
    available: Annotated[Amount, Meta(description="What new requests can use.")]
    runway_days: Annotated[
        Count | None, Meta(description="Whole days until `available` is spent; null: ten years or more, or unknown.")
    ]
    lasts_until: Annotated[Instant | None, Meta(description="When `available` is spent.")]
    budgets: Annotated[list[BudgetForecast], Meta(description="Those of the workspace first, then those of its keys.")]


class Credit(Shape, tag_field="object", tag="credit"):
    """Credit that was granted together."""

    id: str
    kind: LotKind
    granted: Amount
    held: Annotated[Amount, Meta(description="Reserved by requests in progress, which may spend it past its time.")]
    remaining: Amount
    priority: Annotated[int, Meta(description="Smaller ones burn first.")]
    effective_at: Instant
    expires_at: Annotated[Instant | None, Meta(description="null: never.")]


class CreditList(Shape, tag_field="object", tag="list"):
    """Credit that has something left, in the order in which it burns."""

    currency: Currency
    data: list[Credit]


class AlertSettings(Shape, tag_field="object", tag="alert_settings"):
    """When somebody is told that the balance is low. People change it in the console, the operator on the command line."""

    below: Annotated[Amount | None, Meta(description="Below which `posted` balance; null: never.")]
    email: Annotated[str | None, Meta(description="Who gets a letter besides the gateway's webhooks and log.")]
    is_low: Annotated[bool, Meta(description="Whether it was told and the balance has not recovered since.")]


class Budget(Shape):
    """What a key, or a workspace in the mode of the key, may spend in a UTC day or month."""

    scope: Annotated[
        Literal["workspace", "key"], Meta(description="Whose spending counts: that of all keys, or of this one.")
    ]
    period: Period
    limit: Amount
    spent: Annotated[Amount, Meta(description="Charges of requests that were held in this period.")]
    held: Annotated[Amount, Meta(description="Reserved by requests in progress that were held in this period.")]
    available: Annotated[Amount, Meta(description="What new requests can use until `resets_at`.")]
    resets_at: Instant


class BudgetList(Shape, tag_field="object", tag="list"):
    """The budgets that limit the requests of a key; empty where there is none."""

    currency: Currency
    data: list[Budget]


class AlertSettingsChange(Shape):
    """Below which balance somebody is told, instead of what counted before."""

    below: Annotated[GivenAmount | None, Meta(description="A balance above 0; null: nobody is told.")]
    email: Annotated[
        Annotated[str, Meta(max_length=320)] | None, Meta(description="Who gets a letter, where letters are sent.")
    ] = None


class Key(Shape, tag_field="object", tag="key"):
    """A key without its secret."""

    id: str
    name: str
    mode: Mode
    last4: Annotated[str, Meta(description="The last four characters of the secret.")]
    state: KeyState
    models: Annotated[list[str] | None, Meta(description="The models it may call; null: all.")]
    scopes: Annotated[
        list[Scope],
        Meta(
            description="What it does for the person who made it. A key with scopes makes no pictures; every other has none."
        ),
    ]
    budgets: Annotated[list[Budget], Meta(description="Its own budgets.")]
    requires_signature: bool
    requests_per_minute: RateLimit
    images_per_minute: RateLimit
    concurrent_images: RateLimit
    created_at: Instant
    expires_at: Annotated[Instant | None, Meta(description="From when on it is as good as revoked; null: never.")]
    revoked_at: Instant | None


class KeyList(Shape, tag_field="object", tag="list"):
    """The keys of a workspace in the mode of the key, newest first."""

    data: list[Key]


LastDay = Annotated[datetime.date | None, Meta(description="The last UTC day on which it works; null: for ever.")]
KeyBudget = Annotated[GivenAmount | None, Meta(description="What it may spend in a UTC day or month; null: no budget.")]


class NewKey(Shape):
    """What a key is for. It makes pictures: scopes are given by people, in the console."""

    name: Annotated[str, Meta(max_length=200, description="What it is for.")] = ""
    models: Annotated[
        Annotated[list[str], Meta(max_length=100)] | None,
        Meta(description="The models it may call; null: all, also those to come."),
    ] = None
    budget_day: KeyBudget = None
    budget_month: KeyBudget = None
    expires: LastDay = None
    signed: Annotated[bool, Meta(description="Whether it takes signed requests only.")] = False


class KeyChange(Shape):
    """What is to be changed of a key; the rest stays. What it has spent already counts."""

    budget_day: KeyBudget | UnsetType = UNSET
    budget_month: KeyBudget | UnsetType = UNSET
    expires: LastDay | UnsetType = UNSET


class KeyRoll(Shape):
    """How long both keys work."""

    overlap_hours: Annotated[
        int, Meta(ge=0, le=744, description="For how many hours the old key goes on; 0 revokes it at once.")
    ] = 24


class CreatedKey(Shape, tag_field="object", tag="created_key"):
    """A key with its secrets, which are told this once and stored nowhere."""

    key: Key
    secret: Annotated[
        str, Meta(pattern="^omx_(live|test)_[0-9A-Za-z]{38}$", description="What requests are sent with.")
    ]
    signing_secret: Annotated[str | None, Meta(description="What they are signed with, where they have to be.")]


class Person(Shape):
    """A member of the workspace."""

    name: Annotated[str, Meta(description="By which they sign in.")]
    role: Role
    comes_in_by: Annotated[
        list[Literal["password", "passkey", "provider"]], Meta(description="Empty until they have used their link.")
    ]
    created_at: Annotated[Instant, Meta(description="Since when they belong to it.")]


class MemberList(Shape, tag_field="object", tag="list"):
    """Who belongs to the workspace, in the order of the alphabet."""

    data: list[Person]


class Invitation(Shape):
    """Whom to let in as what, or the new role of a member. Owners and admins are for people to choose, not for keys."""

    name: Annotated[str, Meta(max_length=100, description="Best an e-mail address.", examples=["ada@example.org"])]
    role: Role


class InvitedMember(Shape, tag_field="object", tag="invited_member"):
    """Who was let in, or given another role."""

    name: str
    role: Role
    link: Annotated[
        str | None,
        Meta(
            description="By which they come in, once, within a day; told this once. Null for whoever has a way in already, or"
            " belongs to another workspace too. Whoever has it comes in as them."
        ),
    ]


class RemovedMember(Shape, tag_field="object", tag="removed_member"):
    """Who was taken out of the workspace."""

    name: str
    removed: Literal[True]


class StatementLine(Shape):
    """What all transfers of one kind changed in a month."""

    kind: Annotated[str, Meta(examples=["charge"])]
    transfers: Annotated[int, Meta(ge=1)]
    amount: Annotated[Amount, Meta(description="Below zero where it took money away.")]


class Statement(Shape, tag_field="object", tag="statement"):
    """A UTC month of a workspace in the mode of the key, closed for ever: `opening` and all `lines` add up to `closing`."""

    month: Annotated[str, Meta(pattern=r"^\d{4}-\d\d$", examples=["2026-10"])]
    workspace: str
    mode: Mode
    currency: Currency
    opening: Amount
    lines: list[StatementLine]
    closing: Amount
    closed: Instant
    last_transfer: Annotated[int, Meta(ge=0, description="Place of its last transfer in the account's chain.")]
    last_hash: Annotated[str, Meta(pattern=HASH_PATTERN, description="The chain's hash there.")]


class StatementList(Shape, tag_field="object", tag="list"):
    """Statements, newest first."""

    data: list[Statement]


class TopUpRequest(Shape, forbid_unknown_fields=True):
    """How much credit to buy."""

    amount: Annotated[
        str, Meta(pattern=r"^\d{1,10}(\.\d{1,2})?$", description="US dollars, in whole cents.", examples=["25.00"])
    ]


class TopUp(Shape, tag_field="object", tag="topup"):
    """An order of credit that waits to be paid. It is credited when the payment provider has told of the payment."""

    id: Annotated[str, Meta(pattern=r"^top_[0-9a-hjkmnp-tv-z]{26}$")]
    amount: Amount
    currency: Currency
    url: Annotated[str, Meta(description="The page on which it is paid.")]


class EventReceived(Shape):
    """The event was taken."""

    received: Literal[True]


# ---------------------------------------------------------------------------------------------------------------- service


class Health(Shape):
    """The process is alive."""

    status: Literal["ok"]


class Readiness(Shape):
    """Whether requests are admitted."""

    status: Literal["ready", "failed"]
    reason: Annotated[str | UnsetType, Meta(description="Why not.")] = UNSET


# ----------------------------------------------------------------------------------------------------------------- routes

RouteName = Annotated[
    str, Meta(description="The deployment's name, as answers and receipts have it.", examples=["sweden/MAI-Image-2.5"])
]
RouteState = Annotated[
    Literal["closed", "cooling", "half_open", "disabled"],
    Meta(
        description="closed: it serves. cooling: it failed a moment ago and is left alone. half_open: one call may try it."
        " disabled: it refused the operator's credential."
    ),
]


class Route(Shape):
    """A deployment that serves requests of the key."""

    route: RouteName
    model: str
    health: RouteState


class RouteList(Shape, tag_field="object", tag="list"):
    """What serves the requests of a key at this server."""

    allowed_providers: Annotated[
        list[str] | None, Meta(description="Providers that requests of the workspace may go to; null: all.")
    ]
    allowed_regions: Annotated[
        list[str] | None, Meta(description="Regions that requests of the workspace may go to; null: all.")
    ]
    data: list[Route]


class OperatedRoute(Shape):
    """A deployment as its operator sees it. What this server alone has seen of it."""

    route: RouteName
    model: str
    health: RouteState
    reason: Annotated[str | None, Meta(description="Why it is disabled, in the provider's word.")]
    cooling_s: Annotated[int, Meta(ge=0, description="How long it is still left alone, in seconds.")]
    strikes: Annotated[int, Meta(ge=0, description="Failures in a row that did not yet suffice to leave it alone.")]
    ejections: Annotated[int, Meta(ge=0, description="How often in a row it was left alone.")]
    in_flight: Annotated[int, Meta(ge=0, description="Calls in progress.")]
    p95_s: Annotated[
        float | None,
        Meta(description="95 of 100 pictures came within so many seconds lately; null: too little is known."),
    ]
    checked_ago_s: Annotated[
        int | None,
        Meta(description="Seconds since its provider was last asked for nothing how it does; null: it was not."),
    ]
    provider: str
    host: Annotated[str | None, Meta(description="Where it is; null inside the process.")]
    region: str | None
    modes: list[Mode]
    weight: int
    priority: int
    requests_per_minute: Annotated[int | None, Meta(description="null: no limit.")]
    images_per_minute: Annotated[int | None, Meta(description="null: no limit.")]
    concurrency: Annotated[int | None, Meta(description="null: no limit.")]


class OperatedRouteList(Shape, tag_field="object", tag="list"):
    """All deployments of a server."""

    policy: Annotated[str, Meta(description="Who goes first among deployments of the same priority.")]
    data: list[OperatedRoute]


class RouteChoice(Shape):
    """Which deployment to use again."""

    route: Annotated[str, Meta(description="The name of a deployment, or of its account.")]


class EnabledRoutes(Shape, tag_field="object", tag="list"):
    """The deployments that are used again: all of the account."""

    data: list[str]


# -------------------------------------------------------------------------------------------------------------- operators

SignedExactAmount = Annotated[
    str, Meta(pattern=r"^-?\d+\.\d{12}$", description="An amount before rounding: a decimal with twelve digits.")
]


class FailedCall(Shape):
    """A call to a provider that brought no picture."""

    id: CallId
    request_id: RequestId
    workspace: str
    mode: Mode
    model: str
    route: RouteName
    state: Annotated[
        Literal["failed_free", "failed_billed", "unknown"], Meta(description="Whether the provider charges for it.")
    ]
    http_status: Annotated[int | None, Meta(description="What the provider answered; null without an answer.")]
    code: Annotated[str | None, Meta(description="The error, as its page in the documentation has it.")]
    sent_at: Instant
    ended_at: Instant


class FailedCallList(Shape, tag_field="object", tag="list"):
    """Calls that failed, newest first."""

    data: list[FailedCall]
    last_id: CallId | None
    has_more: bool


class OperatedWorkspace(Shape):
    """A workspace as the operator sees it: its live balance, and what live requests cost since the UTC month began."""

    id: str
    name: str
    available: Annotated[Amount, Meta(description="What new requests can use.")]
    held: Annotated[Amount, Meta(description="Set aside for requests that run.")]
    spent: Annotated[Amount, Meta(description="Charged this month, refunds taken off and adjustments added.")]
    requests: Annotated[int, Meta(ge=0, description="Requests charged this month.")]
    markup_ppm: MarkupPpm
    created_at: Instant
    suspended_at: Annotated[Instant | None, Meta(description="Since when it may not spend; null: it may.")]


class OperatedWorkspaceList(Shape, tag_field="object", tag="list"):
    """Workspaces in the order of the alphabet."""

    data: list[OperatedWorkspace]
    next_first: Annotated[str | None, Meta(description="With which name the next page begins; null on the last one.")]


class ProviderAccount(Shape):
    """An account at a provider that is stored, without its key."""

    name: Annotated[str, Meta(description="What its routes begin with.")]
    provider: str
    endpoint: Annotated[str | None, Meta(description="Its address; null: the provider's own.")]
    auth: Annotated[Literal["api_key", "bearer_token", "entra"], Meta(description="How it shows who it is.")]
    key_fingerprint: Annotated[
        str | None, Meta(description="The first digits of the key's SHA-256; null where tokens are fetched.")
    ]
    is_enabled: bool
    problem: Annotated[str | None, Meta(description="Why it cannot be used although it is enabled.")]
    models: Annotated[list[str], Meta(description="What it serves; empty: all that the provider has.")]
    deployment: Annotated[str | None, Meta(description="How the provider calls the model, where that is another name.")]
    region: str | None
    weight: int
    priority: int
    requests_per_minute: Annotated[int | None, Meta(description="null: no limit.")]
    images_per_minute: Annotated[int | None, Meta(description="null: no limit.")]
    concurrency: Annotated[int | None, Meta(description="null: no limit.")]
    created_at: Instant
    updated_at: Instant


class ProviderAccountList(Shape, tag_field="object", tag="list"):
    """The accounts that are stored; those of the configuration are not."""

    data: list[ProviderAccount]


class PublishedPrices(Shape):
    """A price list that was published, which never changes."""

    model: str
    version: str
    effective_from: Annotated[str, Meta(description="The UTC day from which it is in force.")]
    standing: Annotated[
        Literal["in force", "to come", "over", "withdrawn"],
        Meta(description="Withdrawn: the catalogue does not have it any more."),
    ]
    prices: Annotated[dict[str, str], Meta(description="US dollars per so many units, by what is charged for.")]


class PublishedPricesList(Shape, tag_field="object", tag="list"):
    """Every price list that was ever published, by model and day."""

    data: list[PublishedPrices]


class OpenFinding(Shape):
    """What a provider bills and what is recorded do not agree, and nobody has explained it."""

    id: FindingId
    provider: str
    kind: Annotated[
        Literal["no_attempt", "unknown_billed", "unknown_free", "price_differs", "not_billed"],
        Meta(description="What does not agree."),
    ]
    call_id: CallId | None
    request_id: RequestId | None
    line_id: Annotated[str | None, Meta(description="The line of the provider's file, where it has no call.")]
    provider_request_id: str | None
    expected: Annotated[SignedExactAmount | None, Meta(description="What is recorded as the call's cost, in USD.")]
    billed: Annotated[SignedExactAmount, Meta(description="What the provider bills, in USD.")]
    found_at: Instant


class OpenFindingList(Shape, tag_field="object", tag="list"):
    """Findings that wait to be explained, oldest first."""

    data: list[OpenFinding]
    last_id: FindingId | None
    has_more: bool


class AuditEntry(Shape):
    """What somebody did."""

    seq: Annotated[int, Meta(ge=1, description="Its place in the log.")]
    at: Instant
    actor: Annotated[str, Meta(description="Who: a person's id, a user of the command line, or a part of the gateway.")]
    actor_name: Annotated[str | None, Meta(description="What the person is called.")]
    action: Annotated[str, Meta(examples=["credit.granted"])]
    target: Annotated[str, Meta(description="The id of what it was done to.")]
    details: Annotated[dict[str, Any], Meta(description="More about it; never a secret.")]
    hash: Annotated[str, Meta(pattern=HASH_PATTERN, description="SHA-256 over the entry and the hash before it.")]


class AuditEntryList(Shape, tag_field="object", tag="list"):
    """Entries of the audit log, newest first."""

    data: list[AuditEntry]
    next_before: Annotated[int | None, Meta(description="Where the next page begins; null on the last one.")]


class AcceptedFinding(Shape, tag_field="object", tag="finding"):
    """A finding that is explained: what the provider bills is the cost of the call."""

    id: FindingId
    accepted: Literal[True]


class FindingNote(Shape):
    """Why what the provider bills is right."""

    note: Reason


class OperatedCall(Shape):
    """A call to a provider with what it costs the operator."""

    attempt: Positive
    image: Count
    route: RouteName
    state: Annotated[str, Meta(description="`ok`, how it failed, or `sent` while it runs.", examples=["failed_free"])]
    provider_request_id: str | None
    http_status: Annotated[int | None, Meta(description="What the provider answered; null without an answer.")]
    code: Annotated[str | None, Meta(description="The error, as its page in the documentation has it.")]
    diagnostics: Annotated[str | None, Meta(description="What the provider said besides.")]
    cost: Annotated[ExactAmount | None, Meta(description="What it costs the operator, in USD, where that is known.")]
    cost_basis: Annotated[str | None, Meta(description="How that is known.", examples=["reported", "estimated"])]
    sent_at: Instant
    ended_at: Instant | None


class OperatedRequest(Shape, tag_field="object", tag="operated_request"):
    """A request of any workspace as the operator sees it. Prompts and pictures are the customer's and not part of it."""

    id: RequestId
    workspace: str
    mode: Mode
    key_id: str
    model: str
    operation: Operation
    state: RequestState
    outcome: str | None
    held_amount: Amount
    billed_amount: Amount | None
    refunded_amount: Amount
    adjusted_amount: Amount
    created_at: Instant
    ended_at: Instant | None
    calls: list[OperatedCall]


class RouteCalls(Shape):
    """How the calls of a deployment ended."""

    route: RouteName
    calls: Count
    failed: Count
    errors: Annotated[dict[str, Count], Meta(description="How many failed with each error, the most frequent first.")]


class RouteCallsList(Shape, tag_field="object", tag="list"):
    """How the last calls of the deployments ended; those that made none are left out."""

    hours: Positive
    is_cut: Annotated[bool, Meta(description="Whether there were more calls than are counted, the last 5,000.")]
    data: list[RouteCalls]


AccountModels = Annotated[
    list[str], Meta(max_length=500, description="What it serves; empty: all that the provider has.")
]
AccountKey = Annotated[str, Meta(description="Its key or token. It is stored encrypted and never told again.")]


class NewAccount(Shape):
    """An account at a provider to store."""

    name: Annotated[str, Meta(description="What its routes begin with. It stays for ever.", examples=["sweden"])]
    provider: str
    endpoint: Annotated[str, Meta(description="Its address; empty: the provider's own.")] = ""
    auth: Annotated[Auth, Meta(description="How it shows who it is.")] = "api_key"
    credential: AccountKey | None = None
    models: AccountModels = []
    deployment: Annotated[str, Meta(description="How the provider calls the model, where that is another name.")] = ""
    region: str = ""
    weight: int = 1
    priority: int = 0
    requests_per_minute: Annotated[int, Meta(description="0: no limit.")] = 0
    images_per_minute: Annotated[int, Meta(description="0: no limit.")] = 0
    concurrency: Annotated[int, Meta(description="0: no limit.")] = 0


class AccountChange(Shape):
    """What is to be changed of an account; the rest stays. What the key is bound to changes only together with the key."""

    provider: str | UnsetType = UNSET
    endpoint: str | UnsetType = UNSET
    auth: Auth | UnsetType = UNSET
    credential: AccountKey | UnsetType = UNSET
    models: AccountModels | UnsetType = UNSET
    deployment: str | UnsetType = UNSET
    region: str | UnsetType = UNSET
    weight: int | UnsetType = UNSET
    priority: int | UnsetType = UNSET
    requests_per_minute: int | UnsetType = UNSET
    images_per_minute: int | UnsetType = UNSET
    concurrency: int | UnsetType = UNSET


class RemovedAccount(Shape, tag_field="object", tag="removed_account"):
    """An account that is forgotten, with its key."""

    name: str
    removed: Literal[True]


class OperatedWallet(Shape):
    """What a workspace has in one mode, and what all of its keys together may spend."""

    mode: Mode
    posted: Amount
    held: Amount
    available: Amount
    credit: list[Credit]
    budgets: list[Budget]


class OperatedMember(Shape):
    """Who belongs to a workspace."""

    name: str
    role: Role


class OperatedWorkspaceDetails(Shape, tag_field="object", tag="workspace"):
    """A workspace: what is set for it, what it has, and who belongs to it."""

    id: str
    name: str
    markup_ppm: MarkupPpm
    requests_per_minute: RateLimit
    images_per_minute: RateLimit
    concurrent_images: RateLimit
    retention_hours: Annotated[Count | None, Meta(description="How long results are kept; null: as is usual.")]
    response_format: ResponseFormat
    allowed_providers: Annotated[list[str] | None, Meta(description="Where its requests may go; null: everywhere.")]
    allowed_regions: list[str] | None
    created_at: Instant
    suspended_at: Annotated[Instant | None, Meta(description="Since when it may not spend; null: it may.")]
    active_keys: Count
    members: list[OperatedMember]
    wallets: list[OperatedWallet]


class CreditGrant(Shape):
    """Credit to grant. It stays granted."""

    amount: GivenAmount
    mode: Mode
    reason: Reason
    kind: Annotated[LotKind, Meta(description="Promotions burn first.")] = "paid"
    expires: Annotated[datetime.date | None, Meta(description="Its last UTC day; null: it does not expire.")] = None
    reference: Annotated[
        str | None, Meta(description="Names this grant: with the reference of an earlier one, nothing is booked again.")
    ] = None


class MarkupChange(Shape):
    """What a workspace pays above the price lists, from its next request on."""

    markup_ppm: MarkupPpm
    reason: Reason


class WorkspaceBudgetChange(Shape):
    """What all keys of a workspace together may spend in one mode; what is not given stays."""

    mode: Mode
    budget_day: KeyBudget | UnsetType = UNSET
    budget_month: KeyBudget | UnsetType = UNSET


GivenRate = Annotated[int | None, Meta(description="0 is no limit, null what is usual on this server.")]


class WorkspaceLimitChange(Shape):
    """How often a workspace may ask, in each of its modes; what is not given stays."""

    requests_per_minute: GivenRate | UnsetType = UNSET
    images_per_minute: GivenRate | UnsetType = UNSET
    concurrent_images: GivenRate | UnsetType = UNSET


class WorkspaceResultChange(Shape):
    """How results of a workspace are kept and come back; what is not given stays."""

    retention_hours: Annotated[
        int | UnsetType | None, Meta(description="0 is until they are delivered, null what is usual on this server.")
    ] = UNSET
    response_format: ResponseFormat | UnsetType = UNSET


class Resumption(Shape):
    """Why a suspended workspace may spend again."""

    reason: Reason


class WorkspaceMargin(Shape):
    """What is left of a month's charges for a model after what a provider costs. Absorbed is what nobody was charged for."""

    month: str
    model: str
    provider: str
    requests: Count
    charged: Amount
    refunded: Amount
    adjusted: Amount
    reported: Annotated[ExactAmount, Meta(description="Costs as the provider has reported them.")]
    estimated: Annotated[ExactAmount, Meta(description="Costs that are estimated.")]
    absorbed: ExactAmount
    margin: SignedExactAmount
    unknown_calls: Annotated[Count, Meta(description="Calls of which it is not known whether the provider charges.")]


class MarginList(Shape, tag_field="object", tag="list"):
    """What is left of a month's charges, by model and provider."""

    month: str
    mode: Mode
    currency: Currency
    data: list[WorkspaceMargin]


class PriceComparison(Shape):
    """What a workspace's usage of a model costs by the price list in force and by the new one."""

    workspace: str
    model: str
    requests: Count
    charged: Annotated[Amount, Meta(description="What was charged.")]
    at_present: Annotated[Amount, Meta(description="By the list in force.")]
    at_new: Annotated[Amount, Meta(description="By the new list.")]
    difference: Amount


class PriceDifference(Shape, tag_field="object", tag="price_difference"):
    """Who would pay how much more, by the usage of a month. Nothing is changed by asking."""

    month: str
    mode: Mode
    currency: Currency
    new_versions: Annotated[dict[str, str], Meta(description="The lists that are not in force, by model.")]
    difference: Amount
    data: list[PriceComparison]


class PriceFile(Shape):
    """A model file that is in no catalogue yet, and whose usage is rated by its newest price list."""

    file: Annotated[str, Meta(max_length=60_000, description="The text of the file, in TOML.")]
    month: Annotated[str, Meta(description="A UTC month such as 2026-11; the last one where it is empty.")] = ""
    mode: Mode = "live"
