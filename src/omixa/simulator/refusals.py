"""Every refusal with its status, code and words, and which step of a scenario gives which."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from omixa.domain.scenarios import Step
from omixa.simulator.wire import ServiceError

REDIRECT_TARGET = "https://elsewhere.invalid"


def bad_key() -> ServiceError:
    """Return 401: no key, a wrong one, or both kinds at once."""
    return ServiceError(
        401,
        "401",
        "Access denied. Send the resource's key as 'api-key' or a token as 'Authorization: Bearer', not both.",
    )


def forbidden() -> ServiceError:
    """Return 403: a good key that may not do this."""
    return ServiceError(403, "PermissionDenied", "The principal lacks the required data action for this resource.")


def unknown_deployment() -> ServiceError:
    """Return 404: 'model' is not the name of a deployment."""
    return ServiceError(404, "DeploymentNotFound", "The deployment does not exist on this resource.")


def rate_limited(retry_after: str | None) -> ServiceError:
    """Return 429; `retry_after` is in seconds, "none" or None for no header."""
    message = "The deployment is over its requests per minute. Try again later."
    return ServiceError(429, "RateLimitReached", message, headers=_retry_after(retry_after))


def out_of_quota(retry_after: str | None) -> ServiceError:
    """Return 429 for an exhausted account: waiting does not help."""
    message = "The subscription has no quota left for this model."
    return ServiceError(429, "insufficient_quota", message, headers=_retry_after(retry_after))


def busy(retry_after: str) -> ServiceError:
    """Return 503: the simulator paints as much as it can; `retry_after` is in seconds."""
    message = "The service cannot take requests now."
    return ServiceError(503, "ServiceUnavailable", message, headers=_retry_after(retry_after))


def too_many_headers(limit: int) -> ServiceError:
    """Return 431: too many custom request headers."""
    return ServiceError(431, "RequestHeaderFieldsTooLarge", f"More than {limit} custom request headers were sent.")


def content_violation() -> ServiceError:
    """Return the content filter's refusal in the observed shape."""
    message = "blocked by label 'SimulatedViolenceScore'"
    return ServiceError(400, "content_safety_violation", message, details=message)


def refuse(step: Step, path: str) -> None:
    """Raise the ServiceError of a step that makes no picture; other steps pass."""
    if step.name == "redirect":
        raise ServiceError(307, "TemporaryRedirect", "Moved.", headers={"location": REDIRECT_TARGET + path})
    refusal = _REFUSALS.get(step.name)
    if refusal is not None:
        raise refusal(step)


def _retry_after(seconds: str | None) -> Mapping[str, str]:
    return {} if seconds in {None, "none"} else {"retry-after": str(seconds)}


def _failure(status: int, code: str, message: str) -> Callable[[Step], ServiceError]:
    return lambda step: ServiceError(status, code, message, headers=_retry_after(step.retry_after))


_REFUSALS: Mapping[str, Callable[[Step], ServiceError]] = MappingProxyType(
    {
        "401": lambda _: bad_key(),
        "403": lambda _: forbidden(),
        "404": lambda _: unknown_deployment(),
        "429": lambda step: rate_limited(step.retry_after or "1"),
        "quota": lambda step: out_of_quota(step.retry_after),
        "500": _failure(500, "InternalServerError", "The service failed. Try again."),
        "502": _failure(502, "BadGateway", "The model did not answer properly."),
        "503": _failure(503, "ServiceUnavailable", "The service cannot take requests now."),
        "504": _failure(504, "GatewayTimeout", "The model did not answer in time."),
        "filter": lambda _: content_violation(),
    }
)
