"""Providers behind an HTTP proxy: every call goes through it, and its password is told to nobody else."""

from __future__ import annotations

from pathlib import Path

import pytest

from omixa.config import ConfigError, FoundrySettings, load
from omixa.domain.access import Secret
from tests.support.relay import running_relay
from tests.support.servers import SIMULATOR_API_KEY, Simulator, running_gateway

# A name that nobody but the proxy can find.
ENDPOINT = "http://provider.invalid"


def test_providers_are_called_through_the_proxy(tmp_path: Path, foundry: Simulator) -> None:
    account = FoundrySettings(endpoint=ENDPOINT, api_key=Secret(SIMULATOR_API_KEY))
    asked = {"model": "MAI-Image-2.5", "prompt": "a lamp"}
    with running_gateway(tmp_path / "alone", foundry=account) as gateway, gateway.client(gateway.key("live")) as client:
        gateway.grant(1_000_000)
        assert client.post("/api/v1/images/generations", json=asked).json()["error"]["code"] == "provider_unreachable"
        assert client.get("/api/v1/balance").json()["available"] == "1.000000"
    with running_relay(foundry.port) as relay:
        proxy = Secret(f"http://somebody:a-password@127.0.0.1:{relay.port}")
        with (
            running_gateway(tmp_path / "proxied", foundry=account, provider_proxy=proxy) as gateway,
            gateway.client(gateway.key("live")) as client,
        ):
            gateway.grant(1_000_000)
            made = client.post("/api/v1/images/generations", json=asked)
            assert made.status_code == 200, made.text
            assert "a-password" not in made.text


@pytest.mark.parametrize(
    "address", ["proxy.example.org:3128", "socks5://a-password@127.0.0.1:1080", "http://", "http://a b"]
)
def test_what_is_no_proxy_is_refused_without_being_shown(address: str) -> None:
    with pytest.raises(ConfigError, match="provider_proxy must be an address") as refusal:
        load({"OMIXA_PROVIDER_PROXY": address})
    assert "a-password" not in str(refusal.value)
