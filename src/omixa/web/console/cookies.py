"""Where the browser believes to be, and the one cookie that it keeps for us.

Over TLS the cookie has the prefix `__Host-`, which no other host and no plain connection can set. Without TLS people sign in on
the machine itself alone: there nobody listens on the way.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from omixa.api.exchange import Exchange
from omixa.domain.access import Secret

_NAME = "omixa_session"
# More than any token has.
_MAX_CHARS = 128


@dataclass(frozen=True, slots=True)
class Place:
    """The address of this server as the browser has it: the configured one or, without that, the one that was asked."""

    address: str

    @property
    def origin(self) -> str:
        """Return what a browser says where its pages come from."""
        parts = urlsplit(self.address)
        return f"{parts.scheme}://{parts.netloc}".lower()

    @property
    def has_tls(self) -> bool:
        """Tell whether the way to here is protected."""
        return urlsplit(self.address).scheme == "https"

    @property
    def is_this_machine(self) -> bool:
        """Tell whether browser and server run on the same machine."""
        host = urlsplit(self.address).hostname or ""
        return host in ("localhost", "::1") or host.startswith("127.")

    @property
    def _cookie(self) -> str:
        return f"__Host-{_NAME}" if self.has_tls else _NAME

    def read_cookie(self, exchange: Exchange) -> Secret | None:
        """Return the token that the browser keeps, if there is one."""
        for pair in (exchange.header(b"cookie") or "").split(";"):
            name, _, value = pair.strip().partition("=")
            if name == self._cookie and 0 < len(value) <= _MAX_CHARS and value.isascii():
                return Secret(value)
        return None

    def write_cookie(self, token: Secret | None, *, max_age_s: int | None = None) -> tuple[bytes, bytes]:
        """Return the header that makes the browser keep a token, for a time or until it is closed, or forget it."""
        value = "" if token is None else token.reveal()
        lifetime = "; Max-Age=0" if token is None else "" if max_age_s is None else f"; Max-Age={max_age_s}"
        secure = "; Secure" if self.has_tls else ""
        return b"set-cookie", f"{self._cookie}={value}; Path=/; HttpOnly; SameSite=Lax{secure}{lifetime}".encode()
