"""Accounts at providers: who is called, where, with which credential, and for what share of the requests."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from omixa.domain.access import RateLimits, Secret

# How an account shows who it is: by its own key, by a token that somebody else renews, or by tokens of Microsoft Entra that the
# gateway fetches for the identity it runs under.
Auth = Literal["api_key", "bearer_token", "entra"]
Quality = Literal["low", "medium", "high", "xhigh", "max", "auto"]

# What routes, attempts and receipts call an account, before /MODEL.
ACCOUNT_NAME = "^[a-z0-9][a-z0-9._-]{0,62}$"
MAX_REGION = 63
MAX_WEIGHT = 1000
MAX_PRIORITY = 1000
# Each call of the last minute is remembered.
MAX_PACE = 100_000
# What a token has to be for, to be taken by a resource of Azure's AI services.
ENTRA_SCOPE = "https://cognitiveservices.azure.com/.default"

# The account of the section [foundry] is called so.
SHORT_FORM = "foundry"
# Routes of Omixa's own begin with these.
RESERVED = frozenset({"embedded", "simulator", SHORT_FORM})

_NAME = re.compile(ACCOUNT_NAME)
_ENDPOINT = re.compile(r"https?://[^/?#@\s]+(/[^?#@\s]*)?")
_SCOPE = re.compile(r"[!-~]{1,300}")
MAX_CREDENTIAL = 16_384
MAX_ENDPOINT = 2048
MAX_DEPLOYMENT = 512
MAX_MODELS = 500


@dataclass(frozen=True, slots=True)
class ProviderAccount:
    """An account at a provider, for live keys.

    Without an `endpoint` it is the provider's, without `models` it serves all that the provider has in the catalogue.
    `deployment` is how the provider calls the one model, where that is not the model's name. The limits are in calls a minute,
    pictures a minute and calls at a time, for each model; 0 is none. `credential` is the key or token, None under `entra`.
    `fault` says in one word why the account cannot be used at present, and is empty where it can.
    """

    name: str
    provider: str = "foundry"
    endpoint: str = ""
    auth: Auth = "api_key"
    credential: Secret | None = None
    entra_scope: str = ENTRA_SCOPE
    models: tuple[str, ...] = ()
    deployment: str = ""
    region: str = ""
    weight: int = 1
    priority: int = 0
    qualities: tuple[Quality, ...] = ()
    requests_per_minute: int = 0
    images_per_minute: int = 0
    concurrency: int = 0
    fault: str = ""

    @property
    def limits(self) -> RateLimits:
        """Return how often the provider may be asked."""
        return RateLimits(self.requests_per_minute, self.images_per_minute, self.concurrency)

    def serves(self, model: str) -> bool:
        """Tell whether a model of the provider is called with this account."""
        return not self.models or model.lower() in (name.lower() for name in self.models)


def is_endpoint(address: str) -> bool:
    """Tell whether a text is an address that requests can be sent to: no name before the host, no query."""
    return len(address) <= MAX_ENDPOINT and _ENDPOINT.fullmatch(address) is not None


@dataclass(frozen=True, slots=True)
class Mistake:
    """A field of an account that is wrong, and what is accepted there."""

    field: str
    message: str


def mistake_in(account: ProviderAccount) -> Mistake | None:
    """Return the first field that cannot be as it is, whatever the catalogue says; None where all is well.

    Whether there is a credential is left to the caller: one that is stored already need not be given again.
    """
    for field, is_wrong, accepted in (
        ("name", not _NAME.fullmatch(account.name), "1 to 63 small letters, digits, dots, dashes or underscores"),
        ("name", account.name in RESERVED, f"a name that is not Omixa's own: not {', '.join(sorted(RESERVED))}"),
        (
            "endpoint",
            bool(account.endpoint) and not is_endpoint(account.endpoint),
            "an address such as https://NAME.services.ai.azure.com, without a name, a query or a fragment",
        ),
        ("entra_scope", not _SCOPE.fullmatch(account.entra_scope), f"a scope such as {ENTRA_SCOPE}"),
        ("models", len(account.models) > MAX_MODELS, f"at most {MAX_MODELS} models"),
        (
            "deployment",
            not _is_word(account.deployment, MAX_DEPLOYMENT),
            f"at most {MAX_DEPLOYMENT} printable characters",
        ),
        (
            "deployment",
            bool(account.deployment) and len(account.models) != 1,
            "the name of one model's deployment, so exactly one of models",
        ),
        ("region", not _is_word(account.region, MAX_REGION), f"at most {MAX_REGION} printable characters"),
        ("weight", not 1 <= account.weight <= MAX_WEIGHT, f"a whole number from 1 to {MAX_WEIGHT}"),
        ("priority", not 0 <= account.priority <= MAX_PRIORITY, f"a whole number from 0 to {MAX_PRIORITY}"),
        *(
            (limit, not 0 <= getattr(account, limit) <= MAX_PACE, f"a whole number from 0, for no limit, to {MAX_PACE}")
            for limit in ("requests_per_minute", "images_per_minute", "concurrency")
        ),
        (
            "credential",
            account.credential is not None and not is_credential(account.credential),
            f"1 to {MAX_CREDENTIAL} visible ASCII characters, as they stand in a header",
        ),
        ("credential", account.auth == "entra" and account.credential is not None, "none: Entra's tokens are fetched"),
    ):
        if is_wrong:
            return Mistake(field, f"{field} must be {accepted}.")
    return None


def is_credential(secret: Secret) -> bool:
    """Tell whether a key or token can be sent in a header."""
    return re.fullmatch(rf"[!-~]{{1,{MAX_CREDENTIAL}}}", secret.reveal()) is not None


def _is_word(text: str, limit: int) -> bool:
    return len(text) <= limit and (not text or text.isprintable())
