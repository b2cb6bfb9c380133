"""What one page is."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from dataclasses import dataclass


def nothing(day: datetime.date) -> Mapping[str, object]:
    """Return no values."""
    return {}


@dataclass(frozen=True, slots=True)
class Page:
    """A page and its twin. `path` is its address below the root, without a slash in front.

    `text` is the template of the Markdown, empty where there is no twin; `html` that of the HTML, empty where the HTML is made
    from the Markdown. `values` returns what they show on a UTC day. `group` is the heading under which the page is listed, empty
    where it is not. `shows_own_pictures` says that its script shows pictures that are nowhere but in the browser's memory.
    `model` is the id of the model that the page is about; there, readers who have signed in find the names of their keys.
    """

    path: str
    title: str
    summary: str
    group: str
    text: str
    html: str
    values: Callable[[datetime.date], Mapping[str, object]] = nothing
    shows_own_pictures: bool = False
    model: str = ""
