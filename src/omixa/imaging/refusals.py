"""Why bytes cannot be taken as a picture."""

from __future__ import annotations


class UnacceptableImage(ValueError):
    """Bytes that cannot be taken as a picture. `reason_code` is a stable word, `message` a clause for the caller."""

    def __init__(self, reason_code: str, message: str) -> None:
        super().__init__(message)
        self.reason_code = reason_code
        self.message = message


def truncated(kind: str, detail: str) -> UnacceptableImage:
    """Return the refusal of a file that ends too early."""
    return UnacceptableImage("truncated_image", f"the {kind} is truncated: {detail}")


def damaged(kind: str, detail: str) -> UnacceptableImage:
    """Return the refusal of a file whose structure is wrong."""
    return UnacceptableImage("invalid_image", f"the {kind} is damaged: {detail}")


def followed(kind: str, extra_bytes: int) -> UnacceptableImage:
    """Return the refusal of a file that goes on after its end."""
    return UnacceptableImage(
        "invalid_image", f"the {kind} is followed by {extra_bytes:,} bytes that do not belong to it; save it again"
    )


def unsupported(kind: str, detail: str) -> UnacceptableImage:
    """Return the refusal of a rare variant that decoders disagree about."""
    return UnacceptableImage("unsupported_image_format", f"the {kind} {detail}, which is not supported; save it again")


def animated(kind: str) -> UnacceptableImage:
    """Return the refusal of more than one frame."""
    return UnacceptableImage("animated_image", f"the {kind} is animated; send a single picture")
