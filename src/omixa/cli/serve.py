"""omixa serve."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from omixa import __version__, config
from omixa.cli.context import EXIT_IO_ERROR, Context, fail, run
from omixa.cli.memory import keep_freed_memory, leave_out_what_is_loaded
from omixa.cli.users import browser_address, welcome_address
from omixa.domain.access import Secret


@click.command()
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
    keep_freed_memory()
    reason = run(_serve(settings))
    if reason is not None:
        fail(f"stopped: {reason}. Start again to recover; nothing that was acknowledged is lost.", EXIT_IO_ERROR)


async def _serve(settings: config.Settings) -> str | None:
    """Serve until told to stop; return the reason when the disk or the database failed."""
    from omixa.app import create_app
    from omixa.engines.workers import Workers
    from omixa.server import listen, make_server
    from omixa.services import SIMULATOR_KEY, open_services
    from omixa.simulator.inside import simulators
    from omixa.tokens import Tokenizer

    with listen(settings.host, settings.port) as listener, Workers() as workers:
        tokenizer = Tokenizer()
        played = simulators(workers, tokenizer, api_key=SIMULATOR_KEY, latency_s=settings.simulator_latency_s)
        async with open_services(settings, played, tokenizer, workers) as services:
            # Somebody has to be the first.
            link = await services.people.first_link()
            server = make_server(
                create_app(services),
                header_timeout_s=settings.header_timeout_s,
                grace_s=settings.shutdown_grace_s,
                on_ready=lambda: _announce(settings, listener.getsockname(), link),
            )

            async def stop_on_failure() -> None:
                await services.fail_stop.wait()
                server.should_exit = True

            leave_out_what_is_loaded()
            watcher = asyncio.create_task(stop_on_failure())
            try:
                await server.serve(sockets=[listener])
            finally:
                watcher.cancel()
            return services.fail_stop.reason


def _announce(settings: config.Settings, address: tuple[Any, ...], link: Secret | None) -> None:
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    accounts = " and ".join(
        f"{account.provider} at {account.endpoint}" if account.endpoint else account.provider
        for account in settings.accounts
    )
    live = (
        f"{accounts}, and the models inside this process"
        if accounts
        else "the models inside this process; for others set OMIXA_FOUNDRY_ENDPOINT and OMIXA_FOUNDRY_API_KEY"
    )
    base = browser_address(settings, address[1])
    click.echo(f"Omixa {__version__} listens on http://{host}:{address[1]}/api/v1", err=True)
    click.echo(f"  pages       {base}/docs", err=True)
    click.echo("  test keys   the simulator inside this process, play money", err=True)
    click.echo(f"  live keys   {live}", err=True)
    click.echo(f"  data        {settings.data_path}", err=True)
    click.echo(f"  ledger      {settings.database}", err=True)
    if link is not None:
        click.echo("  console     the owner sets a password here, once, within a day:", err=True)
        click.echo(f"              {welcome_address(base, link)}", err=True)
    else:
        click.echo(f"  console     {base}/console", err=True)
