"""What operators do with routes by hand."""

from __future__ import annotations

from omixa.access import store
from omixa.errors import RouteNotFound
from omixa.routing.router import Router
from omixa.storage.database import Database


class Routes:
    """The deployments as an operator handles them. What is done stands in the audit log."""

    def __init__(self, database: Database, router: Router) -> None:
        self._database = database
        self._router = router

    async def enable(self, name: str, *, actor: str) -> list[str]:
        """Use an account again, named by itself or by a deployment, as if nothing had happened; return its deployments.

        It is used again at once, also where the audit log cannot be written. Raises RouteNotFound, LedgerUnavailable.
        """
        enabled = self._router.enable(name)
        if not enabled:
            raise RouteNotFound(f"There is no deployment {name[:80]}.", param="route")
        details = {"deployments": enabled}
        await self._database.write(
            lambda tx: store.audit(tx, actor=actor, action="route.enabled", target=name, details=details)
        )
        return enabled
