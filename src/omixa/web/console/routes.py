"""The table of all routes for people: what each is, who may use it, and what answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Literal

from omixa.access.roles import Action, OperatorAction
from omixa.services import Services
from omixa.web.console import door, keys, openid, overview, passkeys, pictures, requests, settings, usage, wallet
from omixa.web.console.visit import Visit
from omixa.web.operator import accounts, audit, calls, findings, margins, prices, routing, workspaces
from omixa.web.operator import overview as gateway

Handler = Callable[[Visit], Awaitable[None]]

_WORKSPACE: Final = "/console/{workspace}/{mode}"
_GATEWAY: Final = "/operator"


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
    """One row. `action` is what a member's role must be enough for; it is None exactly where the path leads into no workspace.

    `operates` is what an operator does there, on the pages of the gateway as a whole; they are for nobody else.

    `for_everybody` marks what is there before anybody has signed in.
    """

    method: Literal["GET", "POST"]
    path: str
    handler: Handler
    action: Action | None
    operates: OperatorAction | None = None
    for_everybody: bool = False
    is_offered: Callable[[Services], bool] = always


ROUTES: Final = (
    ConsoleRoute("GET", "/sign-in", door.show_sign_in, None, for_everybody=True),
    ConsoleRoute("POST", "/sign-in", door.sign_in, None, for_everybody=True),
    ConsoleRoute("GET", "/sign-in/openid", openid.begin, None, for_everybody=True, is_offered=has_provider),
    ConsoleRoute("GET", "/sign-in/openid/back", openid.come_back, None, for_everybody=True, is_offered=has_provider),
    ConsoleRoute("GET", "/welcome/{link}", door.show_welcome, None, for_everybody=True),
    ConsoleRoute("POST", "/welcome/{link}", door.set_password, None, for_everybody=True),
    ConsoleRoute("POST", "/sign-in/passkey/options", passkeys.ask_to_sign_in, None, for_everybody=True),
    ConsoleRoute("POST", "/sign-in/passkey", passkeys.sign_in, None, for_everybody=True),
    ConsoleRoute("POST", "/welcome/{link}/passkey/options", passkeys.ask_by_link, None, for_everybody=True),
    ConsoleRoute("POST", "/welcome/{link}/passkey", passkeys.use_link, None, for_everybody=True),
    ConsoleRoute("GET", "/console", door.show_home, None),
    ConsoleRoute("GET", "/console/profile", door.show_profile, None),
    ConsoleRoute("POST", "/console/profile/passkeys/options", passkeys.ask_for_one, None),
    ConsoleRoute("POST", "/console/profile/passkeys", passkeys.add, None),
    ConsoleRoute("POST", "/console/profile/passkeys/{passkey}/remove", passkeys.remove, None),
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
    ConsoleRoute("POST", f"{_WORKSPACE}/wallet/alert", wallet.change_alert, "manage_alerts"),
    ConsoleRoute("POST", f"{_WORKSPACE}/wallet/topups", wallet.order_topup, "buy_credit", is_offered=sells_credit),
    ConsoleRoute("GET", f"{_WORKSPACE}/settings", settings.show_settings, "read"),
    ConsoleRoute("POST", f"{_WORKSPACE}/settings", settings.change_settings, "manage_settings"),
    ConsoleRoute("POST", f"{_WORKSPACE}/settings/members", settings.invite, "manage_members"),
    ConsoleRoute("POST", f"{_WORKSPACE}/settings/members/remove", settings.remove, "manage_members"),
    ConsoleRoute("GET", f"{_WORKSPACE}/keys", keys.list_keys, "read"),
    ConsoleRoute("POST", f"{_WORKSPACE}/keys", keys.create_key, "manage_keys"),
    ConsoleRoute("GET", f"{_WORKSPACE}/keys/{{key}}", keys.show_key, "read"),
    ConsoleRoute("POST", f"{_WORKSPACE}/keys/{{key}}/limits", keys.change_key, "manage_keys"),
    ConsoleRoute("POST", f"{_WORKSPACE}/keys/{{key}}/roll", keys.roll_key, "manage_keys"),
    ConsoleRoute("POST", f"{_WORKSPACE}/keys/{{key}}/revoke", keys.revoke_key, "manage_keys"),
    ConsoleRoute("GET", _GATEWAY, gateway.show_overview, None, "see_gateway"),
    ConsoleRoute("GET", f"{_GATEWAY}/routes", routing.show_routes, None, "see_gateway"),
    ConsoleRoute("POST", f"{_GATEWAY}/routes/enable", routing.enable_route, None, "manage_routes"),
    ConsoleRoute("GET", f"{_GATEWAY}/calls", calls.list_calls, None, "see_gateway"),
    ConsoleRoute("GET", f"{_GATEWAY}/requests", calls.find_request, None, "see_gateway"),
    ConsoleRoute("GET", f"{_GATEWAY}/requests/{{request}}", calls.show_request, None, "see_gateway"),
    ConsoleRoute("GET", f"{_GATEWAY}/accounts", accounts.list_accounts, None, "see_gateway"),
    ConsoleRoute("POST", f"{_GATEWAY}/accounts", accounts.add_account, None, "manage_accounts"),
    ConsoleRoute("GET", f"{_GATEWAY}/accounts/{{account}}", accounts.show_account, None, "see_gateway"),
    ConsoleRoute("POST", f"{_GATEWAY}/accounts/{{account}}", accounts.change_account, None, "manage_accounts"),
    ConsoleRoute("POST", f"{_GATEWAY}/accounts/{{account}}/enable", accounts.enable_account, None, "manage_accounts"),
    ConsoleRoute("POST", f"{_GATEWAY}/accounts/{{account}}/disable", accounts.disable_account, None, "manage_accounts"),
    ConsoleRoute("POST", f"{_GATEWAY}/accounts/{{account}}/remove", accounts.remove_account, None, "manage_accounts"),
    ConsoleRoute("GET", f"{_GATEWAY}/prices", prices.show_prices, None, "see_gateway"),
    ConsoleRoute("GET", f"{_GATEWAY}/prices/difference", prices.show_difference, None, "see_gateway"),
    ConsoleRoute("POST", f"{_GATEWAY}/prices/difference", prices.compare_file, None, "compare_prices"),
    ConsoleRoute("GET", f"{_GATEWAY}/workspaces", workspaces.list_workspaces, None, "see_gateway"),
    ConsoleRoute("GET", f"{_GATEWAY}/workspaces/{{name}}", workspaces.show_workspace, None, "see_gateway"),
    ConsoleRoute("POST", f"{_GATEWAY}/workspaces/{{name}}/credit", workspaces.grant, None, "manage_workspaces"),
    ConsoleRoute("POST", f"{_GATEWAY}/workspaces/{{name}}/markup", workspaces.set_markup, None, "manage_workspaces"),
    ConsoleRoute("POST", f"{_GATEWAY}/workspaces/{{name}}/budgets", workspaces.set_budgets, None, "manage_workspaces"),
    ConsoleRoute("POST", f"{_GATEWAY}/workspaces/{{name}}/limits", workspaces.set_limits, None, "manage_workspaces"),
    ConsoleRoute("POST", f"{_GATEWAY}/workspaces/{{name}}/results", workspaces.set_results, None, "manage_workspaces"),
    ConsoleRoute("POST", f"{_GATEWAY}/workspaces/{{name}}/resume", workspaces.resume, None, "manage_workspaces"),
    ConsoleRoute("GET", f"{_GATEWAY}/findings", findings.list_findings, None, "see_gateway"),
    ConsoleRoute("POST", f"{_GATEWAY}/findings/{{finding}}/accept", findings.accept, None, "explain_findings"),
    ConsoleRoute("GET", f"{_GATEWAY}/margins", margins.show_margins, None, "see_gateway"),
    ConsoleRoute("GET", f"{_GATEWAY}/audit", audit.list_entries, None, "see_gateway"),
)
