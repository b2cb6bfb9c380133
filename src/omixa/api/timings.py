"""The header Server-Timing: where the time of a request went, in milliseconds. Source: W3C, Server Timing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from omixa.gateway.run import TimedCall


def server_timing(steps: Mapping[str, float], calls: Iterable[TimedCall] = ()) -> tuple[bytes, bytes]:
    """Return the header for steps by their names, and the calls to providers, each with its route and outcome."""
    entries = [f"{name};dur={value:.1f}" for name, value in steps.items()]
    entries += [f'attempt-{call.n};dur={call.duration_ms:.1f};desc="{call.route} {call.outcome}"' for call in calls]
    return b"server-timing", ", ".join(entries).encode()
