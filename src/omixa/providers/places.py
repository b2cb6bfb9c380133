"""Which addresses that a provider hands out may be called: those of its own hosts, and nothing inside anybody's network."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urljoin

MAX_ADDRESS = 8192

# Stricter than the rules for addresses: no name before the host, no backslash, nothing that two readers could read in two ways.
_ADDRESS = re.compile(
    r"(?P<scheme>[a-z]+)://(?P<host>[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?(?P<rest>[/?][!-~]*)?",
    re.IGNORECASE | re.ASCII,
)
_PORTS = {"http": "80", "https": "443"}
_LOOPBACK_NAMES = frozenset({"localhost"})
# Addresses of IPv6 that stand for one of IPv4, which is what is called in the end.
_TRANSLATED = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("::/96"))


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an address leads, in lower case. `port` is written out."""

    scheme: str
    host: str
    port: str

    @property
    def is_loopback(self) -> bool:
        """Tell whether it is this machine, by its name or its address."""
        if self.host in _LOOPBACK_NAMES:
            return True
        try:
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return False


def origin_of(address: str) -> Origin:
    """Return the origin of an address. Raises ValueError for what is not plainly one."""
    match = _ADDRESS.fullmatch(address)
    if match is None or len(address) > MAX_ADDRESS or "\\" in address or "#" in address:
        raise ValueError("what the provider gave is not a plain address")
    scheme = match["scheme"].lower()
    return Origin(scheme, match["host"].lower(), match["port"] or _PORTS.get(scheme, ""))


def is_at_endpoint(address: str, endpoint: str, hosts: Iterable[str]) -> bool:
    """Tell whether an address is at the endpoint that the operator configured; otherwise it is at one of the known hosts.

    `hosts` are names such as delivery.eu.bfl.ai, in which a label may be * for any one. They are called by HTTPS alone. At the
    endpoint's own origin anything is as good as the endpoint, but without TLS only on this machine. Raises ValueError for every
    other address.
    """
    place, own = origin_of(address), origin_of(endpoint)
    if place == own:
        if place.scheme == "http" and not place.is_loopback:
            raise ValueError(f"{place.host} would be called without TLS")
        return True
    if place.scheme != "https" or place.port != "443":
        raise ValueError(f"{place.scheme}://{place.host}:{place.port} is not HTTPS at its usual port")
    if not any(_is_named(place.host, pattern) for pattern in hosts):
        raise ValueError(f"{place.host} is not a known host of the provider")
    return False


def redirected(address: str, location: str) -> str:
    """Return where a redirect of an address leads. It has to be checked like any other."""
    return urljoin(address, location)


def is_public(address: str) -> bool:
    """Tell whether an IP address is one of the public network: not private, loopback, link-local, multicast or reserved."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if inner is None and any(ip in network for network in _TRANSLATED):
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if ip.teredo is not None:
            return False
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast


def _is_named(host: str, pattern: str) -> bool:
    labels, wanted = host.split("."), pattern.lower().split(".")
    return len(labels) == len(wanted) and all(
        label == want or (want == "*" and label != "") for label, want in zip(labels, wanted, strict=True)
    )
