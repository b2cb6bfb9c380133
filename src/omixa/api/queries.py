"""Query parameters: what each endpoint takes, said once for the parser and for the API document."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import parse_qsl

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from omixa.api.exchange import Exchange
from omixa.api.shapes import CallId, FindingId, RequestId
from omixa.domain.access import Mode
from omixa.errors import InvalidRequest
from omixa.gateway.exports import Form
from omixa.usage.analytics import Grouping, PeriodType, RequestState
from omixa.usage.exports import What
from omixa.usage.search import MAX_LOOKED_THROUGH

Q = TypeVar("Q", bound="Query")

MAX_PAGE = 100
# What a double in JavaScript holds exactly.
Seq = Annotated[int, Meta(ge=1, le=2**53)]
# Words that somebody looks for in prompts.
PromptWords = Annotated[str, Meta(max_length=200)]
# More than any endpoint has.
_MAX_PARAMETERS = 20
_MAX_SHOWN_CHARS = 80
# What ids begin with.
_KINDS: Mapping[str, str] = {"req": "request", "att": "call", "find": "finding"}
_MONTH = re.compile(r"\d{4}-\d\d", re.ASCII)
_PLACE = re.compile(r" - at `\$\.(\w+)`$")


class Query(Struct, kw_only=True):
    """Base of all queries."""


class RequestQuery(Query):
    """Which page of the request log, and of which requests."""

    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE, description="How many requests a page has.")] = 20
    after: Annotated[RequestId | UnsetType, Meta(description="The `last_id` of the page before.")] = UNSET
    model: Annotated[str | UnsetType, Meta(description="Only requests to this model.")] = UNSET
    state: Annotated[RequestState | UnsetType, Meta(description="Only requests in this state.")] = UNSET
    key_id: Annotated[str | UnsetType, Meta(description="Only requests of this key.")] = UNSET
    outcome: Annotated[
        str | UnsetType, Meta(description='Only requests that ended so: "ok", or the code of an error.')
    ] = UNSET
    since: Annotated[datetime.date | UnsetType, Meta(description="Only requests from this UTC day on.")] = UNSET
    until: Annotated[datetime.date | UnsetType, Meta(description="Only requests until the end of this UTC day.")] = (
        UNSET
    )


class RequestSearch(RequestQuery):
    """The same, narrowed down by what was asked for."""

    prompt: Annotated[
        PromptWords | UnsetType,
        Meta(
            description="Only requests whose pictures are kept and whose prompt has all of these words, in any case. The"
            " workspace has to keep its prompts (`keep_prompts` of the result settings). A page looks through"
            f" {MAX_LOOKED_THROUGH:,} prompts at most: with `has_more` it may be short, or empty, and the next one goes on from"
            " there."
        ),
    ] = UNSET


class RollupQuery(Query):
    """Which sums."""

    period_type: Annotated[PeriodType, Meta(description="What is added up.")] = "day"
    since: Annotated[datetime.date | UnsetType, Meta(description="The first UTC day that counts.")] = UNSET
    until: Annotated[datetime.date | UnsetType, Meta(description="The last UTC day that counts.")] = UNSET
    group_by: Annotated[Grouping | UnsetType, Meta(description="Keep models, keys or routes apart.")] = UNSET


class ReceiptQuery(Query):
    """In which form."""

    format: Annotated[
        Literal["json", "text", "pdf"] | UnsetType,
        Meta(
            description="The form of the receipt; without it the header Accept decides, and JSON where that is silent."
        ),
    ] = UNSET


class ResultQuery(Query):
    """How the pictures come back."""

    response_format: Annotated[
        Literal["b64_json", "url"] | UnsetType,
        Meta(description="Inside the answer, or as links; without it as the workspace has it."),
    ] = UNSET


class LinkQuery(Query):
    """What makes a path a link."""

    expires: Annotated[str, Meta(description="Until when the link may be used: Unix time in seconds.")] = ""
    signature: Annotated[str, Meta(description="What only this server can write.")] = ""


class ExportQuery(Query):
    """What goes into the file, and in which form."""

    what: Annotated[What, Meta(description="Usage records, or all transfers of the account.")] = "usage"
    format: Annotated[Form, Meta(description="The form of the file.")] = "csv"
    since: Annotated[
        datetime.date | UnsetType, Meta(description="The first UTC day; by default that of the month.")
    ] = UNSET
    until: Annotated[datetime.date | UnsetType, Meta(description="The last UTC day; by default today.")] = UNSET


class CallQuery(Query):
    """Which page of the calls that failed, and of which deployment."""

    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE, description="How many calls a page has.")] = 50
    after: Annotated[CallId | UnsetType, Meta(description="The `last_id` of the page before.")] = UNSET
    route: Annotated[str | UnsetType, Meta(description="Only calls to this deployment.")] = UNSET


class WorkspaceQuery(Query):
    """Which page of the workspaces."""

    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE, description="How many workspaces a page has.")] = 50
    first: Annotated[str, Meta(description="With which name the page begins: `next_first` of the page before.")] = ""


class MixQuery(Query):
    """Of how long the calls are counted."""

    hours: Annotated[Literal["1", "6", "24"], Meta(description="The last hours.")] = "6"


class MarginQuery(Query):
    """Of which month."""

    month: Annotated[str, Meta(description="A UTC month such as 2026-11; the present one where it is empty.")] = ""
    mode: Annotated[Mode, Meta(description="Real money or play money.")] = "live"


class DifferenceQuery(Query):
    """Whose usage is rated."""

    month: Annotated[str, Meta(description="A UTC month such as 2026-11; the last one where it is empty.")] = ""
    mode: Annotated[Mode, Meta(description="Real money or play money.")] = "live"


class FindingQuery(Query):
    """Which page of the findings."""

    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE, description="How many findings a page has.")] = 50
    after: Annotated[FindingId | UnsetType, Meta(description="The `last_id` of the page before.")] = UNSET


class AuditQuery(Query):
    """Which page of the audit log, and which entries."""

    limit: Annotated[int, Meta(ge=1, le=MAX_PAGE, description="How many entries a page has.")] = 50
    before: Annotated[Seq | UnsetType, Meta(description="The `next_before` of the page before.")] = UNSET
    actor: Annotated[str | UnsetType, Meta(description="Only what this one did, by id or as the log has it.")] = UNSET
    action: Annotated[str | UnsetType, Meta(description="Only this, such as `credit.granted`.")] = UNSET
    target: Annotated[str | UnsetType, Meta(description="Only what was done to this id.")] = UNSET


def given(value: Any) -> Any:
    """Return what a parameter says, None where it was not given. No database keeps the character that is taken out."""
    if isinstance(value, UnsetType):
        return None
    return value.replace("\0", "") if isinstance(value, str) else value


def parse_query(exchange: Exchange, kind: type[Q], *, blank_is_missing: bool = False) -> Q:
    """Return a request's query. Raises InvalidRequest for unknown names, repeated ones and values that are not accepted.

    With `blank_is_missing`, a parameter without a value is none: that is how forms send fields that were left alone.
    """
    values: dict[str, str] = {}
    for name, value in _pairs(exchange):
        if blank_is_missing and not value:
            continue
        if name not in kind.__struct_fields__:
            raise InvalidRequest(
                f"Unknown query parameter {_shown(name)}; accepted are: {', '.join(kind.__struct_fields__)}.",
                code="unknown_parameter",
                param=_shown(name),
            )
        if name in values:
            raise InvalidRequest(f"{name} is given more than once.", param=name)
        values[name] = value
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        place = _PLACE.search(str(error))
        assert place is not None, "every known parameter has a place"
        name = place[1]
    raise InvalidRequest(f"{name} must be {_expectation(kind, name)}; got {_shown(values[name])}.", param=name)


def read_month(text: str) -> datetime.date | None:
    """Return the first day of a month such as 2026-11, None where nothing was written. Raises InvalidRequest."""
    if not text:
        return None
    try:
        if not _MONTH.fullmatch(text):
            raise ValueError
        # Behind it comes one more, which the last month of all does not have.
        return datetime.date.fromisoformat(f"{text}-01") if text < "9999-12" else datetime.date(9999, 11, 1)
    except ValueError as error:
        raise InvalidRequest("Write a month as 2026-11.", param="month") from error


def query_schemas(kind: type[Query]) -> dict[str, dict[str, Any]]:
    """Return the JSON Schema of each parameter, by name."""
    _, components = msgspec.json.schema_components([kind])
    properties: dict[str, dict[str, Any]] = components[kind.__name__]["properties"]
    return properties


def _pairs(exchange: Exchange) -> list[tuple[str, str]]:
    try:
        return parse_qsl(
            exchange.scope["query_string"].decode("latin-1"), keep_blank_values=True, max_num_fields=_MAX_PARAMETERS
        )
    except ValueError as error:
        raise InvalidRequest(f"The query has more than {_MAX_PARAMETERS} parameters.") from error


def _expectation(kind: type[Query], name: str) -> str:
    schema = query_schemas(kind)[name]
    if "enum" in schema:
        return f"one of {', '.join(schema['enum'])}"
    if schema["type"] == "integer":
        return f"an integer from {schema['minimum']} to {schema['maximum']}"
    if "maxLength" in schema:
        return f"at most {schema['maxLength']} characters"
    if schema.get("format") == "date":
        return "a day such as 2026-11-23"
    return f"the id of a {_KINDS[schema['pattern'][1:].partition('_')[0]]}"


def _shown(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN_CHARS else text[:_MAX_SHOWN_CHARS] + "…"
