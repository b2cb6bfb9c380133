"""Tokens of Microsoft Entra for the identity that this process runs under, through Microsoft's own library.

Who that is says the environment: a client secret or certificate (AZURE_TENANT_ID, AZURE_CLIENT_ID and so on), a workload identity
(AZURE_FEDERATED_TOKEN_FILE), or else a managed identity. A token is asked for when the first call needs it, and again before it
ends, while calls still go out with the one that is there. As long as there is none, nothing is sent to the provider.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from omixa.domain.access import Secret
from omixa.errors import UpstreamConnectTimeout, UpstreamCredentials, UpstreamError, UpstreamUnreachable
from omixa.providers.base import Provider, ProviderCall, ProviderEvent
from omixa.providers.wire import MAX_DIAGNOSTICS

if TYPE_CHECKING:
    from azure.core.credentials import AccessTokenInfo
    from azure.core.credentials_async import AsyncSupportsTokenInfo

log = logging.getLogger(__name__)

TOKEN_TIMEOUT_S: Final = 15.0
# A token is renewed so long before its end, or when the library says that it is better to, whichever is earlier.
RENEW_BEFORE_S: Final = 300
# One that ends so soon is not sent any more: the call has to arrive first.
LEAST_LIFE_S: Final = 30
# After a renewal that failed, while the old token is still good.
RENEWAL_PAUSE_S: Final = 30
# By these the issuer says that this identity gets no token, however often it asks.
_REFUSALS: Final = frozenset({400, 401, 403})

# The wire formats of Microsoft's, which take these tokens.
TAKE_TOKENS: Final = frozenset({"foundry", "foundry-flux", "azure-openai"})

_UNAVAILABLE = "The provider cannot serve this model now."


@dataclass(slots=True)
class _Kept:
    """A token, until when it may be sent and from when on another one is asked for, in Unix seconds."""

    token: Secret
    last_s: float
    renew_s: float


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why there is no token. Every call that waited for it raises an error of its own."""

    kind: type[UpstreamError]
    reason: str

    def error(self) -> UpstreamError:
        return self.kind(_UNAVAILABLE, diagnostics=f"no token of Microsoft Entra: {self.reason}"[:MAX_DIAGNOSTICS])


class EntraTokens:
    """Gives tokens by their scope, keeps them, and asks for each but once at a time. Enter it on the event loop that uses it.

    `chain` makes the credentials that are tried in order; the first one that its environment is meant for counts. `clock` gives
    Unix seconds.
    """

    def __init__(
        self,
        chain: Callable[[], Sequence[AsyncSupportsTokenInfo]] | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._chain = chain or default_chain
        self._clock = clock
        self._credentials: Sequence[AsyncSupportsTokenInfo] | None = None
        self._kept: dict[str, _Kept] = {}
        self._asking: dict[str, asyncio.Task[_Kept | _Failure]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for task in self._asking.values():
            task.cancel()
        await asyncio.gather(*self._asking.values(), return_exceptions=True)
        for credential in self._credentials or ():
            await credential.close()

    async def token(self, scope: str) -> Secret:
        """Return a token that is good for a while.

        Raises UpstreamCredentials when the issuer refuses this identity, UpstreamUnreachable when it cannot be asked now.
        """
        kept, now = self._kept.get(scope), self._clock()
        if kept is not None and now < kept.last_s:
            if now >= kept.renew_s:
                self._ask(scope)
            return kept.token
        # Others may wait for the same token, so that whoever leaves ends nothing.
        outcome = await asyncio.shield(self._ask(scope))
        if isinstance(outcome, _Failure):
            raise outcome.error()
        return outcome.token

    def _ask(self, scope: str) -> asyncio.Task[_Kept | _Failure]:
        """Return the question that is under way, or begin one."""
        task = self._asking.get(scope)
        if task is None:
            task = self._asking[scope] = asyncio.create_task(self._renew(scope), name="entra-token")
        return task

    async def _renew(self, scope: str) -> _Kept | _Failure:
        try:
            outcome = await self._asked(scope)
        finally:
            del self._asking[scope]
        if isinstance(outcome, _Kept):
            self._kept[scope] = outcome
            return outcome
        log.warning("entra.no_token", extra={"scope": scope, "reason": outcome.reason})
        if (old := self._kept.get(scope)) is not None:
            old.renew_s = self._clock() + RENEWAL_PAUSE_S
        return outcome

    async def _asked(self, scope: str) -> _Kept | _Failure:
        # Here, because the library is an extra and takes a while to load.
        from azure.core.exceptions import AzureError, HttpResponseError

        try:
            async with asyncio.timeout(TOKEN_TIMEOUT_S):
                info = await self._first(scope)
        except TimeoutError:
            return _Failure(UpstreamConnectTimeout, f"no answer within {TOKEN_TIMEOUT_S:g} s")
        except HttpResponseError as error:
            refused = error.status_code in _REFUSALS
            reason = f"{error.status_code or 'not available'}: {_first_line(error)}"
            return _Failure(UpstreamCredentials if refused else UpstreamUnreachable, reason)
        except (AzureError, OSError, ValueError) as error:
            return _Failure(UpstreamUnreachable, f"{type(error).__name__}: {_first_line(error)}")
        ends_s = float(info.expires_on)
        renew_s = min(ends_s - RENEW_BEFORE_S, ends_s if info.refresh_on is None else float(info.refresh_on))
        # The library gives the old one again where there is no new one to be had yet.
        renew_s = max(renew_s, self._clock() + RENEWAL_PAUSE_S)
        return _Kept(Secret(info.token), ends_s - LEAST_LIFE_S, renew_s)

    async def _first(self, scope: str) -> AccessTokenInfo:
        from azure.identity import CredentialUnavailableError

        if self._credentials is None:
            self._credentials = self._chain()
        reasons = []
        for credential in self._credentials:
            try:
                return await credential.get_token_info(scope)
            except CredentialUnavailableError as error:
                reasons.append(_first_line(error))
        raise CredentialUnavailableError(message="; ".join(reasons))


def default_chain() -> Sequence[AsyncSupportsTokenInfo]:
    """Return the credentials of servers in their usual order, none of those that are for the desks of developers.

    The library repeats nothing by itself: the router decides what is tried again, and when.
    """
    import os

    from azure.identity.aio import EnvironmentCredential, ManagedIdentityCredential, WorkloadIdentityCredential

    options: dict[str, Any] = {"retry_total": 0}
    chain: list[AsyncSupportsTokenInfo] = []
    if os.environ.get("AZURE_CLIENT_SECRET") or os.environ.get("AZURE_CLIENT_CERTIFICATE_PATH"):
        chain.append(EnvironmentCredential(**options))
    if os.environ.get("AZURE_FEDERATED_TOKEN_FILE"):
        chain.append(WorkloadIdentityCredential(**options))
    client_id = os.environ.get("AZURE_CLIENT_ID")
    return [*chain, ManagedIdentityCredential(client_id=client_id, **options)]


def with_tokens(adapters: Mapping[str, Provider], tokens: EntraTokens) -> Mapping[str, Provider]:
    """Return the adapters with tokens for those that take them."""
    return {name: WithTokens(one, tokens) if name in TAKE_TOKENS else one for name, one in adapters.items()}


class WithTokens:
    """A provider that is called with one of Entra's tokens where a deployment has no credential of its own."""

    def __init__(self, provider: Provider, tokens: EntraTokens) -> None:
        self._provider = provider
        self._tokens = tokens

    async def generate(self, call: ProviderCall) -> AsyncGenerator[ProviderEvent, None]:
        """Make one picture. Raises an UpstreamError when the attempt fails, also for want of a token."""
        scope = call.deployment.entra_scope
        if scope:
            token = await self._tokens.token(scope)
            call = replace(call, deployment=replace(call.deployment, bearer_token=token))
        async with aclosing(self._provider.generate(call)) as events:
            async for event in events:
                yield event


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
