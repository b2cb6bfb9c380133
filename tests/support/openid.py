"""OpenID providers on loopback: a certified one, and one that lies as a test wants it to."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from joserfc import jwt
from joserfc.jwk import OctKey, RSAKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from omixa.config import OpenIdSettings
from omixa.domain.access import Secret
from tests.support.clients import NODE, ROOT, environment, missing
from tests.support.servers import Gateway, running_app

CERTIFIED = "oidc_provider"
CLIENT, CLIENT_SECRET = "omixa", "a secret of the client"
BACK = "/sign-in/openid/back"


def options(issuer: str, **more: Any) -> OpenIdSettings:
    """Return options of a gateway that is registered at a provider."""
    return OpenIdSettings(issuer=issuer, client_id=CLIENT, client_secret=Secret(CLIENT_SECRET), **more)


def why_not() -> str | None:
    """Return what must be done before the certified provider can be run, or None."""
    return missing(CERTIFIED)


@dataclass
class CertifiedProvider:
    """The provider of `oidc-provider`, in a process."""

    process: subprocess.Popen[str]
    port: int

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def register(self, gateway: Gateway) -> None:
        """Make a gateway a client of it."""
        self._tell(
            client={
                "client_id": CLIENT,
                "client_secret": CLIENT_SECRET,
                "redirect_uris": [gateway.url + BACK],
                "post_logout_redirect_uris": [f"{gateway.url}/sign-in"],
            }
        )

    def know(self, accounts: Mapping[str, Mapping[str, object]]) -> None:
        """Say who has an account, by its subject, with its claims."""
        self._tell(accounts=accounts)

    def _tell(self, **told: object) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(told) + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"


@contextmanager
def running_certified_provider() -> Iterator[CertifiedProvider]:
    """Run it."""
    script = ROOT / "tests" / "clients" / CERTIFIED / "server.mjs"
    process = subprocess.Popen(
        [NODE, script],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with process:
        assert process.stdout is not None
        try:
            yield CertifiedProvider(process, int(process.stdout.readline()))
        finally:
            process.kill()


def _claims(provider: LyingProvider, nonce: str, access_token: str) -> dict[str, Any]:
    half = hashlib.sha256(access_token.encode()).digest()[:16]
    return {
        "iss": provider.issuer,
        "sub": provider.subject,
        "aud": CLIENT,
        "exp": int(time.time()) + 300,
        "iat": int(time.time()),
        "nonce": nonce,
        "at_hash": base64.urlsafe_b64encode(half).decode().rstrip("="),
        "email": provider.email,
        "email_verified": True,
    }


@dataclass
class LyingProvider:
    """A provider that is right until one of its parts is replaced. It signs everybody in at once, as the same person."""

    issuer: str = ""
    subject: str = "subject-1"
    email: str = "ada@example.org"
    # Changes of what it would say: of its own description, of the claims, of the token as a whole.
    describe: Callable[[dict[str, Any]], dict[str, Any]] = lambda told: told
    claim: Callable[[dict[str, Any]], dict[str, Any]] = lambda claims: claims
    sign: Callable[[LyingProvider, dict[str, Any]], str] | None = None
    # What the token endpoint answers instead of tokens.
    token_answer: Response | None = None
    user_info: Mapping[str, object] | None = None
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "a", "use": "sig"}))
    published: list[RSAKey] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    nonces: dict[str, tuple[str, str]] = field(default_factory=dict)

    def signed(self, claims: dict[str, Any], key: RSAKey | None = None, **header: str) -> str:
        """Return a token."""
        return jwt.encode({"alg": "RS256", "kid": "a", **header}, claims, key or self.key)

    def signed_with_the_client_secret(self, claims: dict[str, Any]) -> str:
        return jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(CLIENT_SECRET), algorithms=["HS256"])

    def unsigned(self, claims: dict[str, Any]) -> str:
        parts = ({"alg": "none"}, claims)
        encoded = (base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)
        return ".".join(encoded) + "."

    async def configuration(self, request: Request) -> Response:
        self.asked.append("configuration")
        told = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "userinfo_endpoint": f"{self.issuer}/me",
        }
        return JSONResponse(self.describe(told))

    async def keys(self, request: Request) -> Response:
        self.asked.append("keys")
        return JSONResponse({"keys": [key.as_dict(private=False) for key in self.published or [self.key]]})

    async def authorize(self, request: Request) -> Response:
        query = request.query_params
        assert (query["client_id"], query["response_type"]) == (CLIENT, "code")
        assert query["code_challenge_method"] == "S256"
        code = f"code-{len(self.nonces)}"
        self.nonces[code] = (query["nonce"], query["code_challenge"])
        return RedirectResponse(f"{query['redirect_uri']}?code={code}&state={query['state']}&iss={self.issuer}")

    async def token(self, request: Request) -> Response:
        self.asked.append("token")
        if self.token_answer is not None:
            return self.token_answer
        basic = base64.b64encode(f"{CLIENT}:{CLIENT_SECRET}".encode()).decode()
        assert request.headers["authorization"] == f"Basic {basic}"
        form = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        nonce, challenge = self.nonces.pop(form["code"], ("", ""))
        proof = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest())
        if proof.decode().rstrip("=") != challenge:
            return JSONResponse({"error": "invalid_grant"}, 400)
        claims = self.claim(_claims(self, nonce, "an access token"))
        token = self.signed(claims) if self.sign is None else self.sign(self, claims)
        return JSONResponse({"access_token": "an access token", "token_type": "Bearer", "id_token": token})

    async def me(self, request: Request) -> Response:
        self.asked.append("me")
        assert request.headers["authorization"] == "Bearer an access token"
        return JSONResponse(self.user_info or {})


@contextmanager
def running_lying_provider() -> Iterator[LyingProvider]:
    """Run a provider in this process."""
    provider = LyingProvider()
    app = Starlette(
        routes=[
            Route("/.well-known/openid-configuration", provider.configuration),
            Route("/keys", provider.keys),
            Route("/authorize", provider.authorize),
            Route("/token", provider.token, methods=["POST"]),
            Route("/me", provider.me),
        ]
    )
    with running_app(app) as address:
        provider.issuer = address
        yield provider
