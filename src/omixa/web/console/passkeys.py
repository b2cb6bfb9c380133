"""Forms that a passkey answers. A script asks for the question first; the answer comes with the form."""

from __future__ import annotations

from omixa.access.passkeys import RelyingParty
from omixa.errors import BadPasskey, InvalidRequest, RateLimited
from omixa.gateway.passkeys import Answer, Question
from omixa.web.console.door import HOME, link_of, place_of, send_profile, send_sign_in, send_welcome
from omixa.web.console.visit import Visit, nothing_here


async def ask_to_sign_in(visit: Visit) -> None:
    """Say what the browser is to be asked to sign in."""
    assert visit.token is not None, "the form's token was checked"
    await _send(visit, visit.services.passkeys.ask_to_sign_in(_party(visit), visit.token))


async def sign_in(visit: Visit) -> None:
    """Begin a session with a new token, whatever the browser had before."""
    place = place_of(visit.form.exact("next"))
    try:
        token = await visit.services.passkeys.sign_in(_party(visit), _answer(visit), address=visit.client_address)
    except (BadPasskey, RateLimited) as error:
        await send_sign_in(visit, place=place, error=error)
        return
    if visit.token is not None:
        await visit.services.people.sign_out(visit.token)
    visit.keep(token)
    await visit.redirect(place)


async def ask_by_link(visit: Visit) -> None:
    """Say what the browser of a link's owner is to be asked to make a passkey."""
    assert visit.token is not None, "the form's token was checked"
    await _send(visit, await visit.services.passkeys.ask_by_link(_party(visit), visit.token, link_of(visit)))


async def use_link(visit: Visit) -> None:
    """Make a passkey the way in by a link, end every other session and begin one."""
    link = link_of(visit)
    name = await visit.services.people.owner_of(link)
    try:
        token = await visit.services.passkeys.use_link(
            _party(visit), _answer(visit), link, address=visit.client_address
        )
    except (BadPasskey, RateLimited) as error:
        await send_welcome(visit, name, error)
        return
    visit.keep(token)
    await visit.redirect(HOME)


async def ask_for_one(visit: Visit) -> None:
    """Say what the visitor's browser is to be asked to make a passkey."""
    assert visit.token is not None, "the form's token was checked"
    visitor = visit.visitor
    question = await visit.services.passkeys.ask_for_one(
        _party(visit), visit.token, person_id=visitor.person_id, name=visitor.name
    )
    await _send(visit, question)


async def add(visit: Visit) -> None:
    """Keep a passkey that the visitor has made."""
    try:
        await visit.services.passkeys.add(
            _party(visit), _answer(visit), visit.form.exact("name"), person_id=visit.visitor.person_id
        )
    except (BadPasskey, InvalidRequest) as error:
        await send_profile(visit, error)
        return
    await visit.redirect("console/profile")


async def remove(visit: Visit) -> None:
    """Take one of the visitor's passkeys away."""
    try:
        await visit.services.passkeys.remove(visit.identifier("passkey"), person_id=visit.visitor.person_id)
    except InvalidRequest as error:
        await send_profile(visit, error)
        return
    await visit.redirect("console/profile")


def _party(visit: Visit) -> RelyingParty:
    """Return for whom passkeys are made here. Raises NotFound where the address is a number."""
    domain = visit.place.domain
    if domain is None:
        raise nothing_here()
    return RelyingParty(domain, visit.place.origin)


def _answer(visit: Visit) -> Answer:
    ends = visit.form.text("ends")
    assert visit.token is not None, "the form's token was checked"
    is_number = ends.isascii() and ends.isdigit() and len(ends) <= 12
    return Answer(visit.token, visit.form.exact("answer"), int(ends) if is_number else 0)


async def _send(visit: Visit, question: Question) -> None:
    await visit.send_json({"options": question.options, "ends": question.ends_s})
