"""Who may do what: one table of roles in a workspace, and what is for operators. Pages and tests are made from both."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, Literal, get_args

from omixa.domain.access import Role, Scope

Action = Literal[
    "read",
    "see_pictures",
    "delete_pictures",
    "manage_keys",
    "give_scopes",
    "buy_credit",
    "manage_alerts",
    "manage_settings",
    "manage_members",
]

# What whoever runs the gateway may do in all of it, whatever their role in a workspace is.
# see_gateway: everything but secrets, prompts and pictures. manage_routes: use deployments again. manage_accounts: accounts at
# providers and their keys. manage_workspaces: credit, markups, budgets and limits of every workspace. explain_findings: take over
# what a provider bills. compare_prices: rate what was used by other lists, which changes nothing.
OperatorAction = Literal[
    "see_gateway", "manage_routes", "manage_accounts", "manage_workspaces", "explain_findings", "compare_prices"
]

ROLES: Final[tuple[Role, ...]] = get_args(Role)

_EVERYBODY: Final = frozenset(ROLES)

# read: balances, usage, settings, keys without their secrets, the request log with receipts and attempts. see_pictures and
# delete_pictures: what was made, and its prompts where those are kept. manage_keys: create, change, roll and revoke them.
# give_scopes: let a key do what people do. buy_credit: order a top-up. manage_alerts: say when somebody is told that credit
# runs low. manage_settings: how results are kept. manage_members: let people in, change their roles and take them out; owners
# alone do so with owners.
_MAY: Final[Mapping[Action, frozenset[Role]]] = {
    "read": _EVERYBODY,
    "see_pictures": frozenset({"owner", "admin", "developer", "viewer"}),
    "delete_pictures": frozenset({"owner", "admin", "developer"}),
    "manage_keys": frozenset({"owner", "admin", "developer"}),
    "give_scopes": frozenset({"owner", "admin"}),
    "buy_credit": frozenset({"owner", "admin", "billing"}),
    "manage_alerts": frozenset({"owner", "admin", "billing"}),
    "manage_settings": frozenset({"owner", "admin"}),
    "manage_members": frozenset({"owner", "admin"}),
}

SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)

# What a key may do that makes pictures, whoever has it. One with scopes may read, and do what they say.
_EVERY_KEY: Final[frozenset[Action]] = frozenset(
    {"read", "see_pictures", "delete_pictures", "buy_credit", "manage_settings"}
)


def may(role: Role, action: Action) -> bool:
    """Tell whether a role is enough for an action."""
    return role in _MAY[action]


def roles_that_may(action: Action) -> list[Role]:
    """Return which roles are enough for an action, in their order."""
    return [role for role in ROLES if role in _MAY[action]]


def key_may(scopes: Collection[Scope], action: Action) -> bool:
    """Tell whether a key with these scopes is made for an action; for what a scope says, a person's role decides besides."""
    return action == "read" or action in (scopes or _EVERY_KEY)
