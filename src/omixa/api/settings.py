"""GET and PATCH /settings/results: what a workspace decides about its own results."""

from __future__ import annotations

import dataclasses
from typing import get_args

from omixa.api import shapes
from omixa.api.exchange import Exchange
from omixa.api.intake import JSON
from omixa.catalogue.bodies import Body, parse_body
from omixa.domain.access import Principal, ResponseFormat
from omixa.errors import Forbidden, InvalidRequest
from omixa.gateway.workspaces import ResultChanges
from omixa.services import Services

MAX_BODY_BYTES = 16 * 1024
_HOUR_MS = 3_600_000


async def get_result_settings(exchange: Exchange, services: Services) -> None:
    """Send how the results of the key's workspace are kept."""
    await exchange.respond_json(_shape(exchange.principal, services))


async def change_result_settings(exchange: Exchange, services: Services) -> None:
    """Change that for both modes, from the next request on and for what is kept already. Takes a live key.

    A workspace may keep less than is usual on this server; only the operator may let it keep more.
    """
    principal = exchange.principal
    if principal.mode != "live":
        raise Forbidden("The settings of a workspace are changed with a live key.", code="live_key_required")
    exchange.require_media_type(JSON)
    with services.body_bytes.lease() as lease:
        body = await exchange.read_body(limit=MAX_BODY_BYTES, timeout_s=services.settings.body_timeout_s, lease=lease)
    changes = _changes(parse_body(body), most_hours=services.settings.result_retention_hours)
    chosen = await services.workspaces.set_results(principal.workspace, changes, actor=principal.key_id)
    services.workspaces.forget(principal)
    changed = dataclasses.replace(
        principal,
        result_retention_ms=chosen.retention_ms,
        response_format=chosen.response_format,
        keep_prompts=chosen.keep_prompts,
    )
    await exchange.respond_json(_shape(changed, services))


def _changes(body: Body, *, most_hours: int) -> ResultChanges:
    for name in body.fields:
        if name not in shapes.ResultSettingsChange.__struct_fields__:
            raise InvalidRequest(
                f'There is no field "{name[:80]}"; this takes retention_hours, response_format and keep_prompts.',
                code="unknown_parameter",
                param=name[:80],
            )
    changes: ResultChanges = {}
    if "retention_hours" in body.fields:
        changes["retention_hours"] = _hours(body.value("retention_hours"), most_hours)
    if "response_format" in body.fields:
        changes["response_format"] = _response_format(body.value("response_format"))
    if "keep_prompts" in body.fields:
        changes["keep_prompts"] = _keep_prompts(body.value("keep_prompts"))
    if not changes:
        raise InvalidRequest(
            "Give retention_hours, response_format or keep_prompts.",
            code="missing_required_parameter",
            param="retention_hours",
        )
    return changes


def _hours(value: object, most: int) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidRequest(
            f"retention_hours must be an integer from 0 to {most}, or null.",
            code="invalid_type",
            param="retention_hours",
        )
    if not 0 <= value <= most:
        raise InvalidRequest(
            f"retention_hours must be from 0 to {most}, what is usual on this server; got {value}.",
            param="retention_hours",
        )
    return value


def _response_format(value: object) -> ResponseFormat:
    for known in get_args(ResponseFormat):
        if value == known:
            return known  # type: ignore[no-any-return]  # one of the literals
    raise InvalidRequest(
        f"response_format must be one of {', '.join(get_args(ResponseFormat))}.", param="response_format"
    )


def _keep_prompts(value: object) -> bool:
    if not isinstance(value, bool):
        raise InvalidRequest("keep_prompts must be true or false.", code="invalid_type", param="keep_prompts")
    return value


def _shape(principal: Principal, services: Services) -> shapes.ResultSettings:
    usual = services.settings.result_retention_hours
    own = principal.result_retention_ms
    return shapes.ResultSettings(
        workspace=principal.workspace,
        retention_hours=usual if own is None else own // _HOUR_MS,
        usual_retention_hours=usual,
        is_usual=own is None,
        response_format=principal.response_format,
        keep_prompts=principal.keep_prompts,
    )
