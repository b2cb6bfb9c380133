"""Requests for pages: which one, in which form, with which headers."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import logging
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, unquote

import msgspec
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from omixa.api.address import public_address
from omixa.api.endpoint import refuse
from omixa.api.errors import Headers
from omixa.api.exchange import Exchange
from omixa.domain.ids import new_id
from omixa.errors import InternalError, OmixaError
from omixa.services import Services
from omixa.web.cost import cost
from omixa.web.health import Board
from omixa.web.own import find_reader
from omixa.web.page import Page
from omixa.web.playground import Programs
from omixa.web.site import Form, Site
from omixa.web.writing import BASE, OWN_KEY, OWN_KEYS

log = logging.getLogger(__name__)

PATHS: Final = (
    "/",
    "/docs",
    "/docs.md",
    "/docs/{rest:path}",
    "/playground",
    "/playground.md",
    "/static/{rest:path}",
    "/llms.txt",
    "/llms-full.txt",
)
CODE_PATH: Final = "/playground/code"
"""Where the playground's script posts what is filled in."""

# Everything that a page is made of comes from this server, and nothing of it stands in the page itself.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
PLAYGROUND_POLICY: Final = POLICY.replace("img-src 'self'", "img-src 'self' blob:")
"""For pages that show pictures from the browser's own memory: what a reader dropped there, and what a stream brought."""
_SAFETY: Final[Headers] = [
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
    (b"referrer-policy", b"same-origin"),
    (b"x-content-type-options", b"nosniff"),
]
SECURITY: Final[Headers] = [(b"content-security-policy", POLICY.encode()), *_SAFETY]
_WITH_OWN_PICTURES: Final[Headers] = [(b"content-security-policy", PLAYGROUND_POLICY.encode()), *_SAFETY]
_HTML: Final = b"text/html; charset=utf-8"
_MARKDOWN: Final = b"text/markdown; charset=utf-8"
_TEXT: Final = b"text/plain; charset=utf-8"
_TWIN: Final = ".md"
_JSON: Final = b"application/json"
_LISTS: Final[Mapping[str, bytes]] = {"llms.txt": _TEXT, "llms-full.txt": _TEXT, "docs/search.json": _JSON}
# Compressed pages that are kept, some ten kilobytes each.
_MAX_PACKED: Final = 256
# Deeper than any page is.
_MAX_DEPTH: Final = 8
# Smaller answers are not worth compressing.
_MIN_GZIP_BYTES: Final = 1024


class Pages:
    """The ASGI application of all pages and of what they are made of."""

    def __init__(self, site: Site, services: Services) -> None:
        self._site = site
        self._services = services
        self._board = Board(services)
        self._programs = Programs(services)
        # The least recently used one comes first.
        self._packed_by_tag: dict[str, bytes] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        exchange = Exchange(scope, receive, send, new_id("req"))
        path = _path(scope, self._services.settings.public_path)
        try:
            if path.startswith("static/"):
                await self._send_asset(exchange, path)
            elif path in _LISTS:
                headers = [(b"vary", b"accept-encoding"), (b"cache-control", b"no-cache")]
                await self._send_kept(exchange, path, "list", _LISTS[path], headers)
            elif path.startswith("docs/models/") and path.endswith(("/cost", "/health")):
                await self._send_answer(exchange, path)
            elif path == CODE_PATH.removeprefix("/"):
                await self._send_json(exchange, await self._programs.code(exchange))
            else:
                await self._send_page(exchange, path)
        except HTTPException:
            raise
        except OmixaError as error:
            await refuse(exchange, error)
        except Exception:
            log.exception("page.failed", extra={"request_id": exchange.id, "path": path[:200]})
            if exchange.started:
                raise
            await refuse(exchange, InternalError(f"Omixa failed on request {exchange.id}."))

    async def _send_page(self, exchange: Exchange, path: str) -> None:
        if path.count("/") > _MAX_DEPTH:
            # Every link of a page has the whole way to the root in it.
            raise HTTPException(404)
        page, form = self._find(exchange, path)
        if page is None:
            other = self._elsewhere(path)
            if other is not None:
                target = "../" * path.count("/") + other
                await exchange.respond(308, _TEXT, b"", [*SECURITY, (b"location", target.encode())])
                return
            missing = self._with_base(exchange, self._site.not_found(path))
            await exchange.respond(404, _HTML, missing, list(SECURITY))
            return
        own = await self._own_keys(exchange, page) if page.model and form == "html" else {}
        headers: Headers = [
            (b"vary", b"accept, accept-encoding, cookie" if own else b"accept, accept-encoding"),
            (b"cache-control", b"private, no-cache" if any(own.values()) else b"no-cache"),
        ]
        if form == "html" and page.text:
            twin = f"{'../' * page.path.count('/') or './'}{page.path}{_TWIN}"
            headers.append((b"link", f'<{twin}>; rel="alternate"; type="text/markdown"'.encode()))
        security = _WITH_OWN_PICTURES if page.shows_own_pictures else SECURITY
        media_type = _HTML if form == "html" else _MARKDOWN
        await self._send_kept(exchange, page.path, form, media_type, headers, security, own)

    async def _own_keys(self, exchange: Exchange, page: Page) -> Mapping[str, str]:
        """Return what stands on a model's page for this reader alone, by the mark of its place: nothing for most."""
        reader = await find_reader(exchange, self._services, page.model)
        return {OWN_KEYS: "", OWN_KEY: ""} if reader is None else self._site.own_keys(page, reader)

    def _find(self, exchange: Exchange, path: str) -> tuple[Page | None, Form]:
        """Return the page, and in which form it is wanted: by the end of its name, or else by what the client accepts."""
        page = self._site.page(path)
        if page is None and path.endswith(_TWIN):
            page = self._site.page(path.removesuffix(_TWIN))
            return (page, "markdown") if page is not None and page.text else (None, "html")
        wanted = (exchange.header(b"accept") or "").lower()
        as_text = "text/markdown" in wanted and "text/html" not in wanted
        return page, "markdown" if as_text and page is not None and page.text else "html"

    def _elsewhere(self, path: str) -> str | None:
        """Return the address of the page that a name in other letters, or a slash too many, stands for."""
        twin = _TWIN if path.endswith(_TWIN) else ""
        wanted = path.removesuffix(_TWIN).rstrip("/").lower()
        found = (page.path for page in self._site.pages if page.path.lower() == wanted and page.path)
        return next((one + twin for one in found), None)

    async def _send_answer(self, exchange: Exchange, path: str) -> None:
        """Answer what the script of a model's page asks."""
        name, _, question = path.removeprefix("docs/models/").rpartition("/")
        seller = self._site.sellers.get(unquote(name))
        if seller is None:
            raise HTTPException(404)
        answer = (
            cost(exchange, seller, self._site.today) if question == "cost" else await self._board.health(seller.model)
        )
        await self._send_json(exchange, answer)

    async def _send_json(self, exchange: Exchange, answer: msgspec.Struct) -> None:
        await exchange.respond(200, _JSON, msgspec.json.encode(answer), [*SECURITY, (b"cache-control", b"no-store")])

    async def _send_asset(self, exchange: Exchange, path: str) -> None:
        asset = self._site.assets.at(path)
        if asset is None:
            raise HTTPException(404)
        headers: Headers = [*SECURITY, (b"cache-control", b"public, max-age=31536000, immutable")]
        body = asset.body
        if asset.gzipped is not None:
            headers.append((b"vary", b"accept-encoding"))
            if _takes_gzip(exchange):
                body = asset.gzipped
                headers.append((b"content-encoding", b"gzip"))
        await exchange.respond(200, asset.media_type.encode(), body, headers)

    async def _send_kept(
        self,
        exchange: Exchange,
        path: str,
        form: Form,
        media_type: bytes,
        headers: Headers,
        security: Headers = SECURITY,
        own: Mapping[str, str] | None = None,
    ) -> None:
        body = self._site.kept(path, form)
        if body is None:
            # It takes some milliseconds, in which others should be served.
            body = await asyncio.to_thread(self._site.render, path, form)
        body = self._with_base(exchange, body)
        for mark, text in (own or {}).items():
            body = body.replace(mark.encode(), text.encode())
        tag = f'"{hashlib.sha256(body).hexdigest()[:20]}"'
        headers = [*security, *headers, (b"etag", tag.encode())]
        if exchange.header(b"if-none-match") == tag:
            await exchange.start(304, headers)
            await exchange.send(b"", more=False)
            return
        if len(body) >= _MIN_GZIP_BYTES and _takes_gzip(exchange):
            body = self._packed(tag, body)
            headers.append((b"content-encoding", b"gzip"))
        await exchange.respond(200, media_type, body, headers)

    def _packed(self, tag: str, body: bytes) -> bytes:
        """Return a body compressed. The last ones are kept: a page is compressed once for each name of its server."""
        packed = self._packed_by_tag.pop(tag, None) or gzip.compress(body, mtime=0)
        self._packed_by_tag[tag] = packed
        if len(self._packed_by_tag) > _MAX_PACKED:
            del self._packed_by_tag[next(iter(self._packed_by_tag))]
        return packed

    def _with_base(self, exchange: Exchange, body: bytes) -> bytes:
        return body.replace(BASE.encode(), public_address(exchange, self._services).encode())


def _path(scope: Scope, prefix: str) -> str:
    """Return the address below the root, each step of it written in one way: two clients may escape different letters."""
    raw = scope["raw_path"].decode("latin-1")
    below = raw.removeprefix(prefix) if raw.startswith(f"{prefix}/") else raw
    return "/".join(quote(unquote(step), safe="") for step in below.removeprefix("/").split("/"))


def _takes_gzip(exchange: Exchange) -> bool:
    return "gzip" in (exchange.header(b"accept-encoding") or "")
