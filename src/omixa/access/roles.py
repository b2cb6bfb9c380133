"""Who may do what in a workspace: one table. Pages and tests are made from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, get_args

from omixa.domain.access import Role

Action = Literal["read", "see_pictures", "delete_pictures", "manage_keys", "buy_credit", "manage_settings"]

ROLES: Final[tuple[Role, ...]] = get_args(Role)

_EVERYBODY: Final = frozenset(ROLES)

# read: balances, usage, settings, keys without their secrets, the request log with receipts and attempts. see_pictures and
# delete_pictures: what was made. manage_keys: create, change, roll and revoke them. buy_credit: order a top-up.
# manage_settings: how results are kept.
_MAY: Final[Mapping[Action, frozenset[Role]]] = {
    "read": _EVERYBODY,
    "see_pictures": frozenset({"owner", "admin", "developer", "viewer"}),
    "delete_pictures": frozenset({"owner", "admin", "developer"}),
    "manage_keys": frozenset({"owner", "admin", "developer"}),
    "buy_credit": frozenset({"owner", "admin", "billing"}),
    "manage_settings": frozenset({"owner", "admin"}),
}


def may(role: Role, action: Action) -> bool:
    """Tell whether a role is enough for an action."""
    return role in _MAY[action]


def roles_that_may(action: Action) -> list[Role]:
    """Return which roles are enough for an action, in their order."""
    return [role for role in ROLES if role in _MAY[action]]
