"""What must add up in a catalogue beyond the shape of its files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from omixa.domain.images import PIXELS_PER_TOKEN
from omixa.domain.models import Model, Offer, Parameter, ParameterType, PriceList

# No model may take more reference pictures than this, whatever its file says.
MAX_INPUT_IMAGES = 16

# What a request carries to the provider. Every model describes these, if only to refuse them.
CARRIED: Mapping[str, ParameterType] = {
    "model": "string",
    "prompt": "string",
    "n": "integer",
    "size": "string",
    "quality": "string",
    "background": "string",
    "output_format": "string",
    "output_compression": "integer",
    "input_images": "images",
    "mask": "image",
    "stream": "boolean",
    "partial_images": "integer",
    "response_format": "string",
}
# What only some models describe, and a request carries for them; the offer says where the wire does too.
CARRIED_BY_SOME: Mapping[str, ParameterType] = {
    "scale": "integer",
    "moderation": "string",
    "input_fidelity": "string",
    "user": "string",
}
_MAY_BE_REQUIRED = frozenset({"model", "prompt", "input_images"})
_WITHOUT_DEFAULT = frozenset(
    {"model", "prompt", "output_compression", "input_images", "mask", "response_format", "input_fidelity", "user"}
)


def positive(number: int) -> int:
    """Return a number above zero. Raises ValueError otherwise."""
    if number <= 0:
        raise ValueError("must be above zero")
    return number


def check_parameter(parameter: Parameter) -> None:
    """Raise ValueError unless the limits, the default and the values of a parameter agree."""
    if parameter.type == "images" and not (parameter.refusal or 1 <= (parameter.maximum or 0) <= MAX_INPUT_IMAGES):
        raise ValueError(f"needs a maximum from 1 to {MAX_INPUT_IMAGES}")
    if parameter.type == "integer" and not parameter.accepted and None in (parameter.minimum, parameter.maximum):
        raise ValueError("needs a minimum and a maximum, or accepted values")
    if parameter.max_pixels is not None and parameter.type != "images":
        raise ValueError("only pictures have max_pixels")
    if parameter.minimum is not None and parameter.maximum is not None and parameter.minimum > parameter.maximum:
        raise ValueError("the minimum is above the maximum")
    for value in (parameter.default, parameter.example, *parameter.accepted):
        _check_value(parameter, value)
    if repeated := set(parameter.accepted) & {*parameter.foreign, *parameter.unsupported}:
        raise ValueError(f"accepted and not accepted at once: {', '.join(sorted(map(str, repeated)))}")


def _check_value(parameter: Parameter, value: str | int | bool | None) -> None:
    expected = {"string": str, "integer": int, "boolean": bool}.get(parameter.type)
    if value is None:
        return
    if type(value) is not expected:
        raise ValueError(f"{value!r} is not a value of type {parameter.type}")
    if parameter.accepted and value not in parameter.accepted:
        raise ValueError(f"{value!r} is not among the accepted values")
    if isinstance(value, int) and not parameter.within(value):
        raise ValueError(f"{value} is not within the limits")


def check_model(model: Model) -> None:
    """Raise ValueError unless a model describes every field that a request carries, and its prices are usable."""
    parameters = {parameter.name: parameter for parameter in model.parameters}
    _check_carried(parameters)
    _check_mask(parameters["mask"], model)
    _check_transparency(parameters["background"], model)
    _check_lifecycle(model)
    if unknown := model.example.keys() - parameters:
        raise ValueError(f"example: unknown parameters {', '.join(sorted(unknown))}")
    if model.bounds.input_image_tokens_min > model.bounds.input_image_tokens_max:
        raise ValueError("bounds: the minimum is above the maximum")
    qualities = model.bounds.output_image_tokens_by_quality
    if unknown := qualities.keys() - set(parameters["quality"].accepted):
        raise ValueError(f"bounds: unknown qualities {', '.join(sorted(unknown))}")
    if max(qualities.values(), default=0) > model.bounds.output_image_tokens_max:
        raise ValueError("bounds: a quality has more output tokens than output_image_tokens_max")


def _check_lifecycle(model: Model) -> None:
    if model.retires is not None and (model.deprecated is None or model.deprecated > model.retires):
        raise ValueError("retires: needs a day in deprecated, and not a later one")
    if model.successor is not None and model.deprecated is None:
        raise ValueError("successor: only a deprecated model has one")


def _check_mask(mask: Parameter, model: Model) -> None:
    # What the gateway may do in a model's place is refused too until the operator allows it.
    if (mask.refusal is None) != (model.mask_policy == "native"):
        raise ValueError('parameters.mask: must be refused for every value, unless mask_policy is "native"')


def _check_transparency(background: Parameter, model: Model) -> None:
    if ("transparent" in background.accepted) != (model.transparency_policy == "native"):
        raise ValueError(
            'parameters.background: must accept "transparent" if and only if transparency_policy is "native"'
        )
    if model.transparency_policy == "cutout" and "transparent" not in background.unsupported:
        raise ValueError('parameters.background: must say under unsupported why "transparent" is refused')


def _check_carried(parameters: Mapping[str, Parameter]) -> None:
    if missing := CARRIED.keys() - parameters:
        raise ValueError(f"parameters: missing {', '.join(sorted(missing))}")
    for name, expected in {**CARRIED, **CARRIED_BY_SOME}.items():
        parameter = parameters.get(name)
        if parameter is not None:
            _check_one_carried(parameter, expected)


def _check_one_carried(parameter: Parameter, expected: ParameterType) -> None:
    name = parameter.name
    if parameter.type != expected:
        raise ValueError(f"parameters.{name}: must be of type {expected}")
    if name == "model" and not parameter.required:
        raise ValueError("parameters.model: must be required")
    if parameter.required and name not in _MAY_BE_REQUIRED:
        raise ValueError(f"parameters.{name}: must not be required")
    if name == "prompt" and not parameter.required and parameter.default is None:
        raise ValueError("parameters.prompt: must be required or have a default")
    if name not in _WITHOUT_DEFAULT and parameter.default is None:
        raise ValueError(f"parameters.{name}: needs a default")


def check_price_lists(lists: Sequence[PriceList]) -> None:
    """Raise ValueError unless one list is in force at a time and each says what to charge when usage is not known."""
    if len({prices.effective_from for prices in lists}) < len(lists):
        raise ValueError("two price lists have the same effective_from")
    for prices in lists:
        names = [component.name for component in (*prices.components, *prices.extras)]
        if len(set(names)) < len(names):
            raise ValueError("two components have the same name")
        if any((line.counts == "cutouts") != (line in prices.extras) for line in prices.lines):
            raise ValueError(
                "what the gateway does besides, which is cutouts, is priced by extras, and nothing else is"
            )
        if prices.fallback.counts != "images":
            raise ValueError("the fallback must count images, because it is used when nothing else is known")


def check_offer(offer: Offer, model: Model | None) -> None:
    """Raise ValueError unless an offer fits the model that customers see: no accepted value may get lost on the way."""
    if model is None:
        raise ValueError("no model file describes it")
    size = model.parameter("size")
    if size is None or set(offer.sizes) != set(size.accepted):
        raise ValueError("sizes: must name exactly the sizes that the model accepts")
    if unknown := offer.ignored - {parameter.name for parameter in model.parameters}:
        raise ValueError(f"ignored: unknown parameters {', '.join(sorted(unknown))}")
    carried = CARRIED.keys() | {"scale"} | offer.carries
    if unknown := offer.carries - CARRIED_BY_SOME.keys():
        raise ValueError(f"carries: cannot be {', '.join(sorted(unknown))}")
    for parameter in model.parameters:
        if not (parameter.name in carried | offer.ignored or parameter.refusal or len(parameter.accepted) == 1):
            raise ValueError(f"{parameter.name}: accepted from callers, but neither carried nor named in ignored")
    _check_pixels(offer, model)


def _check_pixels(offer: Offer, model: Model) -> None:
    sizes, most = offer.sizes.values(), model.bounds.output_image_tokens_max
    largest = max(sizes, key=lambda size: size.pixels)
    if largest.pixels > offer.max_output_pixels:
        raise ValueError(f"sizes: {largest.width}x{largest.height} is over max_output_pixels")
    if max(size.output_tokens for size in sizes) > most:
        raise ValueError("sizes: a picture would use more than the model's output_image_tokens_max")
    tiled = any(size.tokens is None for size in sizes)
    if tiled and max(offer.max_output_pixels, offer.max_edited_pixels) > most * PIXELS_PER_TOKEN:
        raise ValueError("a picture at the pixel limits would use more than the model's output_image_tokens_max")
