"""Signing in by a password, setting one by a link, what people see of themselves, and signing out."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlencode

from omixa.access.passwords import MAX_CHARS, MIN_CHARS
from omixa.domain.access import Secret
from omixa.errors import InvalidRequest, OmixaError, Overloaded, RateLimited, SignInFailed
from omixa.gateway.passkeys import MAX_NAME_CHARS
from omixa.web.console.visit import Visit

# Pages of ours to which a browser may be sent after signing in. All of it may stand in a cookie.
_PLACE = re.compile(r"(console|operator)(/[A-Za-z0-9][A-Za-z0-9._-]*)*(\?[A-Za-z0-9._~%&=+-]*)?")
_MAX_PLACE_CHARS = 2000
HOME = "console"


async def show_sign_in(visit: Visit) -> None:
    """Send the page on which people sign in, or those who have to where they wanted to go."""
    place = wanted(visit)
    if visit.is_signed_in:
        await visit.redirect(place)
        return
    await send_sign_in(visit, place=place)


def wanted(visit: Visit) -> str:
    """Return the page to which the address of a visit leads after signing in."""
    return place_of(query_of(visit).get("next", ""))


def query_of(visit: Visit) -> dict[str, str]:
    """Return what stands in the address of a visit, each name's first value; of too many names, nothing."""
    try:
        found = parse_qs(visit.exchange.scope["query_string"].decode("latin-1"), max_num_fields=20)
    except ValueError:
        return {}
    return {name: values[0] for name, values in found.items()}


async def sign_in(visit: Visit) -> None:
    """Begin a session with a new token, whatever the browser had before."""
    place, name = place_of(visit.form.exact("next")), visit.form.text("name")
    people = visit.services.people
    try:
        token = await people.sign_in(name, visit.form.exact("password"), address=visit.client_address)
    except (SignInFailed, RateLimited, Overloaded) as error:
        await send_sign_in(visit, place=place, name=name[:MAX_CHARS], error=error)
        return
    if visit.token is not None:
        await people.sign_out(visit.token)
    visit.keep(token)
    await visit.redirect(place)


async def send_sign_in(visit: Visit, *, place: str, name: str = "", error: OmixaError | None = None) -> None:
    """Send the page on which people sign in, with what went wrong."""
    door = visit.services.openid
    await visit.send(
        "console/sign_in.html",
        "Sign in",
        status=200 if error is None else error.status,
        place=place,
        name=name,
        error=error,
        provider=None if door is None else door.provider.registration.name,
        next_question=urlencode({"next": place}),
    )


async def show_welcome(visit: Visit) -> None:
    """Send the page on which the owner of a link sets a password. The link stays good until that is done."""
    name = await visit.services.people.owner_of(link_of(visit))
    await send_welcome(visit, name)


async def set_password(visit: Visit) -> None:
    """Set a password by a link, end every other session and begin one."""
    people, link = visit.services.people, link_of(visit)
    password = visit.form.exact("password")
    name = await people.owner_of(link)
    try:
        if password != visit.form.exact("again"):
            raise InvalidRequest("The two passwords differ. Write the same one twice.", param="again")
        token = await people.use_link(link, password, address=visit.client_address)
    except (InvalidRequest, RateLimited, Overloaded) as error:
        await send_welcome(visit, name, error)
        return
    visit.keep(token)
    await visit.redirect(HOME)


async def send_welcome(visit: Visit, name: str, error: OmixaError | None = None) -> None:
    """Send the page on which the owner of a link says how they come in from now on."""
    await visit.send(
        "console/welcome.html",
        "Set your password",
        status=200 if error is None else error.status,
        name=name,
        error=error,
        min_chars=MIN_CHARS,
        max_chars=MAX_CHARS,
        way=visit.path.removesuffix("/passkey"),
    )


def link_of(visit: Visit) -> Secret:
    """Return the link in the address of a visit."""
    return Secret(visit.exchange.path_parameters["link"][:MAX_CHARS])


async def show_home(visit: Visit) -> None:
    """Send the list of the visitor's workspaces, or them into the only one."""
    memberships = visit.visitor.memberships
    if len(memberships) == 1:
        await visit.redirect(f"console/{memberships[0].workspace}/live")
        return
    await visit.send("console/home.html", "Workspaces")


async def show_profile(visit: Visit) -> None:
    """Send what is known of the visitor, their passkeys, and how to sign out everywhere."""
    await send_profile(visit)


async def send_profile(visit: Visit, error: OmixaError | None = None) -> None:
    """Send the page, with what went wrong on it."""
    door, outside = visit.services.openid, None
    if door is not None and await door.knows(visit.visitor.person_id):
        outside = await door.provider.sign_out_address(f"{visit.place.address}/sign-in")
    await visit.send(
        "console/profile.html",
        "You",
        status=200 if error is None else error.status,
        error=error,
        passkeys=await visit.services.passkeys.of(visit.visitor.person_id),
        max_chars=MAX_NAME_CHARS,
        outside=outside,
        provider=None if door is None else door.provider.registration.name,
    )


async def sign_out(visit: Visit) -> None:
    """End this session."""
    if visit.token is not None:
        await visit.services.people.sign_out(visit.token)
    visit.keep(None)
    await visit.redirect("sign-in")


async def sign_out_everywhere(visit: Visit) -> None:
    """End all sessions of the visitor, in every browser."""
    await visit.services.people.sign_out_everywhere(visit.visitor.person_id)
    visit.keep(None)
    await visit.redirect("sign-in")


def place_of(text: str) -> str:
    """Return a page of the console; its beginning for everything else, so that no link leads elsewhere through here."""
    return text if len(text) <= _MAX_PLACE_CHARS and _PLACE.fullmatch(text) else HOME
