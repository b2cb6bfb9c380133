"""What a model's page says to a reader who has signed in: which of their keys call it.

It is put in when the page is sent, because all the rest of the page is kept for everybody. A key is named as in the console, and
nobody has its secret to show.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from omixa.access import store
from omixa.api.address import public_address
from omixa.api.exchange import Exchange
from omixa.domain.access import Mode
from omixa.errors import OmixaError
from omixa.gateway.people import Visitor
from omixa.services import Services
from omixa.storage.database import Transaction
from omixa.web.console.cookies import Place

log = logging.getLogger(__name__)

# As many as are worth reading beside each other.
_MAX_KEYS: Final = 5


@dataclass(frozen=True, slots=True)
class OwnKey:
    """A key of the reader. `path` leads to it below the root, `shown` is what may be seen of it."""

    name: str
    shown: str
    mode: Mode
    workspace: str
    path: str


@dataclass(frozen=True, slots=True)
class Reader:
    """Somebody who has signed in, and their keys that call a model, the newest first. `home` leads to the console."""

    keys: Sequence[OwnKey]
    home: str


async def find_reader(exchange: Exchange, services: Services, model: str) -> Reader | None:
    """Return who reads, None where nobody has signed in. Pages are there without the database too, and then for nobody."""
    token = Place(public_address(exchange, services)).read_cookie(exchange)
    if token is None:
        return None
    try:
        visitor = await services.people.visitor(token)
        if visitor is None:
            return None
        keys = await services.database.read(lambda tx: _keys(tx, visitor, model))
    except OmixaError as error:
        log.warning("reader.not_found", extra={"code": error.code})
        return None
    first = next((f"console/{one.workspace}/test/keys" for one in visitor.memberships), "console")
    return Reader(keys, first)


def _keys(tx: Transaction, visitor: Visitor, model: str) -> list[OwnKey]:
    found: list[OwnKey] = []
    for member in visitor.memberships:
        for key in store.list_keys(tx, member.workspace):
            if key.state(tx.now_ms()) == "active" and not key.scopes and (key.models is None or model in key.models):
                shown = f"omx_{key.mode}_…{key.last4}"
                path = f"console/{key.workspace}/{key.mode}/keys/{key.id}"
                found.append(OwnKey(key.name or shown, shown, key.mode, key.workspace, path))
                if len(found) == _MAX_KEYS:
                    return found
    return found
