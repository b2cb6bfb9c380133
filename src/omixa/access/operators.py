"""How the command line shows a running server that it is the operator's: it knows the pepper, as the server does.

A token is its end in Unix seconds and a signature over that, with a key that is derived from the pepper. It lives for a
minute, so one that is seen on the way is of little use, and nothing has to be stored, handed out or revoked.
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
_TOKEN = re.compile(rf"{PREFIX}(?P<expires>[0-9]{{1,12}})_(?P<signature>[0-9a-f]{{64}})", re.ASCII)


class OperatorTokens:
    """Makes tokens and checks them."""

    def __init__(self, pepper: Secret) -> None:
        self._key = hmac.digest(bytes.fromhex(pepper.reveal()), b"operators", hashlib.sha256)

    def issue(self, *, now_s: int) -> Secret:
        """Return a token for the next minute."""
        expires_s = now_s + LIFETIME_S
        return Secret(f"{PREFIX}{expires_s}_{self._signature(expires_s)}")

    def check(self, token: str, *, now_s: int) -> None:
        """Raise Unauthenticated unless this is a token of this gateway whose time has not passed."""
        match = _TOKEN.fullmatch(token)
        expires_s = int(match["expires"]) if match else 0
        signature = match["signature"] if match else ""
        if not hmac.compare_digest(self._signature(expires_s), signature):
            raise Unauthenticated("This is for the operator: run `omixa routes` where the gateway's data directory is.")
        if not now_s - _TOLERANCE_S < expires_s <= now_s + LIFETIME_S + _TOLERANCE_S:
            raise Unauthenticated("The time of this operator's token has passed. Do the clocks of both machines agree?")

    def _signature(self, expires_s: int) -> str:
        return hmac.digest(self._key, str(expires_s).encode(), hashlib.sha256).hex()
