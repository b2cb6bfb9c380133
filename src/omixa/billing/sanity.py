"""Can a picture have used what a provider reports for it? What cannot be never becomes money."""

from __future__ import annotations

from omixa.domain.images import ImageRequest, Usage
from omixa.domain.models import Model


def impossible(usage: Usage, model: Model, request: ImageRequest) -> str | None:
    """Return why one picture of a request cannot have used this, or None when it can.

    The bounds are those of the model's catalogue entry. Text is bounded by the context window and not by the prompt, because
    a provider may add words of its own; the hold bounds what that may cost the caller. Input may be zero; a picture that
    arrived was never made of nothing.
    """
    most_of = model.bounds.at(request.quality)
    bounds = {
        "input_text_tokens": (0, model.context_window_tokens),
        "input_image_tokens": (0, len(request.input_images) * most_of.input_image_tokens_max),
        "output_image_tokens": (1, most_of.output_image_tokens_max),
        "output_text_tokens": (0, most_of.output_text_tokens_max),
    }
    for name, (least, most) in bounds.items():
        count: object = getattr(usage, name)
        # By type, because a bool is an int too.
        if type(count) is not int or not least <= count <= most:
            return f"{name} is {_shown(count)}, and a picture of this request uses from {least} to {most}"
    return None


def surprising(usage: Usage, request: ImageRequest) -> str | None:
    """Return what is odd about a usage that is possible, for the operator, or None."""
    size = len(request.prompt.encode())
    if usage.input_text_tokens <= size:
        return None
    return f"{usage.input_text_tokens} text tokens were reported for a prompt of {size} bytes"


def _shown(count: object) -> str:
    # Turning a number of thousands of digits into text is slow, and Python refuses to.
    return "over 10^18" if isinstance(count, int) and count > 10**18 else repr(count)
