"""GET /models: what a key may call, what it takes and what it costs. All of it is read from the catalogue."""

from __future__ import annotations

import datetime

from omixa.api import shapes
from omixa.api.exchange import Exchange
from omixa.api.lifecycle import lifecycle_headers, require_in_service
from omixa.catalogue.loader import Catalogue
from omixa.catalogue.schema import json_schema
from omixa.domain.models import Model, Parameter, PriceComponent, PriceList
from omixa.domain.money import format_usd
from omixa.errors import Forbidden
from omixa.gateway.receipt import format_exact
from omixa.services import Services


async def list_models(exchange: Exchange, services: Services) -> None:
    """Send the models that the key may call, in the order of the alphabet."""
    catalogue, today = services.catalogue, services.pipeline.today()
    allowed = [
        model
        for _, model in sorted(catalogue.models.items())
        if exchange.principal.may_call(model.id) and not model.is_retired(today)
    ]
    await exchange.respond_json(shapes.ModelList(data=[_summary(model, catalogue) for model in allowed]))


async def get_model(exchange: Exchange, services: Services) -> None:
    """Send all about one model. Raises NotFound, or Forbidden when it is not for this key."""
    model = allowed_model(exchange, services, exchange.path_parameters["model"])
    exchange.further_headers = lambda: lifecycle_headers(model)
    summary = _summary(model, services.catalogue)
    prices = model.prices_on(services.pipeline.today())
    await exchange.respond_json(
        shapes.Model(
            **{name: getattr(summary, name) for name in summary.__struct_fields__},
            description=model.description,
            parameters=[_parameter(parameter) for parameter in model.parameters],
            prices=None if prices is None else _prices(prices),
            price_version=None if prices is None else prices.version,
            limits=shapes.Limits(
                max_images=summary.capabilities.max_images,
                max_input_images=summary.capabilities.max_input_images,
                context_window_tokens=model.context_window_tokens,
                max_body_bytes=services.settings.max_body_bytes,
            ),
            schema_url=f"{services.settings.public_path}{exchange.scope['path']}/schema",
        )
    )


async def get_schema(exchange: Exchange, services: Services) -> None:
    """Send the JSON Schema of requests to one model. Raises NotFound or Forbidden."""
    await exchange.respond_json(json_schema(allowed_model(exchange, services, exchange.path_parameters["model"])))


def allowed_model(exchange: Exchange, services: Services, name: str) -> Model:
    """Return a model that the exchange's key may call. Raises ModelNotFound or Forbidden."""
    model = services.catalogue.resolve(name)
    if not exchange.principal.may_call(model.id):
        raise Forbidden(f"This key may not use {model.id}.", param="model")
    require_in_service(model, services.pipeline.today())
    return model


def _summary(model: Model, catalogue: Catalogue) -> shapes.ModelSummary:
    seller = catalogue.seller(model)
    return shapes.ModelSummary(
        id=model.id,
        created=int(datetime.datetime.combine(model.released, datetime.time(), datetime.UTC).timestamp()),
        owned_by="" if seller is None else seller.provider,
        name=model.name,
        summary=model.summary,
        context_window_tokens=model.context_window_tokens,
        deprecated=_day(model.deprecated),
        retires=_day(model.retires),
        successor=model.successor,
        capabilities=capabilities(model),
    )


def _day(day: datetime.date | None) -> str | None:
    return None if day is None else day.isoformat()


def capabilities(model: Model) -> shapes.Capabilities:
    """Return what a model can do, read from what its parameters accept."""
    usable = {parameter.name: parameter for parameter in model.parameters if parameter.refusal is None}
    max_input_images = usable["input_images"].maximum or 0 if "input_images" in usable else 0
    return shapes.Capabilities(
        edits=max_input_images > 0,
        masks="mask" in usable,
        mask_policy=model.mask_policy,
        transparency_policy=model.transparency_policy,
        transparency="transparent" in usable["background"].accepted,
        streaming="stream" in usable,
        max_images=usable["n"].maximum or 1,
        max_input_images=max_input_images,
        sizes=[str(one) for one in usable["size"].accepted],
        output_formats=[str(one) for one in usable["output_format"].accepted],
    )


def _parameter(parameter: Parameter) -> shapes.ParameterDescription:
    return shapes.ParameterDescription(
        name=parameter.name,
        type=parameter.type,
        required=parameter.required,
        description=parameter.description,
        accepted=list(parameter.accepted),
        default=parameter.default,
        minimum=parameter.minimum,
        maximum=parameter.maximum,
        max_pixels=parameter.max_pixels,
        example=parameter.example,
        unsupported=dict(parameter.unsupported),
    )


def _prices(prices: PriceList) -> shapes.Prices:
    return shapes.Prices(
        currency="USD",
        input=_for_a_million(prices, "input_"),
        output=_for_a_million(prices, "output_"),
        image=_decimal(prices.fallback.unit_price_pico_usd),
        components=[_price_line(component) for component in prices.components],
        extras=[_price_line(extra) for extra in prices.extras],
        fallback=_price_line(prices.fallback),
        rounding=shapes.PriceRounding(
            to=format_usd(prices.rounding.unit_micro_usd), direction=prices.rounding.direction
        ),
        effective_from=prices.effective_from.isoformat(),
    )


def _for_a_million(prices: PriceList, kind: str) -> str:
    price_pico_usd = max(
        (line.unit_price_pico_usd for line in prices.components if line.counts.startswith(kind)), default=0
    )
    return _decimal(price_pico_usd * 1_000_000)


def _decimal(pico_usd: int) -> str:
    """Return a price with six digits, and further ones where they are not zero."""
    exact = format_exact(pico_usd)
    return exact[:-6] + exact[-6:].rstrip("0")


def _price_line(line: PriceComponent) -> shapes.PriceLine:
    return shapes.PriceLine(component=line.name, counts=line.counts, unit_price=line.usd, per=line.per)
