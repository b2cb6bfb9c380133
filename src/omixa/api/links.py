"""GET /results/{request}/{picture}: a picture by a signed link, and the links that answers carry.

A link leads to bytes that strangers may have had painted, so they are served in a way that no browser takes for a page or a
script, and nothing that a browser sends along, least of all a key, is looked at.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass

from omixa.access.links import Claim
from omixa.api import shapes
from omixa.api.address import public_address
from omixa.api.errors import Headers
from omixa.api.exchange import Exchange
from omixa.api.queries import LinkQuery, parse_query
from omixa.api.stored import require_stored
from omixa.domain.images import MEDIA_TYPES, Image
from omixa.domain.times import iso_time
from omixa.errors import BadLink, Gone, ResultNotFound
from omixa.gateway.replay import damaged
from omixa.gateway.results import BrokenResult
from omixa.gateway.run import Answer
from omixa.gateway.thumbnails import MEDIA_TYPE as THUMBNAIL_TYPE
from omixa.services import Services
from omixa.storage import prompts
from omixa.storage.database import Transaction
from omixa.usage import analytics
from omixa.usage.analytics import ResultPlace

PATH = "/results"
# Bytes of a picture that are handed to the connection at a time.
_PIECE_BYTES = 256 * 1024

_PICTURE = re.compile(r"(?P<index>\d{1,3})(?P<thumbnail>\.thumbnail)?\.(png|jpeg|webp)", re.ASCII)
_RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})", re.ASCII)

# Against browsers that would make something else of the bytes than a picture, also for errors on the same paths.
_SAFETY: Headers = [
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; sandbox"),
    (b"cross-origin-resource-policy", b"cross-origin"),
    (b"referrer-policy", b"no-referrer"),
]


# ----------------------------------------------------------------------------------------------------------------- making


def picture_links(exchange: Exchange, services: Services, answer: Answer) -> list[str]:
    """Return a link to each picture of an answer."""
    expires_s = _end(services, answer.kept_until_ms)
    return [
        _link(exchange, services, answer.request_id, f"{index}.{image.info.format}", expires_s)
        for index, image in enumerate(answer.images)
    ]


def _end(services: Services, kept_until_ms: int) -> int:
    return min(int(time.time()) + services.settings.links.lifetime_minutes * 60, kept_until_ms // 1000)


def _link(exchange: Exchange, services: Services, request_id: str, picture: str, expires_s: int) -> str:
    base = services.settings.links.base_url.rstrip("/") or public_address(exchange, services)
    return base + services.links.sign(f"{PATH}/{request_id}/{picture}", expires_s)


async def list_pictures(exchange: Exchange, services: Services) -> None:
    """Send what is kept of a request's pictures, with links to them and to small ones. Raises what a result can raise."""
    request_id, principal = exchange.path_parameters["request"], exchange.principal

    def read(tx: Transaction) -> tuple[ResultPlace | None, str | None]:
        place = analytics.find_result(tx, principal.workspace_id, principal.mode, request_id)
        if place is None or not principal.keeps_prompts:
            return place, None
        return place, prompts.find(tx, [request_id]).get(request_id)

    place, prompt = await services.database.read(read)
    stored = require_stored(place, request_id)
    try:
        images = await services.results.describe(request_id, stored.ref, stored.digest)
    except BrokenResult as error:
        raise damaged(request_id, stored.ref, error) from error
    expires_s = _end(services, stored.kept_until_ms)
    data = [
        shapes.StoredPicture(
            index=index,
            output_format=image.format,
            size=f"{image.width}x{image.height}",
            size_bytes=image.size_bytes,
            url=_link(exchange, services, request_id, f"{index}.{image.format}", expires_s),
            thumbnail_url=_link(exchange, services, request_id, f"{index}.thumbnail.webp", expires_s),
        )
        for index, image in enumerate(images)
    ]
    await exchange.respond_json(
        shapes.PictureList(
            data=data,
            request_id=request_id,
            prompt=prompt,
            links_expire_at=iso_time(expires_s * 1000),
            result_expires_at=iso_time(stored.kept_until_ms),
        )
    )


# ---------------------------------------------------------------------------------------------------------------- serving


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a link leads to, and until when, in Unix seconds. `name` is how the link calls the picture."""

    request_id: str
    name: str
    index: int
    is_thumbnail: bool
    expires_s: int


async def get_picture(exchange: Exchange, services: Services) -> None:
    """Send a picture to whoever has a link to it. Raises BadLink, Gone, or Overloaded."""
    exchange.further_headers = lambda: _SAFETY
    wanted = _wanted(exchange, services)
    with services.sending.slot():
        place = await services.database.read(lambda tx: analytics.find_linked_result(tx, wanted.request_id))
        if place is None or place.ref is None or place.digest is None or place.expires_at_ms is None:
            services.thumbnails.forget(wanted.request_id)
            raise _gone(place)
        tag = f'"{place.digest[:32]}-{wanted.index}{"-thumbnail" if wanted.is_thumbnail else ""}"'
        caching = _caching(tag, min(wanted.expires_s, place.expires_at_ms // 1000))
        if _matches(exchange.header(b"if-none-match"), tag):
            await exchange.start(304, [(b"x-request-id", exchange.id.encode()), *caching])
            await exchange.send(b"", more=False)
            return
        image = await _load(services, wanted, place.ref, place.digest)
        await _send(exchange, wanted, image, tag, caching)


def _wanted(exchange: Exchange, services: Services) -> _Wanted:
    query = parse_query(exchange, LinkQuery)
    request_id, picture = exchange.path_parameters["request"], exchange.path_parameters["picture"]
    claim = Claim(f"{PATH}/{request_id}/{picture}", query.expires or None, query.signature or None)
    expires_s = services.links.check(claim, now_s=int(time.time()))
    found = _PICTURE.fullmatch(picture)
    if found is None:
        # Signed by another version of this server.
        raise BadLink("This link is none that this server makes.")
    return _Wanted(request_id, picture, int(found["index"]), found["thumbnail"] is not None, expires_s)


def _gone(place: ResultPlace | None) -> Gone | ResultNotFound:
    """Return why there is no picture; what it was charged is nobody's business who has a link."""
    if place is None:
        return ResultNotFound("There is no picture here any more.")
    if place.deleted_at_ms is not None:
        return Gone("The picture was deleted.", code="result_deleted")
    return Gone("The picture is no longer kept.")


async def _load(services: Services, wanted: _Wanted, ref: str, digest: str) -> Image:
    try:
        if wanted.is_thumbnail:
            return await services.thumbnails.get(wanted.request_id, ref, digest, wanted.index)
        return await services.results.picture(wanted.request_id, ref, digest, wanted.index)
    except BrokenResult as error:
        # Somebody may have deleted it since the ledger was asked.
        place = await services.database.read(lambda tx: analytics.find_linked_result(tx, wanted.request_id))
        if place is None or place.ref is None:
            raise _gone(place) from error
        raise damaged(wanted.request_id, ref, error) from error


def _caching(tag: str, until_s: int) -> Headers:
    """Return the headers by which a browser keeps a picture as long as it may, and shared caches not at all.

    The bytes behind a link never change; what is deleted here must not live on in caches of others.
    """
    seconds = max(until_s - int(time.time()), 0)
    return [(b"etag", tag.encode()), (b"cache-control", f"private, max-age={seconds}, immutable".encode())]


def _matches(header: str | None, tag: str) -> bool:
    """Tell whether If-None-Match names a tag (RFC 9110, 13.1.2)."""
    given = [one.strip().removeprefix("W/") for one in (header or "").split(",")]
    return tag in given or given == ["*"]


async def _send(exchange: Exchange, wanted: _Wanted, image: Image, tag: str, caching: Headers) -> None:
    data = memoryview(image.data)
    part = _part(exchange, len(data), tag)
    media_type = THUMBNAIL_TYPE if wanted.is_thumbnail else MEDIA_TYPES[image.info.format]
    headers: Headers = [
        (b"content-type", media_type.encode()),
        (b"content-length", str(len(part)).encode()),
        (b"content-disposition", f'inline; filename="{wanted.request_id}-{wanted.name}"'.encode()),
        (b"x-request-id", exchange.id.encode()),
        (b"accept-ranges", b"bytes"),
        (b"access-control-allow-origin", b"*"),
        *caching,
    ]
    if len(part) < len(data):
        headers.append((b"content-range", f"bytes {part.start}-{part.stop - 1}/{len(data)}".encode()))
    await exchange.start(206 if len(part) < len(data) else 200, headers)
    if exchange.scope["method"] != "HEAD":
        for piece in _pieces(data[part.start : part.stop]):
            await exchange.send(piece, more=True)
    await exchange.send(b"", more=False)


def _part(exchange: Exchange, size: int, tag: str) -> range:
    """Return which bytes are asked for: one stretch, or all where the range is of several, of none, or of another picture.

    A server may leave a range out of account (RFC 9110, 14.2), and then nobody has to handle 416.
    """
    everything = range(size)
    found = _RANGE.fullmatch(exchange.header(b"range") or "")
    if found is None or exchange.header(b"if-range") not in (None, tag):
        return everything
    first, last = found.groups()
    if first:
        part = range(int(first), min(int(last) + 1 if last else size, size))
    else:
        part = range(max(size - int(last), 0), size) if last else everything
    return part if len(part) else everything


def _pieces(data: memoryview) -> Iterator[memoryview]:
    for start in range(0, len(data), _PIECE_BYTES):
        yield data[start : start + _PIECE_BYTES]
