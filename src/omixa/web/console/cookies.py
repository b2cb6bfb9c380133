"""Where the browser believes to be, and the cookies that it keeps for us.

Over TLS their names have the prefix `__Host-`, which no other host and no plain connection can set. Without TLS people sign in on
the machine itself alone: there nobody listens on the way.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from omixa.api.exchange import Exchange
from omixa.domain.access import Secret

SESSION = "omixa_session"
# For the way to an OpenID provider and back.
FLOW = "omixa_flow"
# More than any has.
_MAX_CHARS = 2200


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
    def domain(self) -> str | None:
        """Return the domain in the address, for which passkeys can be made; None where that is a number."""
        host = urlsplit(self.address).hostname or ""
        return host if host and ":" not in host and not host.rpartition(".")[2].isdigit() else None

    def cookie(self, name: str) -> str:
        """Return how a cookie is called here."""
        return f"__Host-{name}" if self.has_tls else name

    def read_cookie(self, exchange: Exchange, name: str = SESSION) -> Secret | None:
        """Return what the browser keeps under a name, if there is something."""
        wanted = self.cookie(name)
        for pair in (exchange.header(b"cookie") or "").split(";"):
            found, _, value = pair.strip().partition("=")
            if found == wanted and 0 < len(value) <= _MAX_CHARS and value.isascii():
                return Secret(value)
        return None

    def write_cookie(
        self, value: Secret | None, name: str = SESSION, *, max_age_s: int | None = None
    ) -> tuple[bytes, bytes]:
        """Return the header that makes the browser keep a value, for a time or until it is closed, or forget it."""
        text = "" if value is None else value.reveal()
        lifetime = "; Max-Age=0" if value is None else "" if max_age_s is None else f"; Max-Age={max_age_s}"
        secure = "; Secure" if self.has_tls else ""
        return b"set-cookie", f"{self.cookie(name)}={text}; Path=/; HttpOnly; SameSite=Lax{secure}{lifetime}".encode()
