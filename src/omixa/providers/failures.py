"""What a provider's error answer means: status and body in, one of our errors out. All knowledge of that is here.

The sentences for callers are ours. Where the caller has to change something, the provider's own reason follows, cleaned
and cut short; everything else the provider says is kept in `diagnostics` for the operator.
"""

from __future__ import annotations

import datetime
import math
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime

import msgspec

from omixa.errors import (
    UpstreamBusy,
    UpstreamCredentials,
    UpstreamError,
    UpstreamFailed,
    UpstreamMisconfigured,
    UpstreamProtocol,
    UpstreamQuota,
    UpstreamRateLimited,
    UpstreamRedirected,
    UpstreamRefused,
    UpstreamRejected,
)
from omixa.providers.wire import MAX_DIAGNOSTICS, WireEvent, WireResponse

# Larger error bodies are not looked into.
MAX_ERROR_BODY_BYTES = 64 * 1024
MAX_CODE = 64
MAX_REASON = 200
MAX_RETRY_AFTER_S = 300
MIN_SECRET = 8

# Compared without case, blanks, dashes and underscores.
_REFUSALS = frozenset(
    {
        "contentsafetyviolation",
        "moderationblocked",
        "contentfilter",
        "contentfiltered",
        "contentpolicyviolation",
        "contentmoderation",
        "contentmoderated",
        "requestmoderated",
        "responsibleaipolicyviolation",
        # Gemini's block and finish reasons that have no other meaning.
        "safety",
        "imagesafety",
        "prohibitedcontent",
        "imageprohibitedcontent",
        "blocklist",
        "jailbreak",
        "modelarmor",
    }
)
_REFUSAL_TEXTS = ("filter reason:",)
_QUOTA = frozenset(
    {
        "insufficientquota",
        "billinghardlimitreached",
        "billingnotactive",
        "insufficientcredits",
        "servicequotaexceededexception",
    }
)
# Google says with a 400 that it does not know a key.
_BAD_KEYS = frozenset({"apikeyinvalid", "apikeyexpired"})
# 429 and 529 of those who use it for "overloaded".
_RATE_LIMITS = frozenset({429, 529})
_REJECTIONS = frozenset({400, 413, 422})
# 424 is AWS's for a model that failed.
_UNCERTAIN = frozenset({408, 409, 424})
_CREDENTIALS = frozenset({401, 403})
# Strikes of an answer that is not even JSON: something else answers at this address.
_FOREIGN_STRIKES = 2

_INNER = ("innererror", "inner_error")

# What may be a key, a token or an address inside a sentence.
_SECRETIVE = re.compile(r"https?://\S+|(?=[\w+/=.~-]*\d)[\w+/=.~-]{20,}")
_REMOVED = "[removed]"


_REFUSED = "The provider's safety filter refused this request"
_REJECTED = "The provider rejected this request"
_UNAVAILABLE = "The provider cannot serve this model now"
_FAILED = "The provider failed to make the picture"
_UNUSABLE = "The provider's answer held no usable picture"


@dataclass(frozen=True, slots=True)
class Complaint:
    """What a provider says went wrong. `codes` are all its words for it, the most telling one first."""

    codes: tuple[str, ...] = ()
    message: str = ""
    param: str | None = None
    retry_after_s: int | None = None

    @property
    def refuses(self) -> bool:
        """Tell whether a safety filter speaks."""
        return self._has(_REFUSALS) or any(text in self.message.lower() for text in _REFUSAL_TEXTS)

    @property
    def lacks_quota(self) -> bool:
        """Tell whether the operator's account is exhausted, so that waiting does not help."""
        return self._has(_QUOTA)

    @property
    def distrusts_key(self) -> bool:
        """Tell whether it is the credential that is refused, whatever the status is."""
        return self._has(_BAD_KEYS)

    def _has(self, known: frozenset[str]) -> bool:
        return any(re.sub(r"[\s_-]", "", code).lower() in known for code in self.codes)


def failed_answer(response: WireResponse, *, secret: str | None = None) -> UpstreamError:
    """Return the error for an answer whose status is not 200. `secret` is the credential that was sent."""
    complaint = read_complaint(response.body, secret=secret)
    # AWS names the error in a header, with an address behind it.
    if named := response.headers.get("x-amzn-errortype", "").partition(":")[0]:
        complaint = replace(complaint, codes=(_clean(_masked(named, secret), MAX_CODE), *complaint.codes))
    kind, sentence = _verdict(response.status, complaint)
    return _error(kind, sentence, response, complaint)


def unusable_answer(response: WireResponse, problem: str, *, secret: str | None = None) -> UpstreamError:
    """Return the error for a 200 without a usable picture: a refusal when it says so, else a broken answer."""
    complaint = read_complaint(response.body, secret=secret)
    if complaint.refuses:
        return _error(UpstreamRefused, _REFUSED, response, complaint)
    error = _error(UpstreamProtocol, _UNUSABLE, response, Complaint(message=problem))
    if not response.media_type.endswith(("json", "event-stream")) and not response.media_type.startswith("image/"):
        error.strikes = _FOREIGN_STRIKES
    return error


def failed_event(event: WireEvent, *, secret: str | None = None) -> UpstreamError:
    """Return the error that an event of a stream tells, whose status was 200."""
    response = event.as_answer()
    complaint = read_complaint(response.body, secret=secret)
    if complaint.refuses:
        return _error(UpstreamRefused, _REFUSED, response, complaint)
    return _error(UpstreamFailed, _FAILED, response, complaint)


def refused_answer(response: WireResponse, reason: str, *, secret: str | None = None) -> UpstreamError:
    """Return the refusal in an answer of a provider that says so in its own way, under `reason`, whatever the status is."""
    complaint = read_complaint(response.body, secret=secret)
    return _error(UpstreamRefused, _REFUSED, response, Complaint((reason, *complaint.codes), complaint.message))


def read_complaint(body: bytes, *, secret: str | None = None) -> Complaint:
    """Return what an error body says, in any of the usual shapes. What cannot be read says nothing."""
    if len(body) > MAX_ERROR_BODY_BYTES:
        return Complaint()
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Complaint()
    objects = list(_error_objects(document))
    texts = [text for name in ("message", "msg", "detail", "details") for text in _texts(objects, name)]
    texts += [error for error in _texts(objects, "error") if " " in error]
    texts += [error for each in objects for error in _listed(each.get("errors"))]
    names = ("code", "type", "error_type", "status", "reason", "error", "name")
    codes = [code for name in names for code in _texts(objects, name)]
    params = [param for name in ("param", "target") for param in _texts(objects, name)]
    return Complaint(
        tuple(_clean(_masked(code, secret), MAX_CODE) for code in codes),
        _clean(_masked(texts[0], secret), MAX_DIAGNOSTICS) if texts else "",
        params[0] if params else None,
        _retry_delay_s(objects),
    )


def retry_after_s(headers: Mapping[str, str], now: datetime.datetime | None = None) -> int | None:
    """Return how many whole seconds to wait, from 1 to MAX_RETRY_AFTER_S, as `retry-after-ms` or `retry-after` say."""
    milliseconds = headers.get("retry-after-ms", "").strip()
    given = headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,12}", milliseconds):
        wait_s = int(milliseconds) / 1000
    elif re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,12})?", given):
        wait_s = float(given)
    else:
        until = _http_date(given)
        if until is None:
            return None
        wait_s = (until - (now or datetime.datetime.now(datetime.UTC))).total_seconds()
    return min(max(math.ceil(wait_s), 1), MAX_RETRY_AFTER_S)


def _http_date(text: str) -> datetime.datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    return date.replace(tzinfo=datetime.UTC) if date.tzinfo is None else date


def _verdict(status: int, complaint: Complaint) -> tuple[type[UpstreamError], str]:
    if 400 <= status < 500 and complaint.refuses:
        return UpstreamRefused, _REFUSED
    if status in _REJECTIONS and complaint.distrusts_key:
        return UpstreamCredentials, _UNAVAILABLE
    if status == 402 or (status in (400, 429) and complaint.lacks_quota):
        return UpstreamQuota, _UNAVAILABLE
    if status in _REJECTIONS or (status == 404 and complaint.param not in (None, "model")):
        return UpstreamRejected, _REJECTED
    if status in _RATE_LIMITS:
        return UpstreamRateLimited, "The provider limits its rate for this model"
    if status == 503:
        return UpstreamBusy, "The provider is busy"
    if 300 <= status < 400:
        return UpstreamRedirected, "The provider's address has moved"
    if status >= 500 or status in _UNCERTAIN:
        return UpstreamFailed, _FAILED
    if status < 300:
        return UpstreamProtocol, _UNUSABLE
    if status in _CREDENTIALS:
        return UpstreamCredentials, _UNAVAILABLE
    # An unknown deployment, and whatever else only the operator can correct.
    return UpstreamMisconfigured, _UNAVAILABLE


def _error(kind: type[UpstreamError], sentence: str, response: WireResponse, complaint: Complaint) -> UpstreamError:
    told = kind in (UpstreamRefused, UpstreamRejected)
    reason = _clean(_SECRETIVE.sub(_REMOVED, complaint.message), MAX_REASON) if told else ""
    waits = kind in (UpstreamBusy, UpstreamRateLimited)
    code = complaint.codes[0] if complaint.codes else None
    return kind(
        f"{sentence}: {reason}" if reason else f"{sentence}.",
        retry_after_s=(retry_after_s(response.headers) or complaint.retry_after_s) if waits else None,
        upstream_status=response.status,
        upstream_code=code,
        provider_request_id=response.provider_request_id,
        diagnostics=_clean(" ".join(filter(None, (str(response.status), code, complaint.message))), MAX_DIAGNOSTICS),
    )


def _error_objects(document: object) -> Iterator[dict[str, object]]:
    """Give the objects that may describe the error, the innermost description first."""
    if not isinstance(document, dict):
        return
    error = document.get("error")
    if isinstance(error, dict):
        yield error
        yield from (inner for name in _INNER if isinstance(inner := error.get(name), dict))
        # Google's further objects, and what OpenRouter was told by the model's maker.
        yield from _dictionaries(error.get("details"))
        yield from _told_by_maker(error.get("metadata"))
    match document.get("detail"):
        # FastAPI's list of what is wrong with which field.
        case [dict() as first, *_]:
            yield first
    yield document


def _dictionaries(values: object) -> Iterator[dict[str, object]]:
    if isinstance(values, list):
        yield from (value for value in values if isinstance(value, dict))


def _told_by_maker(metadata: object) -> Iterator[dict[str, object]]:
    """Give the error inside an error of somebody who resells a model: an object, or a text that is one."""
    if not isinstance(metadata, dict):
        return
    if "flagged_input" in metadata:
        yield {"code": "content_moderation"}
    yield metadata
    raw = metadata.get("raw")
    if isinstance(raw, str):
        try:
            raw = msgspec.json.decode(raw)
        except (msgspec.DecodeError, RecursionError):
            return
    if isinstance(raw, dict):
        yield from (inner for inner in (raw.get("error"), raw) if isinstance(inner, dict))


def _retry_delay_s(objects: list[dict[str, object]]) -> int | None:
    """Return how long to wait as Google says it: {"retryDelay": "27s"}."""
    for text in _texts(objects, "retryDelay"):
        if found := re.fullmatch(r"([0-9]{1,6}(?:\.[0-9]{1,9})?)s", text):
            return min(max(math.ceil(float(found[1])), 1), MAX_RETRY_AFTER_S)
    return None


def _texts(objects: list[dict[str, object]], name: str) -> Iterator[str]:
    for value in (each.get(name) for each in objects):
        match value:
            case str() if value:
                yield value
            case int() if not isinstance(value, bool):
                yield str(value)


def _listed(errors: object) -> Iterator[str]:
    """Give the sentences of a plain list of them."""
    if isinstance(errors, list):
        yield from (error for error in errors if isinstance(error, str) and error)


def _masked(text: str, secret: str | None) -> str:
    # A secret that short is a word of a test, and hiding it would spoil the sentence.
    return text if secret is None or len(secret) < MIN_SECRET else text.replace(secret, _REMOVED)


def _clean(text: str, limit: int) -> str:
    """Return a text on one line, without control characters, cut to `limit` characters."""
    printable = "".join(" " if unicodedata.category(char)[0] in "CZ" else char for char in text[: 4 * limit])
    line = " ".join(printable.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
