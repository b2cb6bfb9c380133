"""The command line: omixa serve, keys, credits, usage, ledger, models, config, simulate, completion.

What a command needs beyond the configuration is imported when it runs, because shells start `omixa` for each completion.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import getpass
import os
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click
import msgspec
from click.shell_completion import get_completion_class

from omixa import __version__, config
from omixa.domain.access import DEFAULT_WORKSPACE, Mode
from omixa.domain.money import format_usd, parse_usd
from omixa.domain.times import iso_time
from omixa.errors import OmixaError, RequestNotFound

if TYPE_CHECKING:
    from omixa.access.store import KeyRow
    from omixa.billing.verify import Verification
    from omixa.services import BackOffice
    from omixa.usage.analytics import RequestSummary
    from omixa.usage.operators import OperatorView

T = TypeVar("T")

MODES = click.Choice(["live", "test"])
KEY_FIELDS = ("id", "workspace", "mode", "name", "last4", "models", "created", "revoked")
USAGE_FIELDS = ("request", "created", "model", "operation", "state", "outcome", "images", "billed")

# Exit codes as in sysexits.h, so that supervisors can tell a wrong configuration from a broken disk.
EXIT_CONFIG = 78
EXIT_IO_ERROR = 74


class Context:
    """What every command knows: the options given before it."""

    def __init__(self, data: str | None, file: Path | None) -> None:
        self._data = data
        self._file = file

    def configuration(self, **flags: object) -> config.Configuration:
        """Return the configuration; ends the command with a clear message when it is wrong."""
        try:
            return config.load(os.environ, file=self._file, flags={"data_dir": self._data, **flags})
        except config.ConfigError as error:
            _fail(f"configuration: {error}", EXIT_CONFIG)

    def run(self, work: Callable[[BackOffice], Awaitable[T]]) -> T:
        """Open the database, do the work and close everything."""
        from omixa.services import open_back_office

        settings = self.configuration().settings

        async def main() -> T:
            async with open_back_office(settings) as office:
                return await work(office)

        return _run(main())


def _run(work: Coroutine[Any, Any, T]) -> T:
    import uvloop

    try:
        return uvloop.run(work)
    except OmixaError as error:
        _fail(error.message, 1)
    except config.ConfigError as error:
        _fail(str(error), EXIT_CONFIG)
    except OSError as error:
        _fail(str(error), EXIT_IO_ERROR)


def _fail(message: str, code: int) -> NoReturn:
    click.echo(f"omixa: {message}", err=True)
    sys.exit(code)


def _actor() -> str:
    return f"cli:{getpass.getuser()}"


def _print_json(value: object) -> None:
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))


def _print_table(header: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str) -> None:
    """Print columns as wide as their widest cell."""
    cells = [[str(cell) for cell in row] for row in rows]
    if not cells:
        click.echo(empty)
        return
    widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
    for row in [list(header), *cells]:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
workspace_option = click.option(
    "--workspace", default=DEFAULT_WORKSPACE, show_default=True, help="Name of the workspace."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, package_name="omixa", message="%(version)s")
@click.option("--data", metavar="DIR", help="Data directory; also OMIXA_DATA_DIR. Default: ./omixa-data")
@click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Options; also OMIXA_CONFIG. Default: ./omixa.toml",
)
@click.pass_context
def main(context: click.Context, data: str | None, file: Path | None) -> None:
    """Run and manage Omixa, a self-hosted gateway for AI images."""
    context.obj = Context(data, file)


# ------------------------------------------------------------------------------------------------------------------ serve


@main.command()
@click.option("--host", help="Address to listen on. Default: 127.0.0.1")
@click.option("--port", type=int, help="Port to listen on; 0 takes a free one. Default: 8787")
@click.option("--data", "data_dir", metavar="DIR", help="Data directory. Default: ./omixa-data")
@click.pass_obj
def serve(context: Context, host: str | None, port: int | None, data_dir: str | None) -> None:
    """Run the gateway."""
    from omixa.telemetry import configure_logging

    flags = {"host": host, "port": port} | ({"data_dir": data_dir} if data_dir else {})
    settings = context.configuration(**flags).settings
    configure_logging(settings.log_level)
    _tune_garbage_collection()
    reason = _run(_serve(settings))
    if reason is not None:
        _fail(f"stopped: {reason}. Start again to recover; nothing that was acknowledged is lost.", EXIT_IO_ERROR)


def _tune_garbage_collection() -> None:
    """Collect less often: a request makes thousands of objects and hardly a cycle, and the code itself never goes away."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


async def _serve(settings: config.Settings) -> str | None:
    """Serve until told to stop; return the reason when the disk or the database failed."""
    from omixa.app import create_app
    from omixa.engines.painters import Painters
    from omixa.server import listen, make_server
    from omixa.services import SIMULATOR_KEY, open_services
    from omixa.simulator.foundry import FoundrySimulatorOptions
    from omixa.simulator.foundry import create_app as create_simulator
    from omixa.tokens import Tokenizer

    options = FoundrySimulatorOptions(api_key=SIMULATOR_KEY, latency_s=settings.simulator_latency_s)
    with listen(settings.host, settings.port) as listener, Painters() as painters:
        tokenizer = Tokenizer()
        simulator = create_simulator(options, painters, tokenizer=tokenizer)
        async with open_services(settings, simulator, tokenizer) as services:
            server = make_server(
                create_app(services),
                header_timeout_s=settings.header_timeout_s,
                grace_s=settings.shutdown_grace_s,
                on_ready=lambda: _announce(settings, listener.getsockname()),
            )

            async def stop_on_failure() -> None:
                await services.fail_stop.wait()
                server.should_exit = True

            watcher = asyncio.create_task(stop_on_failure())
            try:
                await server.serve(sockets=[listener])
            finally:
                watcher.cancel()
            return services.fail_stop.reason


def _announce(settings: config.Settings, address: tuple[Any, ...]) -> None:
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    live = (
        f"Microsoft Foundry at {settings.foundry.endpoint}"
        if settings.foundry.endpoint
        else "no provider yet: set OMIXA_FOUNDRY_ENDPOINT and OMIXA_FOUNDRY_API_KEY"
    )
    click.echo(f"Omixa {__version__} listens on http://{host}:{address[1]}/api/v1", err=True)
    click.echo("  test keys   the simulator inside this process, play money", err=True)
    click.echo(f"  live keys   {live}", err=True)
    click.echo(f"  data        {settings.data_path}", err=True)


# ------------------------------------------------------------------------------------------------------- keys and credits


@main.group()
def keys() -> None:
    """Create, list and revoke API keys."""


@keys.command("create")
@workspace_option
@click.option(
    "--mode", type=MODES, required=True, help="live spends credit at a provider, test plays on the simulator."
)
@click.option("--name", default="", help="What the key is for.")
@click.option("--model", "models", multiple=True, help="Allow only this model; may be repeated. Default: every model.")
@click.option("--json", "as_json", is_flag=True, help="Print the key with its id as JSON.")
@click.pass_obj
def create_key(context: Context, workspace: str, mode: Mode, name: str, models: tuple[str, ...], as_json: bool) -> None:
    """Create a key and print it. It is shown this once and stored nowhere."""

    async def work(office: BackOffice) -> None:
        allowed = [office.catalogue.resolve(model).id for model in models] or None
        key_id, secret = await office.workspaces.create_key(
            workspace=workspace, mode=mode, name=name, models=allowed, actor=_actor()
        )
        if as_json:
            _print_json({"id": key_id, "key": secret.reveal(), "workspace": workspace, "mode": mode, "models": allowed})
        else:
            click.echo(secret.reveal())

    context.run(work)


@keys.command("list")
@click.option("--workspace", help="Only this workspace. Default: all.")
@json_option
@click.pass_obj
def list_keys(context: Context, workspace: str | None, as_json: bool) -> None:
    """List keys; a key itself is never shown again."""
    rows = context.run(lambda office: office.workspaces.list_keys(workspace))
    if as_json:
        _print_json([dict(zip(KEY_FIELDS, _key_cells(row), strict=True)) for row in rows])
        return
    _print_table(KEY_FIELDS, map(_key_cells, rows), empty="No keys yet. Create one: omixa keys create --mode test")


def _key_cells(row: KeyRow) -> tuple[str, ...]:
    models = "all" if row.models is None else " ".join(row.models)
    revoked = "" if row.revoked_at_ms is None else iso_time(row.revoked_at_ms)
    return row.id, row.workspace, row.mode, row.name, row.last4, models, iso_time(row.created_at_ms), revoked


@keys.command("revoke")
@click.argument("key_id")
@click.pass_obj
def revoke_key(context: Context, key_id: str) -> None:
    """Revoke a key at once, by its id."""
    context.run(lambda office: office.workspaces.revoke_key(key_id, actor=_actor()))
    click.echo(f"{key_id} is revoked.")


@main.group()
def credits() -> None:  # noqa: A001 - the command's name
    """Grant credit."""


@credits.command("grant")
@workspace_option
@click.option("--mode", type=MODES, required=True, help="Real money or play money.")
@click.option("--amount", required=True, help="USD, for example 25.00")
@click.option("--reason", required=True, help="Why; it is kept in the ledger and the audit log.")
@json_option
@click.pass_obj
def grant(context: Context, workspace: str, mode: Mode, amount: str, reason: str, as_json: bool) -> None:
    """Add credit to a workspace."""
    try:
        amount_micro_usd = parse_usd(amount)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--amount") from error
    balance = context.run(
        lambda office: office.workspaces.grant(
            workspace=workspace, mode=mode, amount_micro_usd=amount_micro_usd, reason=reason, actor=_actor()
        )
    )
    if as_json:
        amounts = {"posted": balance.posted, "held": balance.held, "available": balance.available}
        _print_json(
            {"workspace": workspace, "mode": mode} | {name: format_usd(value) for name, value in amounts.items()}
        )
    else:
        click.echo(f"{workspace} has ${format_usd(balance.available)} available in {mode} mode.")


# -------------------------------------------------------------------------------------------------- usage, ledger, models


@main.group()
def usage() -> None:
    """Read what was used."""


@usage.command("list")
@workspace_option
@click.option("--mode", type=MODES, default="live", show_default=True)
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@json_option
@click.pass_obj
def list_usage(context: Context, workspace: str, mode: Mode, limit: int, as_json: bool) -> None:
    """List requests, newest first."""
    from omixa.usage import analytics

    async def work(office: BackOffice) -> Sequence[RequestSummary]:
        workspace_id = await office.workspaces.find(workspace)
        page = await office.database.read(lambda tx: analytics.list_requests(tx, workspace_id, mode, limit=limit))
        return page.requests

    rows = [_usage_cells(summary) for summary in context.run(work)]
    if as_json:
        _print_json([dict(zip(USAGE_FIELDS, row, strict=True)) for row in rows])
    else:
        _print_table(USAGE_FIELDS, rows, empty=f"No {mode} requests in workspace {workspace} yet.")


def _usage_cells(summary: RequestSummary) -> tuple[str | int, ...]:
    images = 0 if summary.usage is None else summary.usage.images
    outcome = summary.outcome or "running"
    billed = format_usd(summary.charged_micro_usd)
    created = iso_time(summary.created_at_ms)
    return summary.id, created, summary.model, summary.operation, summary.state, outcome, images, billed


@usage.command("show")
@click.argument("request_id")
@json_option
@click.pass_obj
def show_usage(context: Context, request_id: str, as_json: bool) -> None:
    """Tell what happened to a request, with the provider's own words for the operator."""
    from omixa.gateway.receipt import format_exact
    from omixa.usage.operators import find_for_operator

    async def work(office: BackOffice) -> OperatorView:
        view = await office.database.read(lambda tx: find_for_operator(tx, request_id))
        if view is None:
            raise RequestNotFound(f"There is no request {request_id[:80]}.")
        return view

    view = context.run(work)
    if as_json:
        _print_json(view)
        return
    click.echo(f"{view.id}  {view.model} {view.operation}, workspace {view.workspace}, {view.mode}, key {view.key_id}")
    click.echo(f"  {view.state}, outcome {view.outcome or 'running'}, held ${format_usd(view.hold_amount)}")
    click.echo(f"  billed ${format_usd(view.charge_amount or 0)}, begun {iso_time(view.created_at_ms)}")
    for call in view.calls:
        status = call.upstream_status or "no status"
        click.echo(f"  call {call.n}, picture {call.image_index}: {call.deployment}, {call.state}, {status}")
        if call.provider_request_id:
            click.echo(f"    provider's id  {call.provider_request_id}")
        if call.diagnostics:
            click.echo(f"    it said        {call.diagnostics}")
        if call.cost_pico_usd:
            click.echo(f"    costs us       ${format_exact(call.cost_pico_usd)} ({call.cost_basis})")


@main.group()
def ledger() -> None:
    """Check the money."""


@ledger.command("verify")
@json_option
@click.pass_obj
def verify_ledger(context: Context, as_json: bool) -> None:
    """Check every invariant of the ledger; exit 1 when one is broken."""
    from omixa.billing.verify import verify

    async def work(office: BackOffice) -> Verification:
        return await office.database.read(lambda tx: verify(tx, result_exists=office.blobs.has))

    report = context.run(work)
    if as_json:
        _print_json({"clean": report.clean, "checked": report.checked, "findings": report.findings})
    else:
        for name, count in report.checked.items():
            click.echo(f"{name:<24} {count:>10} checked")
        for finding in report.findings:
            click.echo(f"BROKEN {finding}")
        click.echo("The ledger is clean." if report.clean else f"{len(report.findings)} findings.")
    if not report.clean:
        sys.exit(1)


@main.group()
def models() -> None:
    """Read the catalogue."""


@models.command("list")
@json_option
def list_models(as_json: bool) -> None:
    """List models and their prices."""
    from omixa.catalogue.loader import load_catalogue

    found = [model for _, model in sorted(load_catalogue().models.items())]
    prices = {
        model.id: {
            item.name: f"{item.usd} / {item.per:,}" for item in (*model.prices.components, model.prices.fallback)
        }
        for model in found
    }
    if as_json:
        _print_json(
            [
                {
                    "id": model.id,
                    "name": model.name,
                    "context_window_tokens": model.context_window_tokens,
                    "price_version": model.prices.version,
                    "prices": prices[model.id],
                }
                for model in found
            ]
        )
        return
    for model in found:
        click.echo(f"{model.id}  context window {model.context_window_tokens:,} tokens  prices {model.prices.version}")
        for name, price in prices[model.id].items():
            click.echo(f"  {name:<16} ${price}")


# ----------------------------------------------------------------------------------------------- config, simulate, helper


@main.group(name="config")
def config_group() -> None:
    """Explain the configuration."""


@config_group.command("check")
@json_option
@click.pass_obj
def check_config(context: Context, as_json: bool) -> None:
    """Print every option with its value and where that comes from. Secrets show as stars."""
    options = context.configuration().options()
    if as_json:
        _print_json(
            [msgspec.structs.asdict(option) if isinstance(option, msgspec.Struct) else option for option in options]
        )
        return
    _print_table(
        ("option", "value", "from", "what it is"),
        ((option.name, option.value, option.source, option.description) for option in options),
        empty="",
    )
    click.echo("\nThe configuration is valid.")


@main.group()
def simulate() -> None:
    """Run a stand-in for a provider."""


@simulate.command("foundry")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=int, default=8790, show_default=True)
@click.option("--api-key", required=True, help="The key that callers must send.")
@click.option("--deployment", "deployments", multiple=True, metavar="NAME=MODEL", help="May be repeated.")
@click.option("--latency", "latency_s", type=click.FloatRange(0), default=0.0, help="Seconds before each answer.")
@click.option("--requests-per-minute", type=click.IntRange(0), help="Over it: 429. Default: no limit.")
@click.option("--scenario", default="", help='Scripted faults, for example "429x2, 500, ok". See docs/simulator.md.')
def simulate_foundry(
    host: str,
    port: int,
    api_key: str,
    deployments: tuple[str, ...],
    latency_s: float,
    requests_per_minute: int | None,
    scenario: str,
) -> None:
    """Speak Microsoft Foundry's wire format and paint pictures from prompts."""
    from omixa.engines.painters import Painters
    from omixa.server import listen, make_server
    from omixa.simulator.foundry import FoundrySimulatorOptions, create_app
    from omixa.telemetry import configure_logging

    simulator = FoundrySimulatorOptions(api_key)
    try:
        simulator = dataclasses.replace(
            simulator,
            scenario=scenario,
            latency_s=latency_s,
            requests_per_minute=requests_per_minute,
            deployments=dict(map(_named, deployments)) or simulator.deployments,
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    configure_logging("info")

    async def main() -> None:
        with listen(host, port) as listener, Painters() as painters:
            server = make_server(
                create_app(simulator, painters),
                header_timeout_s=10,
                grace_s=5,
                on_ready=lambda: click.echo(
                    f"Simulated Foundry listens on http://{host}:{listener.getsockname()[1]}", err=True
                ),
            )
            await server.serve(sockets=[listener])

    _run(main())


def _named(deployment: str) -> tuple[str, str]:
    name, _, model = deployment.partition("=")
    return name, model or name


@main.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that completes commands in a shell: eval "$(omixa completion bash)"."""
    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(main, {}, "omixa", "_OMIXA_COMPLETE").source())
