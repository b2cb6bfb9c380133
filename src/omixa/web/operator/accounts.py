"""Accounts at providers: what is stored of them, and what can be changed. A key goes in here and never comes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Final

from omixa.domain.access import Secret
from omixa.domain.accounts import ENTRA_SCOPE, MAX_PRIORITY, MAX_WEIGHT, Auth, ProviderAccount
from omixa.errors import InvalidRequest, OmixaError
from omixa.gateway.accounts import AccountChanges, AccountView
from omixa.routing.router import Standing
from omixa.web.console.visit import Visit

# How each kind of credential is called on the pages.
KINDS: Final[Mapping[Auth, str]] = {
    "api_key": "its own key",
    "bearer_token": "a token that you renew",
    "entra": "tokens of Microsoft Entra, fetched by this server",
}
_NUMBERS: Final = ("weight", "priority", "requests_per_minute", "images_per_minute", "concurrency")
_TEXTS: Final = ("provider", "endpoint", "auth", "models", "deployment", "region", *_NUMBERS)
_MAX_DIGITS = 9


@dataclass(frozen=True, slots=True)
class AccountLine:
    """A stored account, and how its deployments stand: how many are in use of how many, and why others are not."""

    view: AccountView
    routes: int
    in_use: int
    reason: str | None


async def list_accounts(visit: Visit) -> None:
    """Send all accounts, and the form for a new one."""
    await _send_list(visit)


async def add_account(visit: Visit) -> None:
    """Store an account with its key; it serves from now on."""
    try:
        name = visit.form.text("name")
        account = replace(ProviderAccount(name, entra_scope=ENTRA_SCOPE), **_changes(visit))
        await visit.services.accounts.add(account, actor=visit.visitor.person_id)
    except OmixaError as error:
        await _send_list(visit, error)
        return
    await visit.redirect(f"operator/accounts/{name}")


async def _send_list(visit: Visit, error: OmixaError | None = None) -> None:
    services = visit.services
    standings = services.router.standings()
    lines = [_line(view, standings) for view in await services.accounts.list()]
    await visit.send(
        "operator/accounts.html",
        "Accounts at providers",
        section="accounts",
        status=200 if error is None else error.status,
        error=error,
        lines=lines,
        configured=services.settings.accounts,
        # A key that was written is not sent back.
        given={name: visit.form.text(name) for name in ("name", *_TEXTS)} if error is not None else {},
        **_choices(visit),
        calls=[
            visit.operator_call("accounts"),
            visit.operator_call("routes"),
            visit.operator_change("POST", "accounts", name="sweden", provider="foundry", credential="…"),
        ],
        commands=["omixa accounts list --json", "omixa accounts add NAME --provider PROVIDER"],
    )


async def show_account(visit: Visit) -> None:
    """Send one account: what can be changed of it."""
    await _send_one(visit)


async def change_account(visit: Visit) -> None:
    """Change an account. Where no key is written, the one that is stored stays."""
    name = _name(visit)
    try:
        await visit.services.accounts.change(name, _changes(visit), actor=visit.visitor.person_id)
    except OmixaError as error:
        await _send_one(visit, error)
        return
    await visit.redirect(f"operator/accounts/{name}")


async def enable_account(visit: Visit) -> None:
    """Let an account serve again."""
    await visit.services.accounts.enable(_name(visit), actor=visit.visitor.person_id)
    await visit.redirect(f"operator/accounts/{_name(visit)}")


async def disable_account(visit: Visit) -> None:
    """Let an account serve nothing for now."""
    await visit.services.accounts.disable(_name(visit), actor=visit.visitor.person_id)
    await visit.redirect(f"operator/accounts/{_name(visit)}")


async def remove_account(visit: Visit) -> None:
    """Forget an account and its key."""
    await visit.services.accounts.remove(_name(visit), actor=visit.visitor.person_id)
    await visit.redirect("operator/accounts")


async def _send_one(visit: Visit, error: OmixaError | None = None) -> None:
    name = _name(visit)
    view = await visit.services.accounts.show(name)
    account = view.account
    given = {one: visit.form.text(one) for one in _TEXTS} if error is not None else _written(account)
    await visit.send(
        "operator/account.html",
        name,
        section="accounts",
        status=200 if error is None else error.status,
        error=error,
        line=_line(view, visit.services.router.standings()),
        given=given,
        **_choices(visit),
        calls=[
            visit.operator_call(f"accounts/{name}"),
            visit.operator_call("audit", target=name),
            visit.operator_change("PATCH", f"accounts/{name}", weight=2),
            visit.operator_change("POST", f"accounts/{name}/{'disable' if view.enabled else 'enable'}"),
            visit.operator_change("DELETE", f"accounts/{name}"),
        ],
        commands=[f"omixa accounts change {name} --help"],
    )


def _choices(visit: Visit) -> dict[str, object]:
    providers = [one for one in visit.services.catalogue.providers.values() if one.adapter != "embedded"]
    return {
        "providers": sorted(providers, key=lambda one: one.id),
        "kinds": KINDS,
        "most_weight": MAX_WEIGHT,
        "most_priority": MAX_PRIORITY,
    }


def _line(view: AccountView, standings: list[Standing]) -> AccountLine:
    own = [one for one in standings if one.deployment.account == view.account.name]
    reasons = [one.reason for one in own if one.reason is not None]
    return AccountLine(
        view, len(own), sum(one.state == "closed" for one in own), view.problem or (reasons[0] if reasons else None)
    )


def _written(account: ProviderAccount) -> dict[str, str]:
    """Return an account as a form has it."""
    values = asdict(account) | {"models": "\n".join(account.models)}
    written = {name: str(values[name]) for name in _TEXTS}
    # No limit is an empty field.
    return {name: "" if name in _NUMBERS[2:] and value == "0" else value for name, value in written.items()}


def _name(visit: Visit) -> str:
    name: str = visit.exchange.path_parameters["account"]
    return name.replace("\0", "")


# ------------------------------------------------------------------------------------------------------------------ fields


def _changes(visit: Visit) -> AccountChanges:
    """Return what a form says of an account, with its key where one is written.

    Raises InvalidRequest for what is no number and no kind.
    """
    form = visit.form
    changes: AccountChanges = {
        "provider": form.text("provider"),
        "endpoint": form.text("endpoint").rstrip("/"),
        "auth": _auth(form.text("auth")),
        "models": tuple(form.text("models").replace(",", " ").split()),
        "deployment": form.text("deployment"),
        "region": form.text("region"),
        "weight": _number(visit, "weight", usual=1),
        "priority": _number(visit, "priority"),
        "requests_per_minute": _number(visit, "requests_per_minute"),
        "images_per_minute": _number(visit, "images_per_minute"),
        "concurrency": _number(visit, "concurrency"),
    }
    if written := form.text("credential"):
        changes["credential"] = Secret(written)
    return changes


def _auth(text: str) -> Auth:
    for known in KINDS:
        if text == known:
            return known
    raise InvalidRequest("Choose how the account shows who it is.", param="auth")


def _number(visit: Visit, name: str, *, usual: int = 0) -> int:
    text = visit.form.text(name)
    if not text:
        return usual
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
        raise InvalidRequest(f'"{text[:80]}" is no whole number.', param=name)
    return int(text)
