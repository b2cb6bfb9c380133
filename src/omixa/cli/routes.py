"""omixa routes: show, enable, test."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from omixa.cli.context import EXIT_IO_ERROR, Context, actor, fail, json_option, print_json, print_table, run
from omixa.domain.access import UNCONSTRAINED, Constraints

if TYPE_CHECKING:
    from omixa.config import Settings
    from omixa.domain.models import Deployment
    from omixa.services import BackOffice

COLUMNS = (
    *("route", "health", "cooling_s", "checked_ago_s", "in_flight", "p95_s", "priority", "weight", "region", "host"),
    "reason",
)
TEST_COLUMNS = ("route", "result", "seconds", "status", "provider_request_id", "detail")
TEST_PROMPT = "A plain grey circle"
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 - an address to be replaced
_TIMEOUT_S = 10.0

server_option = click.option(
    "--server",
    metavar="URL",
    help="Address of the running server. Default: public_url, or host and port as configured.",
)


@click.group()
def routes() -> None:
    """Look after the deployments that serve requests."""


@routes.command("show")
@server_option
@json_option
@click.pass_obj
def show_routes(context: Context, server: str | None, as_json: bool) -> None:
    """Show how every deployment does, as the running server sees it."""
    found = _ask(context, server, "GET", "/operator/routes")
    if as_json:
        print_json(found)
        return
    rows = [["-" if one[name] is None else one[name] for name in COLUMNS] for one in found["data"]]
    print_table(COLUMNS, rows, empty="No deployments.")


@routes.command("enable")
@click.argument("route")
@server_option
@click.pass_obj
def enable_route(context: Context, route: str, server: str | None) -> None:
    """Use ROUTE again, a deployment or an account, after its credential was put right or before its time."""
    enabled = _ask(context, server, "POST", "/operator/routes/enable", {"route": route})
    click.echo(f"In use again: {', '.join(enabled['data'])}.")


@routes.command("test")
@click.argument("model")
@click.option("--route", help="Only this deployment, or those of this account. Default: all that serve live keys.")
@click.option("--workspace", help="Only those that this workspace may use.")
@json_option
@click.pass_obj
def test_routes(context: Context, model: str, route: str | None, workspace: str | None, as_json: bool) -> None:
    """Have one picture made by each deployment of MODEL, without a server and without a request of a workspace.

    The provider charges you for them. They stand in no request log.
    """
    constraints, results = context.run(lambda office: _test(office, model, route, workspace))
    if not results:
        named = f" as {route}" if route else ""
        within = "" if constraints == UNCONSTRAINED else f" among {constraints}, to which {workspace} is bound"
        fail(f"no deployment of {model} serves live keys over the network{named}{within}", 1)
    if as_json:
        print_json(results)
    else:
        print_table(TEST_COLUMNS, [[one[name] or "-" for name in TEST_COLUMNS] for one in results], empty="")
    if any(one["result"] != "ok" for one in results):
        sys.exit(1)


def _ask(context: Context, server: str | None, method: str, path: str, body: object = None) -> Any:
    """Return what the running server answers to its operator; ends the command with what went wrong."""
    settings = context.configuration().settings
    address = (server or _address(settings)).rstrip("/")

    async def issue(office: Any) -> Any:
        return office.workspaces.operator_tokens().issue(actor=actor(), now_s=int(time.time()))

    token = context.run(issue)
    status, answer = run(_exchange(method, f"{address}/api/v1{path}", token.reveal(), body))
    if status != 200:
        fail(answer.get("error", {}).get("message", f"{address} answered {status}"), 1)
    return answer


async def _exchange(method: str, url: str, token: str, body: object) -> tuple[int, Any]:
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    headers = {"authorization": f"Bearer {token}"}
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=False) as session,
            session.request(method, url, headers=headers, json=body, allow_redirects=False) as response,
        ):
            return response.status, await response.json()
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        fail(f"no answer of a gateway from {url}: {type(error).__name__}; name it with --server", EXIT_IO_ERROR)


def _address(settings: Settings) -> str:
    host = _ANYWHERE.get(settings.host, settings.host)
    return settings.public_url or f"http://{host}:{settings.port}"


async def _test(
    office: BackOffice, model: str, route: str | None, workspace: str | None
) -> tuple[Constraints, list[dict[str, Any]]]:
    from omixa.engines.conversions import Conversions
    from omixa.providers.adapters import adapters
    from omixa.providers.entra import EntraTokens, with_tokens
    from omixa.providers.transport import HttpTransport
    from omixa.services import deployments
    from omixa.telemetry import hush_azure

    hush_azure()
    constraints = UNCONSTRAINED if workspace is None else await office.workspaces.constraints(workspace)
    catalogue = office.catalogue
    wanted = catalogue.resolve(model)
    found = [
        one
        for one in deployments(office.settings, catalogue, stored=await office.accounts.serving())
        if one.model == wanted.id
        and one.account
        and (route is None or route in (one.id, one.account))
        and one.is_within(constraints)
    ]
    conversions = Conversions(1, waiting=1)
    try:
        async with HttpTransport(proxy=office.settings.provider_proxy) as http, EntraTokens() as tokens:
            spoken = with_tokens(adapters(http, conversions), tokens)

            async def test(deployment: Deployment) -> dict[str, Any]:
                offer = catalogue.offer(deployment.provider, wanted.id)
                return await _try(spoken[catalogue.providers[deployment.provider].adapter], offer, deployment)

            return constraints, list(await asyncio.gather(*map(test, found)))
    finally:
        await asyncio.to_thread(conversions.close)


async def _try(provider: Any, offer: Any, deployment: Deployment) -> dict[str, Any]:
    from omixa.errors import UpstreamError
    from omixa.providers.base import ProviderCall, ProviderResult

    told: dict[str, Any] = {"route": deployment.id, "result": "ok", "status": 200, "provider_request_id": None}
    if deployment.fault:
        return told | {"result": deployment.fault, "status": None, "detail": "omixa accounts list", "seconds": 0.0}
    call = ProviderCall(_request(offer), offer, deployment, "routes-test", 0)
    started = time.monotonic()
    try:
        async for event in provider.generate(call):
            if isinstance(event, ProviderResult):
                told |= {"provider_request_id": event.provider_request_id, "detail": event.image.info.size}
    except UpstreamError as error:
        told |= {"result": error.code, "status": error.upstream_status, "detail": error.diagnostics or error.message}
        told["provider_request_id"] = error.provider_request_id
    return told | {"seconds": round(time.monotonic() - started, 1)}


def _request(offer: Any) -> Any:
    from omixa.domain.images import ImageRequest

    return ImageRequest(
        model=offer.model,
        prompt=TEST_PROMPT,
        prompt_tokens=0,
        n=1,
        size=next(iter(offer.sizes)),
        quality="auto",
        background="auto",
        output_format="png",
        output_compression=None,
        input_images=(),
        stream=False,
        partial_images=0,
        given=frozenset(),
    )
