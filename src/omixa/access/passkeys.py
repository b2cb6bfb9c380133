"""Passkeys: what a browser is asked, and whether its answer proves anything. By py_webauthn.

Source: W3C Web Authentication Level 3, sections 7.1 and 7.2. A passkey is found by the authenticator itself (a discoverable
credential), and the authenticator has verified the person, so it is enough alone. No attestation is asked for: which
authenticator people choose is their own affair.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from webauthn import (
    generate_authentication_options,
    generate_registration_options,
    options_to_json,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.helpers import base64url_to_bytes, bytes_to_base64url
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from omixa.access.people import Credential
from omixa.errors import BadPasskey

TIMEOUT_MS: Final = 120_000
# More than any authenticator makes.
MAX_ANSWER_CHARS: Final = 32 * 1024
_MAX_ID_CHARS: Final = 1400
_MAX_KEY_BYTES: Final = 4096
_MAX_COUNT: Final = 2**32 - 1
# What goes wrong with answers that no browser gives: pieces are missing, or of another type.
_MALFORMED = (WebAuthnException, ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError)


@dataclass(frozen=True, slots=True)
class RelyingParty:
    """For whom passkeys are made: a domain, which is in them for good, and the origin of the pages that ask for them."""

    domain: str
    origin: str


def creation_options(
    party: RelyingParty, *, person_id: str, name: str, challenge: bytes, known: Iterable[str]
) -> dict[str, Any]:
    """Return what a browser is asked to make a passkey, unless it has one of the `known` ones."""
    options = generate_registration_options(
        rp_id=party.domain,
        rp_name="Omixa",
        user_id=person_id.encode(),
        user_name=name,
        challenge=challenge,
        timeout=TIMEOUT_MS,
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED, user_verification=UserVerificationRequirement.REQUIRED
        ),
        exclude_credentials=[PublicKeyCredentialDescriptor(id=base64url_to_bytes(one)) for one in known],
    )
    told: dict[str, Any] = json.loads(options_to_json(options))
    return told


def request_options(party: RelyingParty, *, challenge: bytes) -> dict[str, Any]:
    """Return what a browser is asked to sign in with any passkey that it has for us."""
    options = generate_authentication_options(
        rp_id=party.domain,
        challenge=challenge,
        timeout=TIMEOUT_MS,
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    told: dict[str, Any] = json.loads(options_to_json(options))
    return told


def made(party: RelyingParty, answer: str, *, challenge: bytes) -> Credential:
    """Return the passkey that a browser has made. Raises BadPasskey."""
    try:
        found = verify_registration_response(
            credential=_parsed(answer),
            expected_challenge=challenge,
            expected_rp_id=party.domain,
            expected_origin=party.origin,
            require_user_verification=True,
        )
    except _MALFORMED as error:
        raise refused() from error
    identifier = bytes_to_base64url(found.credential_id)
    if len(identifier) > _MAX_ID_CHARS or len(found.credential_public_key) > _MAX_KEY_BYTES:
        raise refused()
    return Credential(identifier, found.credential_public_key, _count(found.sign_count))


def credential_id(answer: str) -> str:
    """Return which passkey a browser says to have used. Raises BadPasskey."""
    found = _parsed(answer).get("id")
    if not isinstance(found, str) or not 0 < len(found) <= _MAX_ID_CHARS or not found.isascii() or "\0" in found:
        raise refused()
    return found


def used(party: RelyingParty, answer: str, known: Credential, *, challenge: bytes) -> int:
    """Return how often a passkey now says that it was used. Raises BadPasskey, also for one that was used by a copy."""
    try:
        found = verify_authentication_response(
            credential=_parsed(answer),
            expected_challenge=challenge,
            expected_rp_id=party.domain,
            expected_origin=party.origin,
            credential_public_key=known.public_key,
            credential_current_sign_count=known.sign_count,
            require_user_verification=True,
        )
    except _MALFORMED as error:
        raise refused() from error
    return _count(found.new_sign_count)


def _count(count: int) -> int:
    if not 0 <= count <= _MAX_COUNT:
        raise refused()
    return count


def _parsed(answer: str) -> dict[str, Any]:
    if len(answer) > MAX_ANSWER_CHARS:
        raise refused()
    try:
        found = json.loads(answer)
    except (ValueError, RecursionError) as error:
        raise refused() from error
    if not isinstance(found, dict):
        raise refused()
    return found


def refused() -> BadPasskey:
    """Return what is said of an answer that proves nothing: it is not told why."""
    return BadPasskey(
        "This passkey is not known here, or its answer came too late. Try again, or sign in in another way."
    )
