"""A provider's credential goes to the operator's endpoint and nowhere else, whatever wire format it speaks."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest

from omixa.domain.access import Secret
from omixa.engines.conversions import Conversions
from omixa.errors import UpstreamError
from omixa.providers.adapters import adapters
from omixa.providers.transport import HttpTransport
from tests.support.exchanges import CATALOGUE, KEY, Peer, call, picture

# One model of each provider that is called over the network.
OFFERS = {provider: model for provider, model in sorted(CATALOGUE.offers, reverse=True) if provider != "embedded"}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def test_every_wire_format_is_tried() -> None:
    spoken = {CATALOGUE.providers[provider].adapter for provider in OFFERS}
    assert spoken >= {
        "foundry",
        "foundry-flux",
        "azure-openai",
        "openai",
        "gemini",
        "openrouter",
        "bedrock",
        "fal",
        "flux",
    }


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("kind", ["api_key", "bearer_token"])
@pytest.mark.parametrize("provider", OFFERS)
async def test_a_redirect_is_never_followed_with_the_credential(provider: str, kind: str, status: int) -> None:
    elsewhere = Peer(body={})
    async with elsewhere.listening():
        mine = Peer(status=status, headers={"location": f"{elsewhere.endpoint}/stolen"}, body={})
        offer = CATALOGUE.offer(provider, OFFERS[provider])
        needs_pictures = CATALOGUE.resolve(offer.model).needs_pictures
        references = (picture("png:1024x1024"),) if needs_pictures else ()
        wanted = call(provider, offer.model, *references)
        secret = Secret(KEY)
        credential = {"api_key": secret if kind == "api_key" else None}
        credential["bearer_token"] = secret if kind == "bearer_token" else None
        with contextlib.closing(Conversions(1, waiting=16)) as conversions:
            async with mine.listening(), HttpTransport() as http:
                deployment = replace(wanted.deployment, endpoint=mine.endpoint, **credential)
                adapter = adapters(http, conversions)[CATALOGUE.providers[provider].adapter]
                with pytest.raises(UpstreamError) as caught:
                    async for _ in adapter.generate(replace(wanted, deployment=deployment)):
                        pass
        assert len(mine.seen) == 1
        assert any(KEY.partition(":")[0] in value for value in mine.seen[0].headers.values())
        assert elsewhere.seen == []
        assert not caught.value.fails_over
        assert KEY.partition(":")[2] not in f"{caught.value} {caught.value.diagnostics}"
