"""What providers answer for nothing: that they are there, that a key is good and, with some, that it has credit left.

Source: the API references. None of these requests makes a picture, and none is billed. A list of models proves the host and the
credential and says nothing of the model that makes pictures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from omixa.domain.models import Deployment
from omixa.providers.failures import failed_answer
from omixa.providers.wire import Timeouts, Transport, WireRequest, WireResponse

TIMEOUTS: Final = Timeouts(first_byte_s=10.0, total_s=10.0)


@dataclass(frozen=True, slots=True)
class _Check:
    """Where to ask, below a deployment's endpoint, and how the key is sent; a token is always a bearer's.

    `tells_credit` says that the answer's `credits` are what is left.
    """

    path: str
    header: str = "authorization"
    tells_credit: bool = False


_CHECKS: Mapping[str, _Check] = {
    "foundry": _Check("/openai/v1/models", "api-key"),
    # The same resource.
    "foundry-flux": _Check("/openai/v1/models", "api-key"),
    "gemini": _Check("/models", "x-goog-api-key"),
    "openai": _Check("/models"),
    "azure-openai": _Check("/models", "api-key"),
    "openai-compatible": _Check("/models"),
    "localai": _Check("/models"),
    "openrouter": _Check("/key"),
    "stability": _Check("/v1/user/balance", tells_credit=True),
    "flux": _Check("/v1/credits", "x-key", tells_credit=True),
    "replicate": _Check("/v1/account"),
}


class _Balance(msgspec.Struct):
    credits: float


_BALANCE = msgspec.json.Decoder(_Balance)


class Checks:
    """Asks the providers that have something to ask. `adapters` are the wire formats of the catalogue's providers."""

    def __init__(self, transport: Transport, adapters: Mapping[str, str]) -> None:
        self._transport = transport
        self._adapters = adapters

    def can_ask(self, deployment: Deployment) -> bool:
        """Tell whether a deployment's provider answers something for nothing."""
        has_credential = deployment.api_key is not None or deployment.bearer_token is not None
        return has_credential and self._adapters.get(deployment.provider) in _CHECKS

    async def ask(self, deployment: Deployment) -> bool:
        """Return whether the provider says that there is credit. Raises an UpstreamError when it is away or refuses the key."""
        check = _CHECKS[self._adapters[deployment.provider]]
        response = await self._transport.send(_request(check, deployment), TIMEOUTS)
        if response.status != 200:
            raise failed_answer(response, secret=_credential(deployment))
        return check.tells_credit and _has_credit(response)


def _credential(deployment: Deployment) -> str:
    secret = deployment.api_key or deployment.bearer_token
    assert secret is not None, "nobody is asked without a credential"
    return secret.reveal()


def _request(check: _Check, deployment: Deployment) -> WireRequest:
    header = "authorization" if deployment.api_key is None else check.header
    scheme = "Bearer " if header == "authorization" else ""
    headers = {"accept": "application/json", header: scheme + _credential(deployment)}
    return WireRequest(deployment.endpoint.rstrip("/") + check.path, headers, method="GET")


def _has_credit(response: WireResponse) -> bool:
    try:
        return _BALANCE.decode(response.body).credits > 0
    except msgspec.DecodeError:
        return False
