"""How a workspace's results are kept and come back, where its requests may go, and who belongs to it.

The operator alone says where requests go, and lets people of another workspace in: a name stands for a person in all of them,
and nobody but the operator knows who that is.
"""

from __future__ import annotations

from typing import get_args

from omixa.access import people, store
from omixa.access.roles import ROLES
from omixa.domain.access import ResponseFormat
from omixa.errors import InvalidRequest, NotFound, OmixaError
from omixa.gateway.workspaces import HOUR_MS, ResultChanges
from omixa.web.console.visit import Visit


async def show_settings(visit: Visit) -> None:
    """Send the page."""
    await _send(visit)


async def change_settings(visit: Visit) -> None:
    """Change them for both modes, from the next request on and for what is kept already."""
    try:
        changes = _changes(visit)
        await visit.services.workspaces.set_results(visit.member.workspace, changes, actor=visit.member.person_id)
    except InvalidRequest as error:
        await _send(visit, error)
        return
    await visit.redirect(f"{visit.home}/settings")


async def invite(visit: Visit) -> None:
    """Let somebody in, or give a member another role. A link is shown once."""
    role = next((one for one in ROLES if one == visit.form.text("role")), None)
    name = visit.form.text("name")
    try:
        if role is None:
            raise InvalidRequest("Choose a role.", param="role")
        link = await visit.services.people.invite_member(name, role=role, by=visit.member)
    except InvalidRequest as error:
        await _send(visit, error)
        return
    if link is None:
        await visit.redirect(f"{visit.home}/settings")
        return
    await _send(visit, invited=name.lower(), welcome=f"{visit.place.address}/welcome/{link.reveal()}")


async def remove(visit: Visit) -> None:
    """Take somebody out of the workspace."""
    try:
        await visit.services.people.remove_member(visit.form.text("name"), by=visit.member)
    except (InvalidRequest, NotFound) as error:
        await _send(visit, error)
        return
    await visit.redirect(f"{visit.home}/settings")


async def _send(
    visit: Visit, error: OmixaError | None = None, *, invited: str | None = None, welcome: str | None = None
) -> None:
    workspace = visit.member.workspace
    workspace_id = visit.member.workspace_id
    found, allowed, members = await visit.services.database.read(
        lambda tx: (
            store.result_settings(tx, workspace_id),
            store.constraints(tx, workspace_id),
            people.list_people(tx, workspace),
        )
    )
    usual = visit.services.settings.result_retention_hours
    await visit.send(
        "console/settings.html",
        "Settings",
        section="settings",
        status=200 if error is None else error.status,
        error=error,
        usual=usual,
        hours=None if found.retention_ms is None else found.retention_ms // HOUR_MS,
        response_format=found.response_format,
        response_formats=get_args(ResponseFormat),
        keep_prompts=found.keep_prompts,
        constraints=allowed,
        members=members,
        roles=[role for role in ROLES if role != "owner" or visit.member.role == "owner"],
        invited=invited,
        welcome=welcome,
        commands=[f"omixa users list --workspace {workspace} --json"],
        calls=[
            visit.call("settings/results"),
            visit.call("routes"),
            *visit.change("manage_members", "POST", "settings/members", name="ada@example.org", role="developer"),
            *visit.change("manage_members", "DELETE", "settings/members/ada@example.org"),
        ],
    )


def _changes(visit: Visit) -> ResultChanges:
    text, usual = visit.form.text("retention_hours"), visit.services.settings.result_retention_hours
    # Only the operator may let a workspace keep more than is usual.
    if text and not (text.isascii() and text.isdigit() and len(text) < 9 and int(text) <= usual):
        raise InvalidRequest(
            f"Write whole hours from 0 to {usual}, or nothing for what is usual.", param="retention_hours"
        )
    wanted = visit.form.text("response_format")
    for known in get_args(ResponseFormat):
        if wanted == known:
            return {
                "retention_hours": int(text) if text else None,
                "response_format": known,
                "keep_prompts": visit.form.text("keep_prompts") == "yes",
            }
    raise InvalidRequest("Choose how pictures come back.", param="response_format")
