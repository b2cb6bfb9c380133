"""A stand-in on loopback for the endpoint that gives a managed identity its tokens."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from aiohttp import web

from tests.support.servers import LoopThread

HEADER = "header-secret-of-the-identity-endpoint"
SCOPE = "https://cognitiveservices.azure.com"


@dataclass
class IdentityEndpoint:
    """Where App Service gives tokens: `token`, or else token-1, token-2 and so on, each for `lifetime_s`.

    With a `status` above 299 it gives none.
    """

    port: int = 0
    lifetime_s: int = 86_400
    token: str | None = None
    status: int = 200
    # While it is set, answers wait for `release`.
    holds: bool = False
    asked: list[dict[str, str]] = field(default_factory=list)
    given: int = 0
    _go: asyncio.Event = field(default_factory=asyncio.Event)
    _loop: asyncio.AbstractEventLoop | None = None

    def release(self) -> None:
        """Let everybody have an answer who waits for one."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._go.set)

    @property
    def variables(self) -> dict[str, str]:
        """Return what the platform puts into the environment of a process that has an identity."""
        return {"IDENTITY_ENDPOINT": f"http://127.0.0.1:{self.port}/msi/token", "IDENTITY_HEADER": HEADER}

    async def take(self, asked: web.Request) -> web.Response:
        self.asked.append({**asked.query, "header": asked.headers.get("X-IDENTITY-HEADER", "")})
        if self.holds:
            await self._go.wait()
        if asked.headers.get("X-IDENTITY-HEADER") != HEADER:
            return web.json_response({"statusCode": 401, "message": "who are you?"}, status=401)
        if self.status > 299:
            return web.json_response({"statusCode": self.status, "message": "not now"}, status=self.status)
        self.given += 1
        ends = int(time.time()) + self.lifetime_s
        token = self.token or f"token-{self.given}-of-a-managed-identity"
        told = {"access_token": token, "token_type": "Bearer", "resource": asked.query["resource"]}
        return web.json_response({**told, "expires_on": str(ends)})


@contextlib.contextmanager
def running_identity_endpoint() -> Iterator[IdentityEndpoint]:
    """Run the endpoint on a loop of its own."""
    endpoint = IdentityEndpoint()

    async def serve(thread: LoopThread) -> None:
        app = web.Application()
        app.router.add_get("/msi/token", endpoint.take)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        endpoint.port = runner.addresses[0][1]
        endpoint._loop = thread.loop
        thread.ready()
        await thread.stopped()
        await runner.cleanup()

    with LoopThread(serve):
        yield endpoint
