"""Every error Omixa raises on purpose, on one page.

OmixaError
├─ CallerError            the caller must act or wait; never fails over, never charged
│  ├─ InvalidRequest 400 · ContentRejected 400 · RequestTimeout 408 · TooLarge 413 · UnsupportedMediaType 415
│  ├─ MalformedHttp 400 · MethodNotAllowed 405 · HeadersTooLarge 431 · ClientGone 499
│  ├─ Unauthenticated 401 (BadSignature) · InsufficientFunds 402 · BudgetExceeded 402 · PriceAboveCap 402
│  ├─ Forbidden 403 (WorkspaceSuspended · NoAllowedRoute · BadLink · ScopeForbidden) · RateLimited 429 · RefusalLimit 429
│  ├─ SignInFailed 403 · BadPasskey 403 · OpenIdFailed 403 · SignInRefused 403 · BadSignInLink 403
│  │  FormRefused 403: on the console's pages alone · RoleForbidden 403: there, and for keys that manage
│  ├─ Conflict 409 (RequestInProgress · IdempotencyInProgress · PriceChanged · ReferenceUsed) · Gone 410
│  ├─ IdempotencyMismatch 422
│  └─ NotFound 404        ModelNotFound · RequestNotFound · ResultNotFound · StatementNotFound · RouteNotFound
│                         KeyNotFound · PersonNotFound · WorkspaceNotFound · AccountNotFound · FindingNotFound
├─ UpstreamError          one attempt failed; `fails_over` says whether another may be tried
│  ├─ safe to repeat      UpstreamUnreachable · UpstreamBusy (EngineBusy) · UpstreamRateLimited · UpstreamCredentials
│  │                      UpstreamMisconfigured · UpstreamQuota · EngineBroke · EngineMissing · EngineTimeout
│  ├─ ambiguous           UpstreamTimeout · UpstreamFailed · UpstreamProtocol: the provider may charge
│  └─ final               UpstreamRefused · UpstreamRejected · UpstreamRedirected: told to the caller, never tried elsewhere
└─ ServiceError           Omixa itself cannot serve now
   ├─ NoHealthyRoute 503 · AllKeysCooling 503 · NoCapacity 429 · NoPrice 503 · BackgroundNotRemoved 503
   ├─ Overloaded 503 · PaymentUnavailable 503 · OpenIdUnavailable 503
   ├─ LedgerUnavailable 503 · StorageUnavailable 503 · SettlementUnavailable 503
   └─ InternalError 500   a bug or a broken invariant; details go to the log, an id to the caller (PublishedPriceChanged)

Facts live on the class, so that code asks the error rather than its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar


class OmixaError(Exception):
    """Base of all errors; an instance carries what an API answer may show.

    `status` is the HTTP status the caller sees, `type` and `code` are stable words of the public error shape, `param`
    names the request field, `retry_after_s` is set where waiting helps, `caller_may_retry` becomes `x-should-retry`.
    `is_kept` marks what a repeat of the request is told too, without another try.
    `further_codes` are more precise words that an instance may carry instead of the default, with their meaning.
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    default_code: ClassVar[str] = "internal_error"
    further_codes: ClassVar[Mapping[str, str]] = {}
    caller_may_retry: ClassVar[bool] = False
    is_kept: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.param = param
        self.retry_after_s = retry_after_s


# --------------------------------------------------------------------------------------------------------- the caller


class CallerError(OmixaError):
    """The caller must act or wait. Never fails over, never charged."""

    status = 400
    type = "invalid_request_error"
    default_code = "invalid_request"


class InvalidRequest(CallerError):
    """A value is not one that is accepted here; `param` names its place."""

    default_code = "invalid_value"
    further_codes: ClassVar[Mapping[str, str]] = {
        "invalid_json": "The body is not JSON; the message names the place.",
        "invalid_form": "The body is not a multipart form, or its boundary is not the one that Content-Type names.",
        "truncated_body": "The body is shorter than its Content-Length.",
        "invalid_type": "A value is of another type than its field.",
        "missing_required_parameter": "A field that must be there is not.",
        "unknown_parameter": "There is no field or query parameter of that name.",
        "unsupported_value": "The value exists in this API, but this model cannot honour it.",
        "context_length_exceeded": "The prompt has more tokens than the model's context window.",
        "image_url_not_inline": "A picture is given by an address; only data URLs are read.",
        "invalid_data_url": "A picture's data URL is not written as data:image/png;base64,…",
        "invalid_base64": "A picture's base64 is not in the standard alphabet, or its padding is missing.",
        "invalid_image": "A picture is damaged.",
        "truncated_image": "A picture ends too early.",
        "animated_image": "A picture has several frames.",
        "image_too_large": "A picture has too many pixels, too long a side or too much metadata.",
        "nothing_found": "A picture shows nothing that stands out from its background.",
        "image_type_mismatch": "A picture is not of the type that its data URL or its part declares.",
        "mask_size_mismatch": "The mask is not as large as the first picture.",
        "mask_without_alpha": "The mask has no alpha channel, or no pixel of it is fully transparent.",
        "invalid_signature": "A payment event is not signed by the payment provider.",
        "payment_mismatch": "A payment event says something else than its order.",
        "unsupported_image_format": "A picture is neither PNG nor JPEG nor WebP nor AVIF.",
    }


class ContentRejected(CallerError):
    """A provider's safety filter refused the prompt or the picture."""

    type = "content_policy_violation"
    default_code = "content_policy_violation"


class RequestTimeout(CallerError):
    """The client sent its request too slowly."""

    status = 408
    default_code = "request_timeout"
    caller_may_retry = True


class MalformedHttp(CallerError):
    """The bytes on the connection are not an HTTP request."""

    default_code = "malformed_http"


class HeadersTooLarge(CallerError):
    """The request's address and headers are over the limit."""

    status = 431
    default_code = "headers_too_large"


class TooLarge(CallerError):
    """The body, or a part of a form, is over the limit."""

    status = 413
    default_code = "request_too_large"


class ClientGone(CallerError):
    """The client left before its request was complete or before anything was sent to a provider; nobody hears this."""

    status = 499
    default_code = "client_disconnected"


class UnsupportedMediaType(CallerError):
    """The body, or a part of a form, is of a type that is not taken here."""

    status = 415
    default_code = "unsupported_media_type"


class Unauthenticated(CallerError):
    """No key, a malformed, unknown or revoked one."""

    status = 401
    type = "authentication_error"
    default_code = "invalid_api_key"
    further_codes: ClassVar[Mapping[str, str]] = {"missing_api_key": "The request has no bearer key."}


class BadSignature(Unauthenticated):
    """The key takes signed requests only, and this one's signature is missing, too old, or of another request."""

    default_code = "invalid_signature"
    further_codes: ClassVar[Mapping[str, str]] = {
        "missing_signature": "The key takes signed requests only, and this one has no signature.",
        "signature_expired": "The request's timestamp is more than 300 seconds from the server's time.",
    }


class InsufficientFunds(CallerError):
    """The balance does not cover the highest price this request can reach."""

    status = 402
    type = "billing_error"
    default_code = "insufficient_balance"


class BudgetExceeded(CallerError):
    """The highest price this request can reach does not fit into a budget of its key or workspace; the message names it."""

    status = 402
    type = "billing_error"
    default_code = "budget_exceeded"


class PriceAboveCap(CallerError):
    """The request can cost more than its header `Omixa-Max-Cost` allows.

    402 and not 400: the request is well formed and would be served for more money, so a client that handles "too dear" has one
    status to look at.
    """

    status = 402
    type = "billing_error"
    default_code = "max_cost_exceeded"


class RateLimited(CallerError):
    """The key or its workspace asks too often, or for too many pictures at a time; `retry_after_ms` says when again."""

    status = 429
    type = "rate_limit_error"
    default_code = "rate_limited"
    caller_may_retry = True

    def __init__(self, message: str, *, code: str | None = None, retry_after_ms: int = 0) -> None:
        super().__init__(message, code=code, retry_after_s=-(-retry_after_ms // 1000))
        self.retry_after_ms = retry_after_ms


class RefusalLimit(CallerError):
    """Content refusals have cost the operator so much today that the workspace has to wait for the next UTC day."""

    status = 429
    type = "rate_limit_error"
    default_code = "refusal_limit"
    caller_may_retry = True


class Forbidden(CallerError):
    """The key is good and may not do this."""

    status = 403
    type = "permission_error"
    default_code = "model_not_allowed"
    further_codes: ClassVar[Mapping[str, str]] = {
        "live_key_required": "Play money is not for sale, and settings of the workspace are not changed with a test key."
    }


class WorkspaceSuspended(Forbidden):
    """The workspace may not spend until the operator resumes it."""

    default_code = "workspace_suspended"
    further_codes: ClassVar[Mapping[str, str]] = {}


class NoAllowedRoute(Forbidden):
    """The workspace is bound to providers or regions, and no deployment of the model is among them."""

    default_code = "no_allowed_route"
    further_codes: ClassVar[Mapping[str, str]] = {}


class BadLink(Forbidden):
    """A link to a picture is not one that this server has signed."""

    default_code = "invalid_link"
    further_codes: ClassVar[Mapping[str, str]] = {"link_expired": "The time of the link has passed; ask for a new one."}


class ScopeForbidden(Forbidden):
    """The key was not made for this: a key makes pictures, or it manages what its scopes name."""

    default_code = "scope_required"
    further_codes: ClassVar[Mapping[str, str]] = {
        "scoped_key": "The key manages, and so has no pictures and buys no credit; or it has scopes, which people alone give.",
        "live_key_required": "Members belong to both modes, so a test key does not change them.",
    }


class SignInFailed(CallerError):
    """Nobody has this name, or the password is another one; it is not told which."""

    status = 403
    type = "authentication_error"
    default_code = "sign_in_failed"


class OpenIdFailed(CallerError):
    """What the OpenID provider answered proves nothing, or belongs to no sign-in that this browser has begun."""

    status = 403
    type = "authentication_error"
    default_code = "openid_failed"


class SignInRefused(CallerError):
    """The OpenID provider says who somebody is, and nobody has let them in here."""

    status = 403
    type = "permission_error"
    default_code = "sign_in_refused"


class BadPasskey(CallerError):
    """The answer of a passkey proves nothing, or the passkey is nobody's; it is not told which."""

    status = 403
    type = "authentication_error"
    default_code = "passkey_refused"


class BadSignInLink(CallerError):
    """The link by which a password is set was used already, or its time has passed."""

    status = 403
    type = "authentication_error"
    default_code = "sign_in_link_invalid"


class FormRefused(CallerError):
    """A form of the console was not sent from its own page, or from one that was loaded before the last sign-in."""

    status = 403
    type = "permission_error"
    default_code = "form_refused"


class RoleForbidden(CallerError):
    """The role of a member, or of whom a key manages for, is not enough for this."""

    status = 403
    type = "permission_error"
    default_code = "role_forbidden"


class NotFound(CallerError):
    """There is nothing of that name."""

    status = 404
    default_code = "not_found"
    further_codes: ClassVar[Mapping[str, str]] = {
        "unknown_path": "There is no such endpoint.",
    }


class ModelNotFound(NotFound):
    """The catalogue has no such model, or it was retired; the message names those that there are, or its successor."""

    default_code = "model_not_found"
    further_codes: ClassVar[Mapping[str, str]] = {}


class KeyNotFound(NotFound):
    """The workspace has no such key in this mode."""

    default_code = "key_not_found"
    further_codes: ClassVar[Mapping[str, str]] = {}


class RequestNotFound(NotFound):
    """The workspace has no such request in the mode of this key."""

    default_code = "request_not_found"
    further_codes: ClassVar[Mapping[str, str]] = {}


class ResultNotFound(NotFound):
    """There is no such request, or it failed and has no answer to fetch."""

    default_code = "result_not_found"
    further_codes: ClassVar[Mapping[str, str]] = {}


class StatementNotFound(NotFound):
    """The month is not closed yet, or the workspace did not exist then."""

    default_code = "statement_not_found"
    further_codes: ClassVar[Mapping[str, str]] = {}


class PersonNotFound(NotFound):
    """There is nobody of that name."""

    default_code = "person_not_found"
    further_codes: ClassVar[Mapping[str, str]] = {}


class WorkspaceNotFound(NotFound):
    """There is no such workspace."""

    default_code = "workspace_not_found"
    further_codes: ClassVar[Mapping[str, str]] = {}


class AccountNotFound(NotFound):
    """No account of that name is stored; those of omixa.toml are not."""

    default_code = "account_not_found"
    further_codes: ClassVar[Mapping[str, str]] = {}


class FindingNotFound(NotFound):
    """There is no such finding."""

    default_code = "finding_not_found"
    further_codes: ClassVar[Mapping[str, str]] = {}


class RouteNotFound(NotFound):
    """The server has no deployment of that name."""

    default_code = "route_not_found"
    further_codes: ClassVar[Mapping[str, str]] = {}


class MethodNotAllowed(CallerError):
    """The path exists, the method does not."""

    status = 405
    default_code = "method_not_allowed"


class Conflict(CallerError):
    """What is asked for cannot be given in the present state, for example a result that is still being made."""

    status = 409
    default_code = "conflict"
    caller_may_retry = True


class RequestInProgress(Conflict):
    """The request still runs; ask again after `Retry-After`."""

    default_code = "request_in_progress"


class IdempotencyInProgress(Conflict):
    """The request with this `Idempotency-Key` still runs; send it again after `Retry-After` for its answer."""

    default_code = "idempotency_in_progress"


class PriceChanged(Conflict):
    """The workspace's markup was changed while the request was checked; `markup_ppm` is what it is now."""

    default_code = "price_changed"

    def __init__(self, message: str, *, code: str | None = None, markup_ppm: int = 0) -> None:
        super().__init__(message, code=code)
        self.markup_ppm = markup_ppm


class ReferenceUsed(Conflict):
    """A grant carries the reference of another one that differs from it."""

    default_code = "reference_used"
    caller_may_retry = False


class Gone(CallerError):
    """The result was deleted by the retention rule; `billed_micro_usd` is what it was charged.

    That is None where it is not told.
    """

    status = 410
    default_code = "result_expired"
    further_codes: ClassVar[Mapping[str, str]] = {"result_deleted": "The workspace had the result deleted."}

    def __init__(self, message: str, *, code: str | None = None, billed_micro_usd: int | None = None) -> None:
        super().__init__(message, code=code)
        self.billed_micro_usd = billed_micro_usd


class IdempotencyMismatch(CallerError):
    """The `Idempotency-Key` was used for a request that asked for something else."""

    status = 422
    default_code = "idempotency_mismatch"


# --------------------------------------------------------------------------------------------------------- a provider


class UpstreamError(OmixaError):
    """One attempt at one deployment failed.

    `fails_over`: another deployment may be tried. `ambiguous`: the provider may have done the work and may charge for
    it, so at most one further attempt follows. `upstream_status`, `upstream_code` and `diagnostics` are kept for the
    operator and never shown to the caller.

    What it says of the deployment: `strikes` count toward leaving it out for a while, `disables` takes its credential out of
    use until the operator acts, `exhausted` says that its account has no credit left, `limits_rate` leaves it out at once,
    `proves_health` says that it works and the request was at fault, `never_arrived` that nobody was there to take it.
    """

    status = 502
    type = "provider_error"
    default_code = "provider_error"
    fails_over: ClassVar[bool] = True
    ambiguous: ClassVar[bool] = False
    default_strikes: ClassVar[int] = 1
    disables: ClassVar[bool] = False
    exhausted: ClassVar[bool] = False
    limits_rate: ClassVar[bool] = False
    proves_health: ClassVar[bool] = False
    never_arrived: ClassVar[bool] = False
    caller_may_retry = True

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after_s: int | None = None,
        upstream_status: int | None = None,
        upstream_code: str | None = None,
        provider_request_id: str | None = None,
        diagnostics: str = "",
        strikes: int | None = None,
    ) -> None:
        super().__init__(message, code=code, param=param, retry_after_s=retry_after_s)
        self.upstream_status = upstream_status
        self.upstream_code = upstream_code
        self.provider_request_id = provider_request_id
        self.diagnostics = diagnostics
        self.strikes = self.default_strikes if strikes is None else strikes


class UpstreamUnreachable(UpstreamError):
    """Connection refused, name not found or TLS failed: nothing was sent."""

    default_code = "provider_unreachable"
    never_arrived = True


class UpstreamConnectTimeout(UpstreamUnreachable):
    """No connection within the connect timeout: nothing was sent."""

    status = 504
    default_code = "provider_timeout"


class UpstreamBusy(UpstreamError):
    """The provider answered 503 before it worked."""

    status = 503
    default_code = "provider_unavailable"


class EngineBusy(UpstreamBusy):
    """Too many pictures of the embedded models are being made or wait."""

    type = "server_error"
    default_code = "overloaded"


class EngineBroke(UpstreamError):
    """A process of an embedded model broke. It is replaced; nobody charges for it."""

    default_code = "engine_failed"


class EngineMissing(UpstreamError):
    """An embedded model needs a library that is not installed here. Its operator may install it; nobody charges for it."""

    status = 503
    type = "server_error"
    default_code = "engine_not_installed"
    caller_may_retry = False


class EngineTimeout(UpstreamError):
    """An embedded model took too long, waiting included. Nobody charges for it."""

    status = 504
    default_code = "engine_timeout"


class UpstreamRateLimited(UpstreamError):
    """The provider answered 429."""

    status = 429
    type = "rate_limit_error"
    default_code = "provider_rate_limited"
    limits_rate = True


class UpstreamCredentials(UpstreamError):
    """The provider refused Omixa's credential: the operator's fault."""

    status = 503
    default_code = "provider_unavailable"
    disables = True
    caller_may_retry = False


class UpstreamMisconfigured(UpstreamError):
    """The provider does not know the deployment, or says something else that only the operator can correct."""

    status = 503
    default_code = "provider_unavailable"
    caller_may_retry = False


class UpstreamQuota(UpstreamError):
    """The operator's account at the provider is exhausted."""

    status = 503
    default_code = "provider_unavailable"
    disables = True
    exhausted = True
    caller_may_retry = False


class UpstreamTimeout(UpstreamError):
    """The request was sent and no answer came in time. The provider may have charged for it."""

    status = 504
    default_code = "provider_timeout"
    ambiguous = True
    caller_may_retry = False


class UpstreamFailed(UpstreamError):
    """The provider answered 500, 502 or 504, or broke the connection after the request was sent."""

    ambiguous = True


class UpstreamJobFailed(UpstreamError):
    """The provider says of a job that it took that it failed: there is no picture, and none is charged for."""


class UpstreamProtocol(UpstreamError):
    """The provider answered 200 with something that is not a picture."""

    default_code = "bad_provider_response"
    ambiguous = True


class UpstreamRefused(UpstreamError):
    """The provider's safety filter refused. Never tried elsewhere."""

    status = 400
    type = "content_policy_violation"
    default_code = "content_policy_violation"
    is_kept = True
    fails_over = False
    default_strikes = 0
    proves_health = True
    caller_may_retry = False


class UpstreamRejected(UpstreamError):
    """The provider says that the request itself is wrong."""

    status = 400
    type = "invalid_request_error"
    default_code = "provider_rejected_request"
    fails_over = False
    default_strikes = 0
    proves_health = True
    caller_may_retry = False


class UpstreamRedirected(UpstreamError):
    """The provider points to another address. The credential never follows; the operator corrects the endpoint."""

    default_code = "provider_redirected"
    fails_over = False
    default_strikes = 0
    caller_may_retry = False


# -------------------------------------------------------------------------------------------------------------- Omixa


class ServiceError(OmixaError):
    """Omixa itself cannot serve this now. Nothing was charged."""

    status = 503
    default_code = "service_unavailable"
    caller_may_retry = True


class NoHealthyRoute(ServiceError):
    """No configured deployment can serve the model for this key."""

    default_code = "no_healthy_route"
    caller_may_retry = False


class AllKeysCooling(ServiceError):
    """Every deployment of the model failed a moment ago and is left alone until `Retry-After`."""

    default_code = "all_keys_cooling"


class NoCapacity(ServiceError):
    """The operator's deployments may not be asked as often, and the queue for them is full or too slow."""

    status = 429
    type = "rate_limit_error"
    default_code = "no_capacity"


class NoPrice(ServiceError):
    """No price list of the model is in force, so it cannot be called; the operator adds one to the catalogue."""

    default_code = "price_missing"
    caller_may_retry = False


class BackgroundNotRemoved(ServiceError):
    """A picture was made, and its background could not be taken away. Nothing was charged for it."""

    default_code = "background_not_removed"
    # Another try would have the provider make another picture.
    caller_may_retry = False


class PaymentUnavailable(ServiceError):
    """The payment provider did not open a page to pay on."""

    default_code = "payment_unavailable"


class OpenIdUnavailable(ServiceError):
    """The OpenID provider cannot be asked, or does not know this gateway."""

    default_code = "openid_unavailable"


class Overloaded(ServiceError):
    """A named limit on requests or bytes in flight is reached."""

    default_code = "overloaded"


class LedgerUnavailable(ServiceError):
    """The ledger cannot be written; no provider was called."""

    default_code = "ledger_unavailable"


class StorageUnavailable(ServiceError):
    """Results cannot be made durable; the process stops admitting requests."""

    default_code = "storage_unavailable"


class SettlementUnavailable(ServiceError):
    """The picture was made but the charge could not be recorded, so neither is given."""

    default_code = "settlement_unavailable"


class InternalError(OmixaError):
    """A bug or a broken invariant."""


class PublishedPriceChanged(InternalError):
    """The catalogue contradicts a price list that was published; nothing starts until it is restored."""
