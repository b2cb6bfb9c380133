"""One HTTP exchange in terms of ASGI: read a bounded body in bounded time, send an answer in pieces without joining it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from starlette.types import Message, Receive, Scope, Send

from omixa.api.errors import Headers
from omixa.domain.access import Member, Principal
from omixa.errors import ClientGone, InvalidRequest, RequestTimeout, TooLarge, UnsupportedMediaType
from omixa.limits.bodies import ByteLease


class Exchange:
    """A request and the answer to it. `id` names both in headers, bodies and logs."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
        self.scope = scope
        self.id = request_id
        self.started = False
        self.ended = False
        # False while bytes of the body may still come, so that the connection cannot carry another request.
        self.body_complete = scope["method"] in ("GET", "HEAD")
        # Asked once, when the answer begins, for headers that stand on whatever is answered.
        self.further_headers: Callable[[], Headers] = list
        self._principal: Principal | None = None
        self._member: Member | None = None
        # Whom the audit log names, where an operator asks.
        self.operator = ""
        self._kept_body: bytes | None = None
        self._receive = receive
        self._send = send
        self._headers: dict[bytes, bytes] = dict(scope["headers"])

    def header(self, name: bytes) -> str | None:
        """Return a request header by its lower-case name; bytes outside Latin-1 cannot occur."""
        value = self._headers.get(name)
        return None if value is None else value.decode("latin-1")

    def sole_header(self, name: str) -> str | None:
        """Return a request header that must not contradict itself. Raises InvalidRequest when it is given more than once."""
        key = name.lower().encode()
        if key in self._headers and [given for given, _ in self.scope["headers"]].count(key) > 1:
            raise InvalidRequest(f"{name} is given more than once.", param=name)
        return self.header(key)

    @property
    def principal(self) -> Principal:
        """Return who asks; only operations that authenticate have one."""
        assert self._principal is not None, "this operation does not authenticate"
        return self._principal

    @principal.setter
    def principal(self, principal: Principal) -> None:
        self._principal = principal

    @property
    def member(self) -> Member:
        """Return for whom the key acts; only operations whose action takes a scope have one."""
        assert self._member is not None, "this operation takes no scope"
        return self._member

    @member.setter
    def member(self, member: Member) -> None:
        self._member = member

    @property
    def target(self) -> bytes:
        """Return the path and, behind a question mark, the query, as they stand in the request line."""
        query: bytes = self.scope["query_string"]
        path: bytes = self.scope["raw_path"]
        return path + b"?" + query if query else path

    @property
    def path_parameters(self) -> dict[str, Any]:
        """Return what the route found in the path."""
        parameters: dict[str, Any] = self.scope["path_params"]
        return parameters

    def require_media_type(self, *accepted: str) -> str:
        """Return of which of the accepted types the body says it is; the last where it says nothing.

        Raises UnsupportedMediaType when it says that it is something else.
        """
        media_type = (self.header(b"content-type") or accepted[-1]).partition(";")[0].strip().lower()
        if media_type not in accepted:
            raise UnsupportedMediaType(
                f"Send the body as {' or '.join(accepted)} and say so in the header Content-Type, which says"
                f' "{media_type[:80]}".',
                param="Content-Type",
            )
        return media_type

    async def read_body(self, *, limit: int, timeout_s: float, lease: ByteLease) -> bytes:
        """Return the whole body.

        Raises UnsupportedMediaType when it is compressed, TooLarge, RequestTimeout, Overloaded, or InvalidRequest when it is
        cut short.
        """
        pieces: list[bytes] = []
        await self.pass_body(pieces.append, limit=limit, timeout_s=timeout_s, lease=lease)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def pass_body(self, take: Callable[[bytes], None], *, limit: int, timeout_s: float, lease: ByteLease) -> int:
        """Give the body away piece by piece and return its length. Raises what `read_body` and `take` raise."""
        if self._kept_body is not None:
            body, self._kept_body = self._kept_body, None
            lease.take(len(body))
            take(body)
            return len(body)
        encoding = self.header(b"content-encoding") or "identity"
        if encoding.strip().lower() != "identity":
            # A few kilobytes would become gigabytes, and pictures are compressed already.
            raise UnsupportedMediaType(
                f'Send the body as it is, not compressed; Content-Encoding says "{encoding[:80]}".',
                param="Content-Encoding",
            )
        announced = self._content_length()
        if announced is not None and announced > limit:
            raise _too_large(limit)
        try:
            async with asyncio.timeout(timeout_s):
                size = await self._pass_pieces(take, limit, lease)
        except TimeoutError as error:
            raise RequestTimeout(f"The body did not arrive within {timeout_s:g} seconds.") from error
        if announced is not None and size != announced:
            raise InvalidRequest("The body is shorter than its Content-Length says.", code="truncated_body")
        return size

    def keep_body(self, body: bytes) -> None:
        """Keep a body that was read early for whoever reads it next."""
        self._kept_body = body

    async def _pass_pieces(self, take: Callable[[bytes], None], limit: int, lease: ByteLease) -> int:
        size = 0
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone("The client left before its request was complete.")
            piece: bytes = message.get("body", b"")
            size += len(piece)
            if size > limit:
                raise _too_large(limit)
            lease.take(len(piece))
            if not message.get("more_body", False):
                self.body_complete = True
            take(piece)
            if self.body_complete:
                return size

    def _content_length(self) -> int | None:
        text = self.header(b"content-length")
        return int(text) if text is not None and text.isdigit() else None

    async def disconnected(self) -> None:
        """Wait until the client leaves. Call it only after the body was read."""
        while True:
            message: Message = await self._receive()
            if message["type"] == "http.disconnect":
                return

    async def start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Send the status line and headers."""
        self.started = True
        await self._send(
            {"type": "http.response.start", "status": status, "headers": [*headers, *self.further_headers()]}
        )

    async def send(self, piece: bytes | memoryview, *, more: bool) -> None:
        """Send a piece of the body; waits while the client is slow."""
        self.ended = not more
        await self._send({"type": "http.response.body", "body": piece, "more_body": more})

    async def respond_json(self, value: object) -> None:
        """Send a value as JSON."""
        await self.respond(200, b"application/json", msgspec.json.encode(value), [])

    async def respond(self, status: int, content_type: bytes, body: bytes, headers: Headers) -> None:
        """Send a whole answer."""
        head = [
            (b"content-type", content_type),
            (b"content-length", str(len(body)).encode()),
            (b"x-request-id", self.id.encode()),
            *headers,
        ]
        await self.start(status, head)
        await self.send(b"" if self.scope["method"] == "HEAD" else body, more=False)


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"The body is over {limit} bytes, the largest that is accepted.")
