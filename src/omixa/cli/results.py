"""omixa results: delete."""

from __future__ import annotations

import click

from omixa.cli.context import Context, actor, json_option, print_json


@click.group()
def results() -> None:
    """Delete results before their time."""


@results.command("delete")
@click.argument("request_id")
@click.option("--reason", required=True, help="Why; it is kept in the audit log.")
@json_option
@click.pass_obj
def delete_result(context: Context, request_id: str, reason: str, as_json: bool) -> None:
    """Delete the pictures of any workspace's request for good. What they cost stays.

    All of a workspace go within minutes when it is set to keep nothing: omixa workspaces set-results --keep-hours delivery.
    """
    from omixa.gateway.deletion import Deletion

    context.run(
        lambda office: Deletion(office.database, office.blobs).delete(
            request_id, owner=None, actor=actor(), reason=reason
        )
    )
    if as_json:
        print_json({"request": request_id, "deleted": True})
    else:
        click.echo(f"The result of {request_id} is deleted.")
