"""What a key is made for."""

from __future__ import annotations

from omixa.access.roles import Action, key_may
from omixa.domain.access import Principal
from omixa.errors import ScopeForbidden


def require_made_for(principal: Principal, action: Action) -> None:
    """Raise ScopeForbidden for a key that manages, and was not made for this."""
    if not key_may(principal.scopes, action):
        raise ScopeForbidden(
            f"This key manages: it reads, and does what its scopes say, {', '.join(sorted(principal.scopes))}. Use a key"
            " without scopes.",
            code="scoped_key",
        )
