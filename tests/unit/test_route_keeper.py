"""What a server learns of deployments outlives it, and what it learns of a credential the others hear."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, text

from omixa.access.credentials import CredentialDigests
from omixa.access.keys import generate_pepper
from omixa.catalogue.loader import load_catalogue
from omixa.domain.access import Secret
from omixa.domain.models import Deployment
from omixa.errors import (
    LedgerUnavailable,
    UpstreamCredentials,
    UpstreamError,
    UpstreamFailed,
    UpstreamQuota,
    UpstreamRateLimited,
    UpstreamUnreachable,
)
from omixa.jobs.route_keeper import RouteKeeper
from omixa.routing.latency import LEAST_CALLS
from omixa.routing.router import Router, Standing
from omixa.storage.tables import refused_credential, route_memory
from tests.support.ledger import DiskLedger, disk_ledger
from tests.support.places import Place

MODEL = load_catalogue().resolve("MAI-Image-2.5")
PEPPER = generate_pepper()


@pytest.fixture
def disk(tmp_path: Path, place: Place) -> Iterator[DiskLedger]:
    with disk_ledger(tmp_path, place) as opened:
        yield opened


def deployment(name: str, key: str = "k", **changes: Any) -> Deployment:
    fields: dict[str, Any] = {
        "id": f"{name}/{MODEL.id}",
        "provider": "foundry",
        "model": MODEL.id,
        "endpoint": "https://x.example",
        "deployment_name": name,
        "api_key": Secret(key),
        "bearer_token": None,
        "modes": frozenset({"live"}),
        "account": name,
    }
    return Deployment(**{**fields, **changes})


class Server:
    """A router with its keeper, on a monotonic clock of its own that begins anywhere."""

    def __init__(self, disk: DiskLedger, *deployments: Deployment, node: str = "node-a") -> None:
        self.disk = disk
        self.now_ns = random.Random(node).randrange(10**15)
        self.router = Router(deployments, policy="priority", clock_ns=lambda: self.now_ns, draw=random.Random(1))
        digests = CredentialDigests(PEPPER)
        self.keeper = RouteKeeper(disk.database, self.router, node_id=node, digest_of=digests.of)
        disk.call(self.keeper.recall())

    def keep(self) -> None:
        self.disk.call(self.keeper.keep())

    def standing(self, number: int = 0) -> Standing:
        return self.router.standings()[number]

    def states(self) -> list[str]:
        return [one.state for one in self.router.standings()]

    def fail(self, error: UpstreamError) -> None:
        permit = self.router.claim(MODEL, "live")
        assert permit is not None
        permit.begin()
        permit.failed(error)
        permit.close()

    def succeed(self, took_s: float = 1.0) -> None:
        permit = self.router.claim(MODEL, "live")
        assert permit is not None
        permit.begin()
        self.turn(took_s)
        permit.succeeded()
        permit.close()

    def turn(self, seconds: float) -> None:
        """Let time pass here and at the database."""
        self.now_ns += round(seconds * 1e9)
        self.disk.clock.now_ms += round(seconds * 1000)


def rows(disk: DiskLedger, table: Any) -> int:
    found = disk.read(lambda tx: tx.first(select(func.count().label("rows")).select_from(table)))
    assert found is not None
    return int(found["rows"])


@pytest.mark.parametrize(
    "failure", [lambda: UpstreamRateLimited("x", retry_after_s=60), lambda: UpstreamUnreachable("x")]
)
def test_a_deployment_that_is_left_alone_stays_so_for_the_rest_of_its_time(
    disk: DiskLedger, failure: Callable[[], UpstreamError]
) -> None:
    pair = deployment("a"), deployment("b")
    first = Server(disk, *pair)
    first.fail(failure())
    before = first.standing()
    first.keep()
    disk.clock.now_ms += 2000
    again = Server(disk, *pair)
    after = again.standing()
    assert (after.state, after.ejections) == ("cooling", before.ejections)
    assert before.cooling_s - 2.01 <= after.cooling_s <= before.cooling_s - 1.99
    # When its time has passed while nobody was there, one call tries it.
    disk.clock.now_ms += 400_000
    late = Server(disk, *pair)
    assert late.states() == ["half_open", "closed"]
    late.succeed()
    assert late.states() == ["closed", "closed"]
    late.keep()
    assert Server(disk, *pair).states() == ["closed", "closed"]


def test_cooldowns_go_on_growing_after_a_restart(disk: DiskLedger) -> None:
    pair = deployment("a"), deployment("b")
    server = Server(disk, *pair)
    for _ in range(3):
        server.fail(UpstreamFailed("x"))
        server.turn(301)
    server.keep()
    again = Server(disk, *pair)
    assert again.standing().ejections == 3
    again.fail(UpstreamFailed("x"))
    assert again.standing().cooling_s > 30


def test_a_clock_that_was_set_back_lengthens_nothing(disk: DiskLedger) -> None:
    server = Server(disk, deployment("a"), deployment("b"))
    server.fail(UpstreamRateLimited("x", retry_after_s=60))
    server.keep()
    disk.clock.now_ms -= 10_000_000
    assert 59 < Server(disk, deployment("a"), deployment("b")).standing().cooling_s <= 60


def test_what_was_learned_of_speed_survives_and_fades_as_before(disk: DiskLedger) -> None:
    server = Server(disk, deployment("a"))
    for _ in range(LEAST_CALLS):
        server.succeed(1.5)
    server.keep()
    disk.clock.now_ms += 300_000
    again = Server(disk, deployment("a"))
    assert again.standing().p95_s == pytest.approx(1.5)
    again.now_ns += 301 * 10**9
    assert again.standing().p95_s is None


@pytest.mark.parametrize("error", [UpstreamCredentials("x", upstream_code="401"), UpstreamQuota("x")])
def test_a_refused_credential_stays_out_of_use_until_the_operator_acts(disk: DiskLedger, error: UpstreamError) -> None:
    server = Server(disk, deployment("a"), deployment("b"))
    server.fail(error)
    reason, is_spent = server.standing().reason, server.standing().is_spent
    server.keep()
    disk.clock.now_ms += 10**9
    again = Server(disk, deployment("a"), deployment("b"))
    assert (again.states(), again.standing().reason) == (["disabled", "closed"], reason)
    assert again.standing().is_spent == is_spent == isinstance(error, UpstreamQuota)
    again.router.enable("a")
    again.keep()
    assert Server(disk, deployment("a"), deployment("b")).states() == ["closed", "closed"]
    assert rows(disk, refused_credential) == 0


@pytest.mark.parametrize(
    "change", [{"key": "another"}, {"endpoint": "https://y.example"}, {"api_key": None, "bearer_token": Secret("k")}]
)
def test_of_another_credential_nothing_is_believed(disk: DiskLedger, change: dict[str, Any]) -> None:
    server = Server(disk, deployment("a"), deployment("b"), deployment("c"))
    server.fail(UpstreamCredentials("x"))
    server.fail(UpstreamRateLimited("x", retry_after_s=60))
    server.keep()
    changed = Server(disk, deployment("a", **change), deployment("b", **change), deployment("c"))
    assert changed.states() == ["closed", "closed", "closed"]
    assert Server(disk, deployment("a"), deployment("b"), deployment("c")).states() == ["disabled", "cooling", "closed"]


def test_no_credential_is_written(disk: DiskLedger) -> None:
    server = Server(disk, deployment("a", key="very-secret"), deployment("b", key="very-secret"))
    server.fail(UpstreamCredentials("x"))
    server.fail(UpstreamFailed("x"))
    server.keep()
    for table in ("route_memory", "refused_credential"):
        written = disk.read(lambda tx, table=table: tx.all(text(f"SELECT * FROM {table}")))
        assert written
        assert "very-secret" not in str([dict(row) for row in written])


def test_what_one_server_learns_of_a_credential_the_others_obey(disk: DiskLedger) -> None:
    one = Server(disk, deployment("a"), deployment("b"))
    other = Server(disk, deployment("a"), deployment("b"), node="node-b")
    one.fail(UpstreamCredentials("x"))
    one.keep()
    other.keep()
    assert one.states() == other.states() == ["disabled", "closed"]
    other.keep()
    # The operator acts at either of them.
    other.router.enable("a")
    one.keep()
    assert one.states() == ["disabled", "closed"]
    other.keep()
    one.keep()
    assert one.states() == other.states() == ["closed", "closed"]
    # That it is slow, or away, each sees for itself.
    one.fail(UpstreamFailed("x"))
    one.keep()
    other.keep()
    assert (one.states(), other.states()) == (["cooling", "closed"], ["closed", "closed"])


def test_what_has_not_changed_is_not_written_again(disk: DiskLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(disk, deployment("a"), deployment("b"))
    writes = 0
    write = disk.database.write

    async def counted(operation: Any) -> Any:
        nonlocal writes
        writes += 1
        return await write(operation)

    monkeypatch.setattr(disk.database, "write", counted)
    server.keep()
    assert (writes, rows(disk, route_memory)) == (0, 0)
    server.fail(UpstreamFailed("x"))
    for _ in range(3):
        server.keep()
        server.turn(1)
    assert (writes, rows(disk, route_memory)) == (1, 1)
    for _ in range(20):
        server.succeed(0.1)
    server.keep()
    assert (writes, rows(disk, route_memory)) == (2, 2)


def test_a_database_that_is_away_harms_nothing_and_is_made_up_for(
    disk: DiskLedger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server(disk, deployment("a"), deployment("b"))
    server.fail(UpstreamCredentials("x"))

    async def away(operation: Any) -> Any:
        raise LedgerUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(disk.database, "write", away)

        async def serve() -> None:
            async with server.keeper:
                pass

        disk.call(serve())
    assert "routes.not_kept" in [record.message for record in caplog.records]
    assert server.states() == ["disabled", "closed"]
    server.keep()
    assert Server(disk, deployment("a"), deployment("b")).states() == ["disabled", "closed"]
