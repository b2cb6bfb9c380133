"""What one endpoint is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from omixa.api.exchange import Exchange
from omixa.services import Services

Handler = Callable[[Exchange, Services], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Operation:
    """One row: a method and path, who answers, and what the API document says of it.

    `response` names a schema of api/openapi.py; `query` names query parameters described there.
    """

    id: str
    method: Literal["GET", "POST"]
    path: str
    handler: Handler
    summary: str
    response: str
    tag: str
    authenticated: bool = True
    query: tuple[str, ...] = ()
