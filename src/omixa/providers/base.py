"""The contract between the gateway and a provider: one call for one picture in, events out, the last event is the result."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Protocol

from omixa.domain.images import Image, ImageRequest, Usage
from omixa.domain.models import Deployment, Offer
from omixa.providers.late import Waiting


@dataclass(frozen=True, slots=True)
class ProviderCall:
    """One picture wanted from one deployment. `index` counts the pictures of the request from 0.

    `scenario` is what a simulator inside the process is to play; no other provider hears of it. `waiting` tells whether somebody
    waits for the picture; without it, somebody does to the end.
    """

    request: ImageRequest
    offer: Offer
    deployment: Deployment
    request_id: str
    index: int
    scenario: str = ""
    waiting: Waiting | None = None

    @property
    def is_late(self) -> bool:
        """Tell whether the picture has come too late: what it costs is still to be learned, and it is not looked at."""
        return self.waiting is not None and self.waiting.is_over

    @property
    def simulator_headers(self) -> dict[str, str]:
        """Return what the simulator inside the process has to know besides: it paints one picture for each prompt and index."""
        if not self.deployment.is_simulated:
            return {}
        rehearsed = {"x-omixa-scenario": self.scenario} if self.scenario else {}
        return {"x-omixa-variant": str(self.index), **rehearsed}

    @property
    def credential(self) -> str | None:
        """Return the deployment's key or token, so that no diagnostics repeat it."""
        secret = self.deployment.api_key or self.deployment.bearer_token
        return None if secret is None else secret.reveal()


@dataclass(frozen=True, slots=True)
class PartialImage:
    """A preview that the provider really made."""

    image: Image
    index: int


@dataclass(frozen=True, slots=True)
class ProviderResult:
    """The picture as the provider made it.

    `usage` is what the provider reported, counts of any size, or None when it reported nothing that is usage; then
    `usage_problem` says why. `has_transparency` says that the picture is transparent somewhere though nobody asked for that.
    `cost_pico_usd` is what the provider says that it charges, where it says so.
    """

    image: Image
    usage: Usage | None
    provider_request_id: str | None
    usage_problem: str | None = None
    has_transparency: bool = False
    cost_pico_usd: int | None = None


ProviderEvent = PartialImage | ProviderResult


class Provider(Protocol):
    """Speaks one provider's wire format."""

    def generate(self, call: ProviderCall) -> AsyncGenerator[ProviderEvent, None]:
        """Make one picture: any number of previews, then one result.

        Raises an UpstreamError, and nothing else, when the attempt fails. Closing the iterator cancels the call.
        """
        ...
