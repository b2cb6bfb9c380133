"""Signing in at an OpenID provider: the authorization code flow with PKCE, state and nonce.

Authlib builds the requests and checks the tokens; what is fetched comes through aiohttp, within limits of our own.
Sources: OpenID Connect Core 1.0 and Discovery 1.0, RFC 7636 (PKCE), RFC 9207 (`iss` of an answer), RFC 9700 (best practice).
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import aiohttp
import msgspec
from authlib.common.urls import add_params_to_uri
from authlib.oauth2.client import OAuth2Client
from authlib.oauth2.rfc6749.parameters import prepare_token_request
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import Key, KeySet, import_key
from joserfc.jws import JWSRegistry
from msgspec import Struct

from omixa.access.sessions import SessionKeys
from omixa.domain.access import Secret
from omixa.errors import OpenIdFailed, OpenIdUnavailable

log = logging.getLogger(__name__)

T = TypeVar("T")

_WELL_KNOWN: Final = "/.well-known/openid-configuration"
_TIMEOUT_S: Final = 10.0
_MAX_ANSWER_BYTES: Final = 256 * 1024
_MAX_KEYS: Final = 100
# How long what a provider says of itself is believed, and how soon a failure or an unknown key lets it be asked again.
_KEPT_S: Final = 3600.0
_PAUSE_S: Final = 5.0
# Clocks of two machines may differ by so much.
_TOLERANCE_S: Final = 60
_MAX_SUBJECT_CHARS: Final = 255
# Signatures that only the provider can make. A shared secret would do for an HS256, and nothing at all for "none".
_ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")

MAX_CODE_CHARS: Final = 4096


@dataclass(frozen=True, slots=True)
class Registration:
    """How a provider knows this gateway: the client that its operator has registered there.

    `name` is what people call the provider. `name_claim` is the claim that is a person's name here; where that is `email`, it
    counts only when the provider says that it was verified, unless it `trusts_email`.
    """

    issuer: str
    client_id: str
    client_secret: Secret | None
    name: str
    scopes: str
    name_claim: str
    trusts_email: bool


@dataclass(frozen=True, slots=True)
class Identity:
    """Somebody as a provider knows them. `name` is what they are called here; None without one that counts."""

    issuer: str
    subject: str
    name: str | None


class _Metadata(Struct, frozen=True):
    """What a provider says of itself."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None = None
    end_session_endpoint: str | None = None
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)


class _Keys(Struct, frozen=True):
    keys: tuple[dict[str, Any], ...]


class _Tokens(Struct, frozen=True):
    id_token: str
    access_token: str


class _Refusal(Struct, frozen=True):
    error: str = ""


class OpenIdProvider:
    """A way to a provider. What it says of itself is fetched when it is first needed, and again after a while.

    What a browser carries on its way there and back is a random token in a cookie; state, nonce and PKCE's verifier are derived
    from it with the server's pepper, so that nothing has to be stored and all servers that share a ledger understand it.
    """

    def __init__(
        self, registration: Registration, keys: SessionKeys, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.registration = registration
        self._session_keys = keys
        self._clock = clock
        self._asking = asyncio.Lock()
        self._metadata: _Metadata | None = None
        self._key_set: KeySet | None = None
        self._kept_until = 0.0
        self._keys_kept_until = 0.0
        self._next_try_at = 0.0
        self._next_keys_at = 0.0

    async def address_for(self, flow: Secret, callback: str) -> str:
        """Return where the browser goes to sign in, and from there to `callback`. Raises OpenIdUnavailable."""
        metadata = await self._known()
        address, _ = self._client(callback).create_authorization_url(
            metadata.authorization_endpoint,
            state=self._derived("state", flow),
            nonce=self._derived("nonce", flow),
            code_verifier=self._derived("verifier", flow),
        )
        return str(address)

    async def sign_out_address(self, back: str) -> str | None:
        """Return where a browser is signed out of the provider too; None where that cannot be had."""
        try:
            address = (await self._known()).end_session_endpoint
        except OpenIdUnavailable:
            return None
        if address is None:
            return None
        question = [("client_id", self.registration.client_id), ("post_logout_redirect_uri", back)]
        return str(add_params_to_uri(address, question))

    def require_state(self, flow: Secret, state: str, issuer: str | None) -> None:
        """Raise OpenIdFailed unless an answer belongs to the flow that this browser has begun, at this provider."""
        fits = hmac.compare_digest(self._derived("state", flow).encode(), state.encode())
        if not fits or issuer not in (None, self.registration.issuer):
            raise OpenIdFailed("This answer does not belong to a sign-in that this browser has begun. Begin again.")

    async def identity(self, flow: Secret, code: str, callback: str) -> Identity:
        """Return who has signed in, for a code. Raises OpenIdFailed for what proves nothing, OpenIdUnavailable."""
        metadata = await self._known()
        tokens = await self._exchange(metadata, flow, code, callback)
        claims = await self._checked(metadata, tokens, self._derived("nonce", flow))
        subject = claims.get("sub")
        if not isinstance(subject, str) or not 0 < len(subject) <= _MAX_SUBJECT_CHARS or "\0" in subject:
            raise self._untrue("its subject is none")
        wanted = self.registration.name_claim
        if wanted not in claims and metadata.userinfo_endpoint is not None:
            told = await self._user_info(metadata.userinfo_endpoint, tokens)
            if told.get("sub") != subject:
                raise self._untrue("what it tells of the person is about another one")
            claims = {**told, **claims}
        return Identity(metadata.issuer, subject, self._name(claims))

    def _name(self, claims: Mapping[str, Any]) -> str | None:
        wanted = self.registration.name_claim
        name = claims.get(wanted)
        is_proven = wanted != "email" or self.registration.trusts_email or claims.get("email_verified") is True
        return name.strip().lower() if isinstance(name, str) and is_proven else None

    async def _exchange(self, metadata: _Metadata, flow: Secret, code: str, callback: str) -> _Tokens:
        client = self._client(callback)
        methods = metadata.token_endpoint_auth_methods_supported
        if client.client_secret and "client_secret_basic" not in methods and "client_secret_post" in methods:
            client.token_endpoint_auth_method = "client_secret_post"  # noqa: S105 - a word of the protocol
        body = prepare_token_request(
            "authorization_code", code=code, redirect_uri=callback, code_verifier=self._derived("verifier", flow)
        )
        address, headers, body = client.client_auth(client.token_endpoint_auth_method).prepare(
            "POST", metadata.token_endpoint, {"content-type": "application/x-www-form-urlencoded"}, body
        )
        status, answer = await self._fetch("POST", address, headers, body)
        if status != 200:
            refusal = _read(answer, _Refusal) or _Refusal()
            log.warning("openid.refused", extra={"status": status, "error": refusal.error[:64]})
            if refusal.error in ("invalid_client", "unauthorized_client"):
                raise OpenIdUnavailable(
                    f"{self.registration.name} does not know this gateway. Whoever runs it checks openid.client_id and"
                    " openid.client_secret."
                )
            raise OpenIdFailed(
                f"{self.registration.name} did not accept this answer, or it was used already. Begin again."
            )
        tokens = _read(answer, _Tokens)
        if tokens is None:
            raise self._untrue("there is no ID token")
        return tokens

    async def _checked(self, metadata: _Metadata, tokens: _Tokens, nonce: str) -> dict[str, Any]:
        """Return the claims of an ID token, once its signature, issuer, audience, times and nonce are right."""
        registry = JWSRegistry(algorithms=list(_ALGORITHMS), strict_check_header=False)
        try:
            try:
                token = jwt.decode(tokens.id_token, await self._keys(metadata), registry=registry)
            except InvalidKeyIdError:
                token = jwt.decode(tokens.id_token, await self._keys(metadata, renew=True), registry=registry)
            claims = CodeIDToken(
                token.claims,
                token.header,
                {
                    "iss": {"essential": True, "value": metadata.issuer},
                    "aud": {"essential": True, "value": self.registration.client_id},
                },
                {
                    "nonce": nonce,
                    "client_id": self.registration.client_id,
                    "access_token": tokens.access_token,
                },
            )
            claims.validate(leeway=_TOLERANCE_S)
        except (JoseError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise self._untrue(str(error)[:200]) from error
        return dict(claims)

    async def _user_info(self, address: str, tokens: _Tokens) -> dict[str, Any]:
        status, answer = await self._fetch("GET", address, {"authorization": f"Bearer {tokens.access_token}"})
        told = _read(answer, dict[str, Any])
        if status != 200 or told is None:
            raise self._untrue("it tells nothing of the person")
        return told

    # ---------------------------------------------------------------------------------------- what it says of itself

    async def _known(self) -> _Metadata:
        async with self._asking:
            if self._metadata is None or self._clock() >= self._kept_until:
                try:
                    self._metadata = await self._discover()
                except OpenIdUnavailable:
                    # What it said before is most likely still true.
                    if self._metadata is None:
                        raise
                self._kept_until = self._clock() + _KEPT_S
            return self._metadata

    async def _discover(self) -> _Metadata:
        self._require_pause()
        self._next_try_at = self._clock() + _PAUSE_S
        issuer = self.registration.issuer
        status, answer = await self._fetch("GET", issuer.rstrip("/") + _WELL_KNOWN, {})
        found = _read(answer, _Metadata)
        if status != 200 or found is None:
            raise self._unavailable("it does not describe itself")
        if found.issuer != issuer:
            raise self._unavailable("it says that it is another issuer than openid.issuer")
        addresses = (found.authorization_endpoint, found.token_endpoint, found.jwks_uri, found.userinfo_endpoint)
        if not all(_is_safe(one, issuer) for one in (*addresses, found.end_session_endpoint) if one is not None):
            raise self._unavailable("one of its addresses is not protected by TLS")
        return found

    def _require_pause(self) -> None:
        if self._clock() < self._next_try_at:
            raise self._unavailable("it failed a moment ago")

    async def _keys(self, metadata: _Metadata, *, renew: bool = False) -> KeySet:
        async with self._asking:
            now = self._clock()
            # A token with an invented key must not make us ask all the time.
            may_renew = renew and now >= self._next_keys_at
            if self._key_set is None or now >= self._keys_kept_until or may_renew:
                status, answer = await self._fetch("GET", metadata.jwks_uri, {})
                found = _read(answer, _Keys)
                if status != 200 or found is None or len(found.keys) > _MAX_KEYS:
                    raise self._unavailable("its keys cannot be read")
                self._key_set = KeySet([key for one in found.keys for key in _usable(one)])
                self._keys_kept_until = now + _KEPT_S
                self._next_keys_at = now + _PAUSE_S
            return self._key_set

    async def _fetch(
        self, method: str, address: str, headers: Mapping[str, str], body: str | None = None
    ) -> tuple[int, bytes]:
        """Return status and body of an answer. Raises OpenIdUnavailable; follows no redirects."""
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        sent = {"accept": "application/json", "accept-encoding": "identity", **headers}
        try:
            async with (
                aiohttp.ClientSession(
                    timeout=timeout, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
                ) as session,
                session.request(method, address, headers=sent, data=body, allow_redirects=False) as answer,
            ):
                read = bytearray()
                async for piece in answer.content.iter_any():
                    read += piece
                    if len(read) > _MAX_ANSWER_BYTES:
                        raise self._unavailable(f"an answer has more than {_MAX_ANSWER_BYTES} bytes")
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            # Without the cause: errors of the client carry the request's headers.
            raise self._unavailable(type(error).__name__) from None
        if answer.status >= 500:
            raise self._unavailable(f"it answered {answer.status}")
        return answer.status, bytes(read)

    def _client(self, callback: str) -> Any:
        known = self.registration
        return OAuth2Client(
            None,
            client_id=known.client_id,
            client_secret=None if known.client_secret is None else known.client_secret.reveal(),
            scope=known.scopes,
            redirect_uri=callback,
            code_challenge_method="S256",
        )

    def _derived(self, part: str, flow: Secret) -> str:
        return self._session_keys.derived(f"openid-{part}", flow)

    def _untrue(self, why: str) -> OpenIdFailed:
        """Return what is said of an answer that proves nothing. Why is for the operator."""
        log.warning("openid.untrue", extra={"why": why})
        return OpenIdFailed(f"What {self.registration.name} has answered does not prove who you are. Begin again.")

    def _unavailable(self, why: str) -> OpenIdUnavailable:
        log.warning("openid.unavailable", extra={"issuer": self.registration.issuer, "why": why})
        return OpenIdUnavailable(
            f"{self.registration.name} cannot be asked now. Try again in a moment, or sign in in another way.",
            retry_after_s=int(_PAUSE_S),
        )


def _read(answer: bytes, kind: type[T]) -> T | None:
    """Return an answer as what it should be, or None where it is not."""
    try:
        return msgspec.json.decode(answer, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _usable(key: dict[str, Any]) -> list[Key]:
    """Return a key that may have signed; of a kind that is not known here, nothing."""
    if key.get("use", "sig") != "sig" or key.get("kty") not in ("RSA", "EC"):
        return []
    try:
        return [import_key(key)]
    except (JoseError, ValueError, TypeError):
        return []


def _is_safe(address: str, issuer: str) -> bool:
    """Tell whether an address is protected as the issuer's is: what is on this machine may do without TLS, if all of it is."""
    return urlsplit(address).scheme in ("https", urlsplit(issuer).scheme) and bool(urlsplit(address).netloc)
