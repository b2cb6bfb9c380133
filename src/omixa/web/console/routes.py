"""The table of the console's routes: what each is, who may use it, and what answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Literal

from omixa.access.roles import Action
from omixa.services import Services
from omixa.web.console import door, keys, openid, overview, pictures, requests, settings, usage, wallet
from omixa.web.console.visit import Visit

Handler = Callable[[Visit], Awaitable[None]]

_WORKSPACE: Final = "/console/{workspace}/{mode}"


def always(services: Services) -> bool:
    """Offer a route on every gateway."""
    return True


def sells_credit(services: Services) -> bool:
    """Offer a route where credit is for sale."""
    return services.topups is not None


def has_provider(services: Services) -> bool:
    """Offer a route where people may sign in at an OpenID provider."""
    return services.openid is not None


@dataclass(frozen=True, slots=True)
class ConsoleRoute:
    """One row. `action` is what a member's role must be enough for; it is None exactly where the path has no workspace.

    `for_everybody` marks what is there before anybody has signed in.
    """

    method: Literal["GET", "POST"]
    path: str
    handler: Handler
    action: Action | None
    for_everybody: bool = False
    is_offered: Callable[[Services], bool] = always


ROUTES: Final = (
    ConsoleRoute("GET", "/sign-in", door.show_sign_in, None, for_everybody=True),
    ConsoleRoute("POST", "/sign-in", door.sign_in, None, for_everybody=True),
    ConsoleRoute("GET", "/sign-in/openid", openid.begin, None, for_everybody=True, is_offered=has_provider),
    ConsoleRoute("GET", "/sign-in/openid/back", openid.come_back, None, for_everybody=True, is_offered=has_provider),
    ConsoleRoute("GET", "/welcome/{link}", door.show_welcome, None, for_everybody=True),
    ConsoleRoute("POST", "/welcome/{link}", door.set_password, None, for_everybody=True),
    ConsoleRoute("GET", "/console", door.show_home, None),
    ConsoleRoute("GET", "/console/profile", door.show_profile, None),
    ConsoleRoute("POST", "/sign-out", door.sign_out, None),
    ConsoleRoute("POST", "/sign-out-everywhere", door.sign_out_everywhere, None),
    ConsoleRoute("GET", _WORKSPACE, overview.show_overview, "read"),
    ConsoleRoute("GET", f"{_WORKSPACE}/requests", requests.list_requests, "read"),
    ConsoleRoute("GET", f"{_WORKSPACE}/requests.csv", requests.requests_csv, "read"),
    ConsoleRoute("GET", f"{_WORKSPACE}/requests/{{request}}", requests.show_request, "read"),
    ConsoleRoute("POST", f"{_WORKSPACE}/requests/{{request}}/delete", requests.delete_pictures, "delete_pictures"),
    ConsoleRoute("GET", f"{_WORKSPACE}/pictures", pictures.show_pictures, "see_pictures"),
    ConsoleRoute("GET", f"{_WORKSPACE}/usage", usage.show_usage, "read"),
    ConsoleRoute("GET", f"{_WORKSPACE}/usage.csv", usage.usage_csv, "read"),
    ConsoleRoute("GET", f"{_WORKSPACE}/wallet", wallet.show_wallet, "read"),
    ConsoleRoute("GET", f"{_WORKSPACE}/wallet/statements/{{month}}.csv", wallet.statement_csv, "read"),
    ConsoleRoute("POST", f"{_WORKSPACE}/wallet/topups", wallet.order_topup, "buy_credit", is_offered=sells_credit),
    ConsoleRoute("GET", f"{_WORKSPACE}/settings", settings.show_settings, "read"),
    ConsoleRoute("POST", f"{_WORKSPACE}/settings", settings.change_settings, "manage_settings"),
    ConsoleRoute("GET", f"{_WORKSPACE}/keys", keys.list_keys, "read"),
    ConsoleRoute("POST", f"{_WORKSPACE}/keys", keys.create_key, "manage_keys"),
    ConsoleRoute("GET", f"{_WORKSPACE}/keys/{{key}}", keys.show_key, "read"),
    ConsoleRoute("POST", f"{_WORKSPACE}/keys/{{key}}/limits", keys.change_key, "manage_keys"),
    ConsoleRoute("POST", f"{_WORKSPACE}/keys/{{key}}/roll", keys.roll_key, "manage_keys"),
    ConsoleRoute("POST", f"{_WORKSPACE}/keys/{{key}}/revoke", keys.revoke_key, "manage_keys"),
)
