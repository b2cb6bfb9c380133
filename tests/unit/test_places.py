"""Which addresses that a provider names may be called."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from yarl import URL

from omixa.providers.places import is_at_endpoint, is_public, origin_of, redirected

HOSTS = ("delivery.*.bfl.ai", "fal.media")
LOCAL = "http://127.0.0.1:8790/v1"


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("https://api.bfl.ai/v1/get_result?id=a1", "https://api.bfl.ai"),
        ("https://API.bfl.ai:443/v1", "https://api.bfl.ai"),
        ("http://127.0.0.1:8790/delivery/x.png", LOCAL),
        ("http://localhost:8790/x", "http://localhost:8790"),
        ("http://[::1]:8790/x", "http://[::1]:8790"),
        ("simulator://flux/delivery/x", "simulator://flux"),
        # The operator's own endpoint may lie in a private network, if it speaks TLS.
        ("https://10.0.0.7/x", "https://10.0.0.7"),
    ],
)
def test_the_endpoints_own_origin_is_as_good_as_the_endpoint(url: str, endpoint: str) -> None:
    assert is_at_endpoint(url, endpoint, ())


@pytest.mark.parametrize(
    "url",
    [
        "https://delivery.eu.bfl.ai/x.png?sig=a%2Fb&se=1",
        "https://DELIVERY.us.BFL.ai/x",
        "https://fal.media/files/x.png",
        "https://fal.media:443/files/x.png",
        "https://fal.media",
    ],
)
def test_known_hosts_are_called_by_tls(url: str) -> None:
    assert not is_at_endpoint(url, "https://api.bfl.ai", HOSTS)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "x.png",
        "//fal.media/x",
        "file:///etc/passwd",
        "ftp://fal.media/x",
        "data:image/png;base64,AAAA",
        "http://fal.media/x",
        "https://fal.media:8443/x",
        "https://fal.media:/x",
        "https://fal.media.evil.example/x",
        "https://evil.example/fal.media",
        "https://evilfal.media/x",
        "https://x.fal.media/x",
        "https://fal.media./x",
        "https://delivery.bfl.ai/x",
        "https://delivery..bfl.ai/x",
        "https://delivery.eu.evil.bfl.ai/x",
        "https://user@fal.media/x",
        "https://fal.media@evil.example/x",
        "https://fal.media\\@evil.example/x",
        "https://evil.example\\.fal.media/x",
        "https://fal.media#@evil.example/",
        "https://fal.media?@evil.example/ x",
        "https://fal.media\t/x",
        "https://fal.media/x\r\nHost: evil.example",
        "https://fal.media/x\N{FULLWIDTH SOLIDUS}",
        "https://fal。media/x",
        "https://127.0.0.1/x",
        "https://[::1]/x",
        "https://0x7f000001/x",
        "https://2130706433/x",
        "http://127.0.0.1:8791/x",
        "http://127.0.0.1/x",
        "http://localhost:8790/x",
        "http://169.254.169.254/latest/meta-data/",
        "https://fal.media/" + "x" * 9000,
    ],
)
def test_every_other_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        is_at_endpoint(url, LOCAL, HOSTS)


@pytest.mark.parametrize("endpoint", ["http://10.0.0.7:8000", "http://provider.internal", "http://8.8.8.8"])
def test_without_tls_only_this_machine_is_called(endpoint: str) -> None:
    with pytest.raises(ValueError, match="without TLS"):
        is_at_endpoint(f"{endpoint}/x", endpoint, ())


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2001:4860:4860::8888", True),
        ("64:ff9b::808:808", True),
        ("127.0.0.1", False),
        ("127.8.8.8", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("0.0.0.0", False),
        ("255.255.255.255", False),
        ("224.0.0.1", False),
        ("192.0.2.1", False),
        ("::", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("::10.0.0.1", False),
        ("64:ff9b::a00:1", False),
        ("2002:a00:1::", False),
        ("2001:0:a00:1::", False),
        ("fd00:ec2::254", False),
    ],
)
def test_only_the_public_network_is_public(address: str, public: bool) -> None:
    assert is_public(address) is public


PIECES = (
    "https",
    "http",
    "://",
    ":",
    "/",
    "//",
    "@",
    "\\",
    "#",
    "?",
    ".",
    "%2f",
    "%40",
    "[",
    "]",
    "443",
    "\t",
    "\n",
    " ",
    "\u2024",
)
WORDS = (
    "fal.media",
    "delivery.eu.bfl.ai",
    "evil.example",
    "127.0.0.1",
    "delivery",
    "bfl.ai",
    "x",
    "user",
    "\N{FULLWIDTH FULL STOP}",
)


@given(st.lists(st.sampled_from((*PIECES, *WORDS)), max_size=9).map("".join))
@example("https://fal.media")
@example("https://fal.media/x?y=1")
def test_what_is_accepted_means_the_same_to_what_calls_it(address: str) -> None:
    """An address is read twice: by these rules, and by the library that connects. It must never lead elsewhere there."""
    try:
        at_endpoint = is_at_endpoint(address, LOCAL, HOSTS)
    except ValueError:
        return
    assert not at_endpoint
    url = URL(address)
    assert (url.scheme, url.port, url.user) == ("https", 443, None)
    assert url.host is not None
    assert url.host == "fal.media" or (url.host.startswith("delivery.") and url.host.endswith(".bfl.ai"))


def test_origins_are_compared_by_what_they_mean() -> None:
    assert origin_of("HTTPS://Api.BFL.ai/x") == origin_of("https://api.bfl.ai:443")
    assert origin_of("http://a.example") != origin_of("http://a.example:8080")


def test_a_redirect_may_be_relative() -> None:
    assert redirected("https://fal.media/a/b.png", "../c.png") == "https://fal.media/c.png"
    assert redirected("https://fal.media/a", "//evil.example/c") == "https://evil.example/c"
