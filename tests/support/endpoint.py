"""A customer's endpoint for events on loopback: it remembers what it was told, and answers what a test says."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from aiohttp import web

from omixa.webhooks import Webhook
from tests.support.servers import LoopThread

KEY = b"0123456789abcdef01234567"


@dataclass(frozen=True)
class Told:
    """One request as it came."""

    headers: dict[str, str]
    body: bytes


@dataclass
class Endpoint:
    """Where it is, what it answers, and what came."""

    port: int = 0
    status: int = 204
    told: list[Told] = field(default_factory=list)

    def webhook(self) -> Webhook:
        return Webhook(f"http://127.0.0.1:{self.port}/events", KEY)

    async def take(self, asked: web.Request) -> web.Response:
        self.told.append(Told({name.lower(): value for name, value in asked.headers.items()}, await asked.read()))
        return web.Response(status=self.status, headers={"location": "/elsewhere"})


@contextlib.contextmanager
def running_endpoint() -> Iterator[Endpoint]:
    """Run an endpoint that takes everything at every path."""
    endpoint = Endpoint()

    async def serve(thread: LoopThread) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", endpoint.take)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        endpoint.port = runner.addresses[0][1]
        thread.ready()
        await thread.stopped()
        await runner.cleanup()

    with LoopThread(serve):
        yield endpoint
