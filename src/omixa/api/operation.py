"""What one endpoint is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from omixa.access.roles import Action
from omixa.api.exchange import Exchange
from omixa.api.queries import Query
from omixa.api.shapes import Shape
from omixa.errors import OmixaError
from omixa.services import Services

Handler = Callable[[Exchange, Services], Awaitable[None]]


def always(services: Services) -> bool:
    """Offer an operation on every gateway."""
    return True


@dataclass(frozen=True, slots=True)
class Operation:
    """One row: a method and path, who answers, and what the API document says of it.

    `response` is the shape of its answer, None for a document of another standard. `query` is what it takes after the
    question mark. `errors` are what it can raise beyond a missing key and faults of Omixa itself; a class stands for its
    subclasses too.

    `action` is what a key must be made for; where that takes a scope, the role of whom it acts for decides besides.
    `for_operators` marks what takes a token of the command line in place of a key.

    `spends` marks operations that hold money before they do anything, which checks the key once more. `takes_images` marks
    those whose body asks for pictures, and says in which words: those of generations, or those of edits, as a form too; `body` is
    the shape of another body. `is_offered` tells whether there is this path at all. `further_types` are media types in which
    the answer can be had besides JSON; `serves_pictures` marks those that answer with a picture instead.
    """

    id: str
    method: Literal["GET", "POST", "PATCH", "DELETE"]
    path: str
    handler: Handler
    summary: str
    response: type[Shape] | None
    tag: str
    authenticated: bool = True
    action: Action = "read"
    for_operators: bool = False
    spends: bool = False
    takes_images: Literal["generation", "edit"] | None = None
    body: type[Shape] | None = None
    is_offered: Callable[[Services], bool] = always
    query: type[Query] | None = None
    further_types: tuple[str, ...] = ()
    serves_pictures: bool = False
    errors: tuple[type[OmixaError], ...] = ()
