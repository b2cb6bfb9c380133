"""omixa simulate: foundry."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from omixa.cli.context import run


@click.group()
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
    from omixa.engines.workers import Workers
    from omixa.server import listen, make_server
    from omixa.simulator.foundry import FoundrySimulatorOptions, create_app
    from omixa.telemetry import configure_logging

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
    configure_logging("info")

    async def main() -> None:
        with listen(host, port) as listener, Workers() as workers:
            server = make_server(
                create_app(simulator, workers),
                header_timeout_s=10,
                grace_s=5,
                on_ready=lambda: click.echo(
                    f"Simulated Foundry listens on http://{host}:{listener.getsockname()[1]}", err=True
                ),
            )
            await server.serve(sockets=[listener])

    run(main())


def _named(deployment: str) -> tuple[str, str]:
    name, _, model = deployment.partition("=")
    return name, model or name
