"""Files that pages name, each at an address with the hash of its content, so that a browser may keep it for ever."""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

FOLDER = "static"
# Enough to tell the versions of one file apart.
_DIGITS = 10
_MEDIA_TYPES: Mapping[str, str] = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "webp": "image/webp",
    "woff2": "font/woff2",
}
# Formats that are compressed already.
_PACKED = frozenset({"webp", "woff2"})
_STYLE_URL = re.compile(r'url\("([^"/]+)"\)')
_IMPORT = re.compile(r'(?<= from "\./)([a-z-]+\.js)(?=";)')


@dataclass(frozen=True, slots=True)
class Asset:
    """One file. `path` is its address below the root; `gzipped` is None where compression would gain nothing."""

    path: str
    media_type: str
    body: bytes
    gzipped: bytes | None


class Assets:
    """All files of the folders `static` and `vendor`, by their plain names."""

    def __init__(self) -> None:
        here = files("omixa.web")
        found = dict(_contents(here / "vendor")) | dict(_contents(here / FOLDER))
        self._by_name: dict[str, Asset] = {}
        for name in found:
            self._add(name, found)
        self._by_path = {asset.path: asset for asset in self._by_name.values()}

    def path(self, name: str) -> str:
        """Return the address of a file below the root. Raises KeyError for a name that no file has."""
        return self._by_name[name].path

    def has(self, name: str) -> bool:
        """Tell whether there is such a file."""
        return name in self._by_name

    def at(self, path: str) -> Asset | None:
        """Return the file at an address, if there is one."""
        return self._by_path.get(path)

    def _add(self, name: str, found: Mapping[str, bytes]) -> None:
        """Add a file, and before it those that it names: their addresses stand in it. No two scripts import each other."""
        if name in self._by_name:
            return
        names = {"css": _STYLE_URL, "js": _IMPORT}.get(name.rpartition(".")[2])
        body = found[name]
        if names is not None:

            def address(match: re.Match[str]) -> str:
                self._add(match[1], found)
                return match[0].replace(match[1], self.path(match[1]).removeprefix(FOLDER + "/"))

            body = names.sub(address, body.decode()).encode()
        self._by_name[name] = _asset(name, body)


def _contents(folder: Traversable) -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        if entry.is_file() and entry.name.rpartition(".")[2] in _MEDIA_TYPES:
            yield entry.name, entry.read_bytes()


def _asset(name: str, body: bytes) -> Asset:
    stem, _, kind = name.rpartition(".")
    digest = hashlib.sha256(body).hexdigest()[:_DIGITS]
    gzipped = None if kind in _PACKED else gzip.compress(body, mtime=0)
    return Asset(f"{FOLDER}/{stem}.{digest}.{kind}", _MEDIA_TYPES[kind], body, gzipped)
