"""Who belongs to the workspace, for keys with the scope manage_members: the members on the console's settings."""

from __future__ import annotations

from typing import Literal

from omixa.access import people
from omixa.access.people import PersonRow
from omixa.api import shapes
from omixa.api.address import public_address
from omixa.api.exchange import Exchange
from omixa.api.fields import read_fields
from omixa.domain.times import iso_time
from omixa.services import Services


async def list_members(exchange: Exchange, services: Services) -> None:
    """Send who belongs to the workspace."""
    workspace = exchange.principal.workspace
    found = await services.database.read(lambda tx: people.list_people(tx, workspace))
    await exchange.respond_json(shapes.MemberList(data=[_shape(one) for one in found]))


async def invite_member(exchange: Exchange, services: Services) -> None:
    """Let somebody in, or give a member another role. Raises RoleForbidden for the roles of owners and admins, InvalidRequest."""
    given = await read_fields(exchange, services, shapes.Invitation)
    link = await services.people.invite_member(given.name, role=given.role, by=exchange.member)
    address = public_address(exchange, services)
    await exchange.respond_json(
        shapes.InvitedMember(
            name=given.name.lower(),
            role=given.role,
            link=None if link is None else f"{address}/welcome/{link.reveal()}",
        )
    )


async def remove_member(exchange: Exchange, services: Services) -> None:
    """Take somebody out. Raises PersonNotFound, RoleForbidden for owners and admins, InvalidRequest."""
    name: str = exchange.path_parameters["name"]
    await services.people.remove_member(name, by=exchange.member)
    await exchange.respond_json(shapes.RemovedMember(name=name.lower(), removed=True))


def _shape(one: PersonRow) -> shapes.Person:
    ways: list[tuple[Literal["password", "passkey", "provider"], bool]] = [
        ("password", one.has_password),
        ("passkey", one.has_passkey),
        ("provider", one.has_identity),
    ]
    return shapes.Person(
        name=one.name,
        role=one.role,
        comes_in_by=[way for way, has in ways if has],
        created_at=iso_time(one.created_at_ms),
    )
