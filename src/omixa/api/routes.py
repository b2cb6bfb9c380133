"""GET /routes, and for operators GET /operator/routes and POST /operator/routes/enable: how the deployments do."""

from __future__ import annotations

import math
from urllib.parse import urlsplit

from omixa.api import shapes
from omixa.api.exchange import Exchange
from omixa.api.intake import JSON
from omixa.catalogue.bodies import parse_body
from omixa.errors import InvalidRequest
from omixa.routing.router import Standing
from omixa.services import Services

MAX_BODY_BYTES = 4 * 1024


async def list_routes(exchange: Exchange, services: Services) -> None:
    """Send what serves the key's requests, by name, and whether it does now, and where the workspace's may go at all."""
    principal = exchange.principal
    shown = [
        shapes.Route(route=one.deployment.id, model=one.deployment.model, health=one.state)
        for one in services.router.standings()
        if principal.mode in one.deployment.modes
        and principal.may_call(one.deployment.model)
        and one.deployment.is_within(principal.constraints)
    ]
    constraints = principal.constraints
    await exchange.respond_json(
        shapes.RouteList(
            allowed_providers=None if constraints.providers is None else sorted(constraints.providers),
            allowed_regions=None if constraints.regions is None else sorted(constraints.regions),
            data=shown,
        )
    )


async def list_operated_routes(exchange: Exchange, services: Services) -> None:
    """Send all that this server knows of every deployment, except credentials."""
    shown = [_shape(one) for one in services.router.standings()]
    await exchange.respond_json(shapes.OperatedRouteList(policy=services.settings.routing.policy, data=shown))


async def enable_route(exchange: Exchange, services: Services) -> None:
    """Use an account again whose credential was refused, or that is left alone, as if nothing had happened."""
    exchange.require_media_type(JSON)
    with services.body_bytes.lease() as lease:
        body = await exchange.read_body(limit=MAX_BODY_BYTES, timeout_s=services.settings.body_timeout_s, lease=lease)
    fields = parse_body(body)
    for name in fields.fields:
        if name != "route":
            raise InvalidRequest(
                f'There is no field "{name[:80]}"; this takes route.', code="unknown_parameter", param=name[:80]
            )
    route = fields.value("route") if "route" in fields.fields else None
    if not isinstance(route, str) or not route:
        code = "missing_required_parameter" if route is None else "invalid_type"
        raise InvalidRequest("Give route, the name of a deployment or of an account.", code=code, param="route")
    enabled = await services.routes.enable(route, actor=exchange.operator)
    await exchange.respond_json(shapes.EnabledRoutes(data=enabled))


def _shape(one: Standing) -> shapes.OperatedRoute:
    deployment = one.deployment
    limits = deployment.limits
    return shapes.OperatedRoute(
        route=deployment.id,
        model=deployment.model,
        health=one.state,
        reason=one.reason,
        cooling_s=math.ceil(one.cooling_s),
        strikes=one.strikes,
        ejections=one.ejections,
        in_flight=one.in_flight,
        p95_s=None if one.p95_s is None else round(one.p95_s, 3),
        checked_ago_s=None if one.checked_ago_s is None else math.floor(one.checked_ago_s),
        provider=deployment.provider,
        host=urlsplit(deployment.endpoint).netloc or None,
        region=deployment.region or None,
        modes=sorted(deployment.modes),
        weight=deployment.weight,
        priority=deployment.priority,
        requests_per_minute=limits.requests_per_minute or None,
        images_per_minute=limits.images_per_minute or None,
        concurrency=limits.concurrent_images or None,
    )
