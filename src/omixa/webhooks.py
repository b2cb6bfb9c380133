"""Events as signed POST requests to an endpoint of the operator's, by the scheme of Standard Webhooks.

Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import aiohttp
import msgspec

from omixa.domain.times import iso_time

TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Webhook:
    """An endpoint that is told of events, and the key by which it knows that they are Omixa's."""

    url: str
    key: bytes = field(repr=False)

    async def send(self, *, message_id: str, topic: str, at_ms: int, data: Mapping[str, str]) -> None:
        """Tell of an event; a repeated one has the same `message_id`. Raises OSError unless the answer is a 2xx."""
        body = msgspec.json.encode({"type": topic, "timestamp": iso_time(at_ms), "data": data})
        timestamp = int(time.time())
        headers = {
            "content-type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(self.key, message_id, timestamp, body),
        }
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                # A redirect would lead the signed event somewhere else.
                session.post(self.url, data=body, headers=headers, allow_redirects=False) as answer,
            ):
                if answer.status // 100 != 2:
                    raise ConnectionError(f"the endpoint answered {answer.status}")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ConnectionError(type(error).__name__) from error


def sign(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """Return the signature of an event at a time in Unix seconds."""
    signed = b"%s.%d.%s" % (message_id.encode(), timestamp, body)
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
