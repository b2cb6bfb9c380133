"""Which deployments can serve a request, best first."""

from __future__ import annotations

from collections.abc import Sequence

from omixa.domain.access import Mode
from omixa.domain.models import Deployment, Model
from omixa.errors import NoHealthyRoute


class Router:
    """Knows the configured deployments, in the operator's order."""

    def __init__(self, deployments: Sequence[Deployment]) -> None:
        self._deployments = tuple(deployments)

    def plan(self, model: Model, mode: Mode) -> tuple[Deployment, ...]:
        """Return the deployments to try, in order; never empty. Raises NoHealthyRoute."""
        plan = tuple(
            deployment
            for deployment in self._deployments
            if deployment.model.lower() == model.id.lower() and mode in deployment.modes
        )
        if not plan:
            raise NoHealthyRoute(
                f"No provider is configured for {model.id} with live keys. Set OMIXA_FOUNDRY_ENDPOINT and"
                " OMIXA_FOUNDRY_API_KEY, or [foundry] in omixa.toml, and start again;"
                " a test key (omx_test_…) works without a provider."
                if mode == "live"
                else f"No simulator is configured for {model.id} with test keys."
            )
        return plan

    @property
    def deployments(self) -> tuple[Deployment, ...]:
        """Return every configured deployment."""
        return self._deployments
