"""How the command line shows a running server that it is the operator's: it knows the pepper, as the server does.

A token is its end in Unix seconds, who asked for it, and a signature over both, with a key that is derived from the pepper. It
lives for a minute, so one that is seen on the way is of little use, and nothing has to be stored, handed out or revoked.
"""

from __future__ import annotations

import hashlib
import hmac
import re

from omixa.domain.access import Secret
from omixa.errors import Unauthenticated

LIFETIME_S = 60
PREFIX = "omx_operator_"
# Clocks of two machines may differ by so much.
_TOLERANCE_S = 60
# Longer than any name of a user.
_MAX_ACTOR_BYTES = 512
_TOKEN = re.compile(
    rf"{PREFIX}(?P<expires>[0-9]{{1,12}})_(?P<actor>([0-9a-f]{{2}}){{1,{_MAX_ACTOR_BYTES}}})_(?P<signature>[0-9a-f]{{64}})",
    re.ASCII,
)


class OperatorTokens:
    """Makes tokens and checks them."""

    def __init__(self, pepper: Secret) -> None:
        self._key = hmac.digest(bytes.fromhex(pepper.reveal()), b"operators", hashlib.sha256)

    def issue(self, *, actor: str, now_s: int) -> Secret:
        """Return a token for the next minute. `actor` is whom the audit log names for what is done with it."""
        expires_s, named = now_s + LIFETIME_S, actor.encode()[:_MAX_ACTOR_BYTES].hex()
        return Secret(f"{PREFIX}{expires_s}_{named}_{self._signature(expires_s, named)}")

    def check(self, token: str, *, now_s: int) -> str:
        """Return who asked for a token. Raises Unauthenticated unless it is one of this gateway whose time has not passed."""
        match = _TOKEN.fullmatch(token)
        expires_s = int(match["expires"]) if match else 0
        named = match["actor"] if match else ""
        signature = match["signature"] if match else ""
        if not hmac.compare_digest(self._signature(expires_s, named), signature):
            raise Unauthenticated("This is for the operator: run `omixa routes` where the gateway's data directory is.")
        if not now_s - _TOLERANCE_S < expires_s <= now_s + LIFETIME_S + _TOLERANCE_S:
            raise Unauthenticated("The time of this operator's token has passed. Do the clocks of both machines agree?")
        return bytes.fromhex(named).decode(errors="replace")

    def _signature(self, expires_s: int, named: str) -> str:
        return hmac.digest(self._key, f"{expires_s}_{named}".encode(), hashlib.sha256).hex()
