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

    `twins` are the operations of the API by which a program gets or does the same. Only the door has none: who signs in, and how,
    is between a person and their browser.

    `for_everybody` marks what is there before anybody has signed in.
    """

    method: Literal["GET", "POST"]
    path: str
    handler: Handler
    action: Action | None
    operates: OperatorAction | None = None
    twins: tuple[str, ...] = ()
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
    ConsoleRoute(
        "GET",
        _WORKSPACE,
        overview.show_overview,
        "read",
        twins=("getBalance", "listBudgets", "listRollups", "listRequests"),
    ),
    ConsoleRoute("GET", f"{_WORKSPACE}/requests", requests.list_requests, "read", twins=("listRequests",)),
    ConsoleRoute(
        "GET", f"{_WORKSPACE}/requests.csv", requests.requests_csv, "read", twins=("listRequests", "exportUsage")
    ),
    ConsoleRoute(
        "GET",
        f"{_WORKSPACE}/requests/{{request}}",
        requests.show_request,
        "read",
        twins=("getRequest", "getRequestReceipt", "listRequestPictures"),
    ),
    ConsoleRoute(
        "POST",
        f"{_WORKSPACE}/requests/{{request}}/delete",
        requests.delete_pictures,
        "delete_pictures",
        twins=("deleteRequestResult",),
    ),
    ConsoleRoute(
        "GET",
        f"{_WORKSPACE}/pictures",
        pictures.show_pictures,
        "see_pictures",
        twins=("listRequests", "listRequestPictures"),
    ),
    ConsoleRoute("GET", f"{_WORKSPACE}/usage", usage.show_usage, "read", twins=("listRollups", "getForecast")),
    ConsoleRoute("GET", f"{_WORKSPACE}/usage.csv", usage.usage_csv, "read", twins=("listRollups",)),
    ConsoleRoute(
        "GET",
        f"{_WORKSPACE}/wallet",
        wallet.show_wallet,
        "read",
        twins=("getBalance", "listCredit", "getForecast", "getAlertSettings", "listStatements"),
    ),
    ConsoleRoute(
        "GET", f"{_WORKSPACE}/wallet/statements/{{month}}.csv", wallet.statement_csv, "read", twins=("getStatement",)
    ),
    ConsoleRoute(
        "POST", f"{_WORKSPACE}/wallet/alert", wallet.change_alert, "manage_alerts", twins=("changeAlertSettings",)
    ),
    ConsoleRoute(
        "POST",
        f"{_WORKSPACE}/wallet/topups",
        wallet.order_topup,
        "buy_credit",
        is_offered=sells_credit,
        twins=("createTopUp",),
    ),
    ConsoleRoute(
        "GET",
        f"{_WORKSPACE}/settings",
        settings.show_settings,
        "read",
        twins=("getResultSettings", "listRoutes", "listMembers"),
    ),
    ConsoleRoute(
        "POST", f"{_WORKSPACE}/settings", settings.change_settings, "manage_settings", twins=("changeResultSettings",)
    ),
    ConsoleRoute("POST", f"{_WORKSPACE}/settings/members", settings.invite, "manage_members", twins=("inviteMember",)),
    ConsoleRoute(
        "POST", f"{_WORKSPACE}/settings/members/remove", settings.remove, "manage_members", twins=("removeMember",)
    ),
    ConsoleRoute("GET", f"{_WORKSPACE}/keys", keys.list_keys, "read", twins=("listKeys", "listRollups")),
    ConsoleRoute("POST", f"{_WORKSPACE}/keys", keys.create_key, "manage_keys", twins=("createKey",)),
    ConsoleRoute("GET", f"{_WORKSPACE}/keys/{{key}}", keys.show_key, "read", twins=("getKey", "listRequests")),
    ConsoleRoute("POST", f"{_WORKSPACE}/keys/{{key}}/limits", keys.change_key, "manage_keys", twins=("changeKey",)),
    ConsoleRoute("POST", f"{_WORKSPACE}/keys/{{key}}/roll", keys.roll_key, "manage_keys", twins=("rollKey",)),
    ConsoleRoute("POST", f"{_WORKSPACE}/keys/{{key}}/revoke", keys.revoke_key, "manage_keys", twins=("revokeKey",)),
    ConsoleRoute(
        "GET",
        _GATEWAY,
        gateway.show_overview,
        None,
        "see_gateway",
        twins=("listOperatedRoutes", "listRouteCalls", "listOpenFindings", "listPublishedPrices", "getReadiness"),
    ),
    ConsoleRoute(
        "GET",
        f"{_GATEWAY}/routes",
        routing.show_routes,
        None,
        "see_gateway",
        twins=("listOperatedRoutes", "listRouteCalls"),
    ),
    ConsoleRoute(
        "POST", f"{_GATEWAY}/routes/enable", routing.enable_route, None, "manage_routes", twins=("enableRoute",)
    ),
    ConsoleRoute("GET", f"{_GATEWAY}/calls", calls.list_calls, None, "see_gateway", twins=("listFailedCalls",)),
    ConsoleRoute("GET", f"{_GATEWAY}/requests", calls.find_request, None, "see_gateway", twins=("getOperatedRequest",)),
    ConsoleRoute(
        "GET",
        f"{_GATEWAY}/requests/{{request}}",
        calls.show_request,
        None,
        "see_gateway",
        twins=("getOperatedRequest",),
    ),
    ConsoleRoute("GET", f"{_GATEWAY}/accounts", accounts.list_accounts, None, "see_gateway", twins=("listAccounts",)),
    ConsoleRoute("POST", f"{_GATEWAY}/accounts", accounts.add_account, None, "manage_accounts", twins=("addAccount",)),
    ConsoleRoute(
        "GET", f"{_GATEWAY}/accounts/{{account}}", accounts.show_account, None, "see_gateway", twins=("getAccount",)
    ),
    ConsoleRoute(
        "POST",
        f"{_GATEWAY}/accounts/{{account}}",
        accounts.change_account,
        None,
        "manage_accounts",
        twins=("changeAccount",),
    ),
    ConsoleRoute(
        "POST",
        f"{_GATEWAY}/accounts/{{account}}/enable",
        accounts.enable_account,
        None,
        "manage_accounts",
        twins=("enableAccount",),
    ),
    ConsoleRoute(
        "POST",
        f"{_GATEWAY}/accounts/{{account}}/disable",
        accounts.disable_account,
        None,
        "manage_accounts",
        twins=("disableAccount",),
    ),
    ConsoleRoute(
        "POST",
        f"{_GATEWAY}/accounts/{{account}}/remove",
        accounts.remove_account,
        None,
        "manage_accounts",
        twins=("removeAccount",),
    ),
    ConsoleRoute("GET", f"{_GATEWAY}/prices", prices.show_prices, None, "see_gateway", twins=("listPublishedPrices",)),
    ConsoleRoute(
        "GET",
        f"{_GATEWAY}/prices/difference",
        prices.show_difference,
        None,
        "see_gateway",
        twins=("getPriceDifference",),
    ),
    ConsoleRoute(
        "POST", f"{_GATEWAY}/prices/difference", prices.compare_file, None, "compare_prices", twins=("comparePrices",)
    ),
    ConsoleRoute(
        "GET", f"{_GATEWAY}/workspaces", workspaces.list_workspaces, None, "see_gateway", twins=("listWorkspaces",)
    ),
    ConsoleRoute(
        "GET",
        f"{_GATEWAY}/workspaces/{{name}}",
        workspaces.show_workspace,
        None,
        "see_gateway",
        twins=("getWorkspace",),
    ),
    ConsoleRoute(
        "POST",
        f"{_GATEWAY}/workspaces/{{name}}/credit",
        workspaces.grant,
        None,
        "manage_workspaces",
        twins=("grantCredit",),
    ),
    ConsoleRoute(
        "POST",
        f"{_GATEWAY}/workspaces/{{name}}/markup",
        workspaces.set_markup,
        None,
        "manage_workspaces",
        twins=("setMarkup",),
    ),
    ConsoleRoute(
        "POST",
        f"{_GATEWAY}/workspaces/{{name}}/budgets",
        workspaces.set_budgets,
        None,
        "manage_workspaces",
        twins=("setWorkspaceBudgets",),
    ),
    ConsoleRoute(
        "POST",
        f"{_GATEWAY}/workspaces/{{name}}/limits",
        workspaces.set_limits,
        None,
        "manage_workspaces",
        twins=("setWorkspaceLimits",),
    ),
    ConsoleRoute(
        "POST",
        f"{_GATEWAY}/workspaces/{{name}}/results",
        workspaces.set_results,
        None,
        "manage_workspaces",
        twins=("setWorkspaceResults",),
    ),
    ConsoleRoute(
        "POST",
        f"{_GATEWAY}/workspaces/{{name}}/resume",
        workspaces.resume,
        None,
        "manage_workspaces",
        twins=("resumeWorkspace",),
    ),
    ConsoleRoute(
        "GET", f"{_GATEWAY}/findings", findings.list_findings, None, "see_gateway", twins=("listOpenFindings",)
    ),
    ConsoleRoute(
        "POST",
        f"{_GATEWAY}/findings/{{finding}}/accept",
        findings.accept,
        None,
        "explain_findings",
        twins=("acceptFinding",),
    ),
    ConsoleRoute("GET", f"{_GATEWAY}/margins", margins.show_margins, None, "see_gateway", twins=("listMargins",)),
    ConsoleRoute("GET", f"{_GATEWAY}/audit", audit.list_entries, None, "see_gateway", twins=("listAuditEntries",)),
)
