"""Who is asking, and secrets that never show themselves."""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass
from typing import Literal

Mode = Literal["live", "test"]
# How pictures come back where a request does not say: in base64 inside the answer, as links, or both.
ResponseFormat = Literal["b64_json", "url", "both"]

# What a person is in a workspace; access/roles.py says what each may do there.
Role = Literal["owner", "admin", "billing", "developer", "viewer"]

# What a key may be made for instead of pictures: it then does what a person may, and nothing else.
Scope = Literal["manage_keys", "manage_members", "manage_alerts"]

# What is taken for an e-mail address: enough to keep lines, lists and typing errors out. The mail server knows the rest.
EMAIL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*")

# Exists from the start.
DEFAULT_WORKSPACE = "default"


class Secret:
    """A credential. Printing or formatting it gives stars; `reveal` is called only where it is sent or compared."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the secret itself."""
        return self._value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__


@dataclass(frozen=True, slots=True)
class RateLimits:
    """How often may be asked, and for how many pictures at a time. 0 is no limit, None what is usual."""

    requests_per_minute: int | None = None
    images_per_minute: int | None = None
    concurrent_images: int | None = None

    def or_else(self, usual: RateLimits) -> RateLimits:
        """Return these limits, with those of another one where they are None."""
        return RateLimits(
            usual.requests_per_minute if self.requests_per_minute is None else self.requests_per_minute,
            usual.images_per_minute if self.images_per_minute is None else self.images_per_minute,
            usual.concurrent_images if self.concurrent_images is None else self.concurrent_images,
        )


NO_LIMITS = RateLimits(0, 0, 0)


@dataclass(frozen=True, slots=True)
class Constraints:
    """Where requests may be made: at which providers and in which regions, None for all of them. Names are in lower case.

    Regions bound where a request is sent to, so what runs inside the process is in all of them; elsewhere a deployment of which
    no region is known is in none.
    """

    providers: frozenset[str] | None = None
    regions: frozenset[str] | None = None

    def __str__(self) -> str:
        parts = [
            f"{name} {', '.join(sorted(allowed))}"
            for name, allowed in (("providers", self.providers), ("regions", self.regions))
            if allowed is not None
        ]
        return " and ".join(parts) or "all providers"


UNCONSTRAINED = Constraints()


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated key: whose money it spends, in which mode, and which models it may call (None: every model).

    `markup_ppm` is what the workspace pays above the price lists in parts per million, a discount below zero.
    `requires_signature` says that requests with this key must be signed. The limits are those that were set for the key and for
    its workspace, whose requests may go where its `constraints` allow. `result_retention_ms` is how long results are kept: None
    is what is usual, 0 until they are delivered. `keep_prompts` says that the workspace wants its prompts kept beside them.

    A key with `scopes` makes no pictures. It does what they say for the person of `person_id`, as far as their role goes.
    """

    workspace_id: str
    workspace: str
    account_id: str
    key_id: str
    mode: Mode
    models: frozenset[str] | None
    markup_ppm: int = 0
    requires_signature: bool = False
    key_limits: RateLimits = RateLimits()
    workspace_limits: RateLimits = RateLimits()
    result_retention_ms: int | None = None
    response_format: ResponseFormat = "b64_json"
    keep_prompts: bool = False
    constraints: Constraints = UNCONSTRAINED
    scopes: frozenset[Scope] = frozenset()
    person_id: str | None = None

    @property
    def keeps_nothing(self) -> bool:
        """Tell whether results are kept only until they are delivered."""
        return self.result_retention_ms == 0

    @property
    def keeps_prompts(self) -> bool:
        """Tell whether prompts are kept. Where nothing is kept they are not, whatever was set."""
        return self.keep_prompts and not self.keeps_nothing

    def may_call(self, model_id: str) -> bool:
        """Tell whether the key is allowed to call a model. Names compare without case."""
        return self.models is None or model_id.lower() in self.models


@dataclass(frozen=True, slots=True)
class Member:
    """A person in a workspace: who acts there, and as what. `key_id` is the key that acts for them, None for themselves."""

    person_id: str
    person: str
    workspace_id: str
    workspace: str
    role: Role
    key_id: str | None = None

    @property
    def actor(self) -> str:
        """Return whom the audit log names."""
        return self.key_id or self.person_id
