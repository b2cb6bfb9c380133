"""What a picture is made from."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Commission:
    """All that decides a picture: the same commission gives the same bytes.

    `size` is in pixels; without one, a new picture is 1024x1024 and an edit has its first reference's own size. `variant`
    tells pictures of one prompt apart. `references` are encoded pictures to rework; `mask` is a PNG as large as the first one,
    which alone may change, where it is fully transparent. `previews` says how many pictures in the making are wanted before the
    finished one.
    """

    prompt: str
    size: tuple[int, int] | None = None
    variant: int = 0
    references: tuple[bytes, ...] = ()
    mask: bytes | None = None
    transparent: bool = False
    previews: int = 0
