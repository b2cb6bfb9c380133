"""A provider that costs next to nothing: every POST gets the same prepared answer, at once or after a fixed time.

`PUT /<answer>/<seconds>` chooses the answer and how long the provider thinks, for all requests from then on. A fault can take an
answer's place: `429`, `503`, `poison` for a page that is no picture, `silence` for none at all.
"""

from __future__ import annotations

import asyncio
import sys

import uvloop

from bench.payloads import provider_answer
from bench.wire import BUFFER_BYTES, MessageProtocol
from bench.works import AnswerName

BACKLOG = 4096
_ANSWERS: tuple[AnswerName, ...] = ("8k", "1500k", "4000k")


class Provider:
    """What is answered now, and what can be."""

    def __init__(self) -> None:
        self.buffer = bytearray(BUFFER_BYTES)
        self._answers: dict[str, bytes] = {name: _response(provider_answer(name)) for name in _ANSWERS}
        self._answers |= {
            "429": _response(b"{}", status="429 Too Many Requests", further="retry-after: 2\r\n"),
            "503": _response(b"{}", status="503 Service Unavailable"),
            "poison": _response(b"<h1>Sign in</h1>", media_type="text/html"),
            "silence": b"",
        }
        self.answer = self._answers["8k"]
        self.latency_s = 0.0

    def choose(self, head: bytes) -> None:
        """Follow a PUT."""
        _, name, seconds = head.split(b" ")[1].decode().split("/")
        self.answer, self.latency_s = self._answers[name], float(seconds)


class ProviderConnection(MessageProtocol):
    """One connection of a client."""

    def __init__(self, provider: Provider) -> None:
        super().__init__(provider.buffer)
        self._provider = provider
        self._loop = asyncio.get_running_loop()

    def message_done(self, head: bytes) -> None:
        """Answer."""
        provider = self._provider
        if head.startswith(b"PUT "):
            provider.choose(head)
            self._send(_response(b"{}"))
        elif provider.latency_s:
            self._loop.call_later(provider.latency_s, self._send, provider.answer)
        else:
            self._send(provider.answer)

    def _send(self, answer: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(answer)


def _response(body: bytes, *, status: str = "200 OK", media_type: str = "application/json", further: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-type: {media_type}\r\nx-ms-request-id: bench\r\n{further}"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


async def serve(port: int) -> None:
    """Answer on a port of this machine until the process ends."""
    provider = Provider()
    server = await asyncio.get_running_loop().create_server(
        lambda: ProviderConnection(provider), "127.0.0.1", port, backlog=BACKLOG
    )
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
