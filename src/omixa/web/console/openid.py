"""Signing in at an OpenID provider: the browser's way there, and back."""

from __future__ import annotations

import re
import time

from omixa.access.openid import MAX_CODE_CHARS
from omixa.access.sessions import generate_token
from omixa.domain.access import Secret
from omixa.errors import OmixaError, OpenIdFailed, OpenIdUnavailable, RateLimited, SignInRefused
from omixa.gateway.openid import OpenIdDoor
from omixa.web.console.cookies import FLOW
from omixa.web.console.door import place_of, query_of, send_sign_in, wanted
from omixa.web.console.visit import Visit

_BACK = "sign-in/openid/back"
# Until when somebody has to come back.
_FLOW_LIFETIME_S = 600
# A token, the end in Unix seconds, and the page that was wanted.
_FLOW = re.compile(r"[A-Za-z0-9_-]{43}\.(?P<ends>[0-9]{1,12})\.(?P<place>.*)", re.ASCII)
# The words by which providers refuse. Source: RFC 6749, section 4.1.2.1; OpenID Connect Core 1.0, section 3.1.2.6.
_REFUSAL = re.compile(r"[a-z_]{1,40}", re.ASCII)


async def begin(visit: Visit) -> None:
    """Send the browser to the provider."""
    place = wanted(visit)
    if visit.is_signed_in:
        await visit.redirect(place)
        return
    ends_s = int(time.time()) + _FLOW_LIFETIME_S
    flow = Secret(f"{generate_token().reveal()}.{ends_s}.{place}")
    try:
        address = await _door(visit).provider.address_for(flow, _callback(visit))
    except OpenIdUnavailable as error:
        await send_sign_in(visit, place=place, error=error)
        return
    visit.keep_flow(flow, max_age_s=_FLOW_LIFETIME_S)
    await visit.leave(address)


async def come_back(visit: Visit) -> None:
    """Begin a session with a new token for whoever comes back from the provider, whatever the browser had before."""
    flow = visit.place.read_cookie(visit.exchange, FLOW)
    # What one answer was for is of no use for another one.
    visit.keep_flow(None)
    known = None if flow is None else _FLOW.fullmatch(flow.reveal())
    place = place_of("" if known is None else known["place"])
    try:
        if flow is None or known is None or int(known["ends"]) < time.time():
            raise OpenIdFailed("This browser has begun no sign-in, or too long ago. Begin again.")
        token = await _come_in(visit, flow)
    except (OpenIdFailed, OpenIdUnavailable, SignInRefused, RateLimited) as error:
        await _explain(visit, place, error)
        return
    if visit.token is not None:
        await visit.services.people.sign_out(visit.token)
    visit.keep(token)
    await visit.redirect(place)


async def _come_in(visit: Visit, flow: Secret) -> Secret:
    door, query = _door(visit), query_of(visit)
    door.provider.require_state(flow, query.get("state", ""), query.get("iss"))
    refusal = query.get("error")
    if refusal is not None:
        why = refusal if _REFUSAL.fullmatch(refusal) else "something else than the protocol knows"
        raise OpenIdFailed(f"{door.provider.registration.name} has not signed you in: it says {why}.")
    code = query.get("code", "")
    if not 0 < len(code) <= MAX_CODE_CHARS:
        raise OpenIdFailed(f"{door.provider.registration.name} has sent you back without a code. Begin again.")
    return await door.sign_in(flow, code, _callback(visit), address=visit.client_address)


async def _explain(visit: Visit, place: str, error: OmixaError) -> None:
    if visit.is_signed_in:
        # Whoever has signed in already, for example in another tab, stays so.
        await visit.explain(error)
        return
    await send_sign_in(visit, place=place, error=error)


def _door(visit: Visit) -> OpenIdDoor:
    door = visit.services.openid
    assert door is not None, "this route is offered with a provider alone"
    return door


def _callback(visit: Visit) -> str:
    return f"{visit.place.address}/{_BACK}"
