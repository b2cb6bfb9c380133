"""What is left of the rate limits, in the words of two families of headers: OpenAI's and the IETF's.

OpenAI's tell the limit that is nearest. RateLimit and RateLimit-Policy, from draft-ietf-httpapi-ratelimit-headers, tell all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from omixa.api.errors import Headers
from omixa.limits.rates import WINDOW_S, Kind, Standing

_MS = 1_000_000
_SECOND = 1_000_000_000
# The names of a limit, of what is left of it, and of the time until it is whole again.
_OPENAI_NAMES: Mapping[Kind, tuple[bytes, bytes, bytes]] = {
    "requests": (b"x-ratelimit-limit-requests", b"x-ratelimit-remaining-requests", b"x-ratelimit-reset-requests"),
    "images": (b"x-ratelimit-limit-images", b"x-ratelimit-remaining-images", b"x-ratelimit-reset-images"),
}
# Requests are what the draft counts where nothing else is said.
_UNITS = {"requests": "", "images": ';qu="images"', "concurrent-images": ';qu="concurrent-images"'}


def rate_headers(standings: Sequence[Standing]) -> Headers:
    """Return the headers, none where there is no limit."""
    if not standings:
        return []
    headers: Headers = [
        (b"ratelimit-policy", ", ".join(map(_policy, standings)).encode()),
        (b"ratelimit", ", ".join(map(_standing, standings)).encode()),
    ]
    for kind, (limit_name, remaining_name, reset_name) in _OPENAI_NAMES.items():
        found = [one for one in standings if one.policy.kind == kind]
        if found:
            nearest = min(found, key=_left)
            headers += [
                (limit_name, b"%d" % nearest.policy.share),
                (remaining_name, b"%d" % nearest.remaining),
                (reset_name, _duration(nearest.full_ns).encode()),
            ]
    return headers


def _left(one: Standing) -> tuple[int, int]:
    return one.remaining, one.policy.share


def _policy(one: Standing) -> str:
    window = "" if one.policy.kind == "concurrent-images" else f";w={WINDOW_S}"
    return f'"{one.policy.name}";q={one.policy.share}{_UNITS[one.policy.kind]}{window}'


def _standing(one: Standing) -> str:
    wait = f";t={-(-one.next_ns // _SECOND)}" if one.next_ns else ""
    return f'"{one.policy.name}";r={one.remaining}{wait}'


def _duration(ns: int) -> str:
    """Return a time as OpenAI writes it: 120ms, 8.64s, 1m0s."""
    ms = -(-ns // _MS)
    if ms < 1000:
        return f"{ms}ms"
    minutes, ms = divmod(ms, 60_000)
    seconds, ms = divmod(ms, 1000)
    fraction = f".{ms:03d}".rstrip("0") if ms else ""
    return f"{minutes}m{seconds}{fraction}s" if minutes else f"{seconds}{fraction}s"
