"""Entra's tokens through Microsoft's own library, against an endpoint on loopback that gives a managed identity its tokens."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from omixa.domain.accounts import ENTRA_SCOPE
from omixa.errors import UpstreamConnectTimeout, UpstreamCredentials, UpstreamUnreachable
from omixa.providers import entra
from omixa.providers.entra import LEAST_LIFE_S, RENEW_BEFORE_S, RENEWAL_PAUSE_S, EntraTokens
from tests.support.identity import HEADER, SCOPE, IdentityEndpoint, running_identity_endpoint

DAY_S = 86_400


_real_time = time.time


class Clock:
    """Gives the real time and what a test adds to it."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return _real_time() + self.ahead_s


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def identity(monkeypatch: pytest.MonkeyPatch) -> Iterator[IdentityEndpoint]:
    for name in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_FEDERATED_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    with running_identity_endpoint() as endpoint:
        for name, value in endpoint.variables.items():
            monkeypatch.setenv(name, value)
        yield endpoint


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the library, of the endpoint and of ours."""
    clock = Clock()
    monkeypatch.setattr(time, "time", clock)
    return clock


@pytest.fixture
async def tokens(clock: Clock) -> AsyncIterator[EntraTokens]:
    async with EntraTokens(clock=clock) as opened:
        yield opened


async def asked_in_peace(tokens: EntraTokens) -> str:
    """Return a token once no renewal is under way."""
    token = (await tokens.token(ENTRA_SCOPE)).reveal()
    while tokens._asking:
        await asyncio.sleep(0)
        await asyncio.gather(*tokens._asking.values())
    return token


async def test_a_token_is_asked_for_once_and_kept(identity: IdentityEndpoint, tokens: EntraTokens) -> None:
    found = await asyncio.gather(*(tokens.token(ENTRA_SCOPE) for _ in range(20)))
    assert {one.reveal() for one in found} == {"token-1-of-a-managed-identity"}
    assert identity.asked == [{"api-version": "2019-08-01", "resource": SCOPE, "header": HEADER}]
    assert await tokens.token(ENTRA_SCOPE) == found[0]
    assert len(identity.asked) == 1


async def test_a_token_is_renewed_before_its_end_while_calls_go_on_with_it(
    identity: IdentityEndpoint, tokens: EntraTokens, clock: Clock
) -> None:
    identity.lifetime_s = RENEW_BEFORE_S + 60
    assert await asked_in_peace(tokens) == "token-1-of-a-managed-identity"
    identity.lifetime_s = DAY_S
    clock.ahead_s = 55
    assert (await asked_in_peace(tokens), len(identity.asked)) == ("token-1-of-a-managed-identity", 1)
    clock.ahead_s = 61
    # It is still good, so nobody waits for the next one.
    assert (await asked_in_peace(tokens), len(identity.asked)) == ("token-1-of-a-managed-identity", 2)
    assert await asked_in_peace(tokens) == "token-2-of-a-managed-identity"
    assert len(identity.asked) == 2


async def test_a_token_that_has_ended_is_waited_for_by_all_at_once(
    identity: IdentityEndpoint, tokens: EntraTokens, clock: Clock
) -> None:
    identity.lifetime_s = 3600
    await tokens.token(ENTRA_SCOPE)
    clock.ahead_s = 3600 - LEAST_LIFE_S + 1
    found = await asyncio.gather(*(tokens.token(ENTRA_SCOPE) for _ in range(20)))
    assert {one.reveal() for one in found} == {"token-2-of-a-managed-identity"}
    assert len(identity.asked) == 2


async def test_while_the_issuer_is_away_the_old_token_serves_to_its_end(
    identity: IdentityEndpoint, tokens: EntraTokens, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    identity.lifetime_s = 120
    assert await asked_in_peace(tokens) == "token-1-of-a-managed-identity"
    identity.status = 503
    clock.ahead_s = RENEWAL_PAUSE_S + 1
    assert await asked_in_peace(tokens) == "token-1-of-a-managed-identity"
    clock.ahead_s = 120 - LEAST_LIFE_S - 1
    assert await asked_in_peace(tokens) == "token-1-of-a-managed-identity"
    identity.status, identity.lifetime_s, clock.ahead_s = 200, DAY_S, 121
    assert await asked_in_peace(tokens) == "token-2-of-a-managed-identity"
    assert "token-1" not in caplog.text


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, UpstreamCredentials),
        (401, UpstreamCredentials),
        (403, UpstreamCredentials),
        (429, UpstreamUnreachable),
        (500, UpstreamUnreachable),
        (503, UpstreamUnreachable),
    ],
)
async def test_a_refusal_and_an_outage_are_told_apart(
    identity: IdentityEndpoint,
    tokens: EntraTokens,
    status: int,
    kind: type[Exception],
    caplog: pytest.LogCaptureFixture,
) -> None:
    identity.status = status
    caplog.set_level(logging.DEBUG)
    with pytest.raises(kind) as caught:
        await tokens.token(ENTRA_SCOPE)
    error = caught.value
    assert isinstance(error, UpstreamCredentials | UpstreamUnreachable)
    assert (error.fails_over, error.ambiguous, error.disables) == (True, False, kind is UpstreamCredentials)
    assert str(status) in error.diagnostics
    # No library tries again behind the router's back.
    assert len(identity.asked) == 1
    assert HEADER not in caplog.text + error.diagnostics
    assert "entra.no_token" in caplog.text
    identity.status = 200
    assert (await tokens.token(ENTRA_SCOPE)).reveal() == "token-1-of-a-managed-identity"


async def test_nobody_at_the_endpoint_is_an_outage(
    identity: IdentityEndpoint, tokens: EntraTokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IDENTITY_ENDPOINT", "http://127.0.0.1:1/msi/token")
    with pytest.raises(UpstreamUnreachable) as caught:
        await tokens.token(ENTRA_SCOPE)
    assert not caught.value.disables


async def test_an_endpoint_that_does_not_answer_is_waited_for_no_longer_than_a_connection(
    identity: IdentityEndpoint, tokens: EntraTokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entra, "TOKEN_TIMEOUT_S", 0.05)
    identity.holds = True
    with pytest.raises(UpstreamConnectTimeout):
        await tokens.token(ENTRA_SCOPE)
    identity.release()


async def test_whoever_leaves_ends_nothing_for_others(identity: IdentityEndpoint, tokens: EntraTokens) -> None:
    leaving, staying = (asyncio.create_task(tokens.token(ENTRA_SCOPE)) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    assert (await staying).reveal() == "token-1-of-a-managed-identity"
    assert leaving.cancelled()
    assert len(identity.asked) == 1


async def test_a_client_secret_of_the_environment_comes_first(
    identity: IdentityEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TENANT_ID", "CLIENT_ID", "CLIENT_SECRET"):
        monkeypatch.setenv(f"AZURE_{name}", "00000000-0000-0000-0000-000000000000")
    # An authority where nobody is: the managed identity is not asked in its place, and the secret is told to nobody.
    monkeypatch.setenv("AZURE_AUTHORITY_HOST", "127.0.0.1:1")
    async with EntraTokens() as tokens:
        with pytest.raises(UpstreamUnreachable):
            await tokens.token(ENTRA_SCOPE)
    assert identity.asked == []
