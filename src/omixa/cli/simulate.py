"""omixa simulate: bedrock, fal, flux, foundry, gemini, openai, openrouter, replicate, stability; and a proxy that breaks."""

from __future__ import annotations

import asyncio
import dataclasses
import importlib
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from omixa.cli.context import run

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from omixa.engines.workers import Workers

_HOST = click.option("--host", default="127.0.0.1", show_default=True)
_API_KEY = click.option("--api-key", required=True, help="The key that callers must send.")
_DEPLOYMENTS = click.option("--deployment", "deployments", multiple=True, metavar="NAME=MODEL", help="May be repeated.")
_LATENCY = click.option(
    "--latency", "latency_s", type=click.FloatRange(0), default=0.0, help="Seconds before each answer."
)
_REQUESTS_PER_MINUTE = click.option(
    "--requests-per-minute", type=click.IntRange(0), help="Over it: 429. Default: no limit."
)
_SCENARIO = click.option(
    "--scenario", default="", help='Scripted faults, for example "429x2, 500, ok". See docs/simulator.md.'
)


@click.group()
def simulate() -> None:
    """Run a stand-in for a provider."""


@simulate.command("foundry")
@_HOST
@click.option("--port", type=int, default=8790, show_default=True)
@_API_KEY
@_DEPLOYMENTS
@_LATENCY
@_REQUESTS_PER_MINUTE
@_SCENARIO
@click.option(
    "--usage-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Bill every picture into this CSV file, for omixa reconcile import.",
)
def simulate_foundry(
    host: str,
    port: int,
    api_key: str,
    deployments: tuple[str, ...],
    latency_s: float,
    requests_per_minute: int | None,
    scenario: str,
    usage_file: Path | None,
) -> None:
    """Speak Microsoft Foundry's wire format and paint pictures from prompts."""
    from omixa.simulator.foundry import FoundrySimulatorOptions, create_app

    simulator = FoundrySimulatorOptions(api_key)
    try:
        simulator = dataclasses.replace(
            simulator,
            scenario=scenario,
            usage_file=usage_file,
            latency_s=latency_s,
            requests_per_minute=requests_per_minute,
            deployments=dict(map(_named, deployments)) or simulator.deployments,
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    _serve("Foundry", host, port, lambda workers: create_app(simulator, workers))


@simulate.command("openai")
@_HOST
@click.option("--port", type=int, default=8791, show_default=True)
@_API_KEY
@_DEPLOYMENTS
@_LATENCY
@_REQUESTS_PER_MINUTE
@_SCENARIO
def simulate_openai(
    host: str,
    port: int,
    api_key: str,
    deployments: tuple[str, ...],
    latency_s: float,
    requests_per_minute: int | None,
    scenario: str,
) -> None:
    """Speak OpenAI's Images API, below /v1, and Azure OpenAI's, below /openai/v1, and paint pictures from prompts."""
    from omixa.simulator.openai import OpenAISimulatorOptions, create_app

    simulator = OpenAISimulatorOptions(api_key)
    try:
        simulator = dataclasses.replace(
            simulator,
            scenario=scenario,
            latency_s=latency_s,
            requests_per_minute=requests_per_minute,
            models=dict(map(_named, deployments)) or simulator.models,
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    _serve("OpenAI", host, port, lambda workers: create_app(simulator, workers))


def _add_service(name: str, whose: str, help: str) -> None:
    """Add the command of a simulator that has no options of its own; its module has the command's name."""

    @simulate.command(name, help=help)
    @_HOST
    @click.option("--port", type=int, default=8790, show_default=True)
    @_API_KEY
    @_LATENCY
    @_SCENARIO
    def command(host: str, port: int, api_key: str, latency_s: float, scenario: str) -> None:
        from omixa.simulator.service import SimulatorOptions

        module = importlib.import_module(f"omixa.simulator.{name}")
        try:
            options = SimulatorOptions(api_key, latency_s=latency_s, scenario=scenario)
        except ValueError as error:
            raise click.UsageError(str(error)) from error
        _serve(whose, host, port, lambda workers: module.create_app(options, workers))


_add_service("bedrock", "Bedrock", "Speak the wire format of Stability AI's models on AWS Bedrock and paint pictures.")
_add_service("gemini", "Gemini", "Speak the Gemini API's wire format and paint pictures from prompts.")
_add_service(
    "openrouter", "OpenRouter", "Speak the wire format of OpenRouter's Image API and paint pictures from prompts."
)
_add_service("fal", "fal", "Speak the wire format of fal.ai's queue and paint pictures from prompts.")
_add_service(
    "flux", "FLUX", "Speak Black Forest Labs' wire format, and FLUX's on Foundry, and paint pictures from prompts."
)
_add_service(
    "replicate", "Replicate", "Speak the wire format of Replicate's official models and paint pictures from prompts."
)
_add_service("stability", "Stability AI", "Speak Stability AI's wire format and paint, edit and enlarge pictures.")


@simulate.command("proxy")
@_HOST
@click.option("--port", type=int, default=8795, show_default=True)
@click.option("--to", "target", required=True, metavar="URL", help="The provider behind it, simulated or real.")
@click.option(
    "--faults", default="", help='For example "submit:reset, poll:429x2, fetch:drip=500". See docs/simulator.md.'
)
def simulate_proxy(host: str, port: int, target: str, faults: str) -> None:
    """Stand between a gateway and a provider and break connections and answers, by script."""
    from omixa.simulator.proxy import FaultProxy
    from omixa.telemetry import configure_logging

    try:
        proxy = FaultProxy(target, faults, host=host, port=port)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    configure_logging("info")

    async def main() -> None:
        loop, stopped = asyncio.get_running_loop(), asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stopped.set)
        async with proxy:
            click.echo(f"Proxy to {target} listens on http://{host}:{proxy.port}", err=True)
            await stopped.wait()

    run(main())


def _serve(name: str, host: str, port: int, make_app: Callable[[Workers], ASGIApp]) -> None:
    """Serve a simulator until told to stop."""
    from omixa.engines.workers import Workers
    from omixa.server import listen, make_server
    from omixa.telemetry import configure_logging

    configure_logging("info")

    async def main() -> None:
        with listen(host, port) as listener, Workers() as workers:
            server = make_server(
                make_app(workers),
                header_timeout_s=10,
                grace_s=5,
                on_ready=lambda: click.echo(
                    f"Simulated {name} listens on http://{host}:{listener.getsockname()[1]}", err=True
                ),
            )
            await server.serve(sockets=[listener])

    run(main())


def _named(deployment: str) -> tuple[str, str]:
    name, _, model = deployment.partition("=")
    return name, model or name
