"""Fixtures that most tests share. Servers live for a whole run; tests take workspaces of their own."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx2 as httpx
import pytest
from hypothesis import settings

from omixa.config import DatabaseAddress
from tests.support.places import Place, SqlitePlace, postgres_place
from tests.support.postgres import Cluster, running_cluster, why_not
from tests.support.servers import Gateway, Simulator, running_gateway, running_simulator

# No test asserts how long something takes: the machine may be busy.
settings.register_profile("omixa", deadline=None, print_blob=True)
settings.load_profile("omixa")

_names = itertools.count()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where everything is installed, a test that skips itself has failed."""
    report = yield
    if report.skipped and os.environ.get("REQUIRE_ALL_TESTS"):
        report.outcome = "failed"
        report.longrepr = f"skipped where every program must be present: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A PostgreSQL server of this run."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with running_cluster() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Where a ledger lives; each test that asks for it runs on both databases."""
    if request.param == "sqlite":
        yield SqlitePlace(tmp_path / "omixa.db").create()
        return
    with postgres_place(request.getfixturevalue("cluster")) as found:
        yield found


@pytest.fixture(scope="session")
def foundry() -> Iterator[Simulator]:
    """A simulated Foundry, for live keys."""
    with running_simulator() as simulator:
        yield simulator


@pytest.fixture(scope="session")
def gateway(
    request: pytest.FixtureRequest, foundry: Simulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """A gateway whose live keys use the simulated Foundry. With GATEWAY_DATABASE=postgresql its ledger is there."""
    with ExitStack() as stack:
        settings = {}
        if os.environ.get("GATEWAY_DATABASE") == "postgresql":
            cluster: Cluster = request.getfixturevalue("cluster")
            settings["database"] = DatabaseAddress(cluster.address(stack.enter_context(cluster.database())))
        yield stack.enter_context(running_gateway(tmp_path_factory.mktemp("gateway"), foundry, **settings))


@pytest.fixture
def workspace() -> str:
    """A workspace that no other test uses."""
    return f"test-{next(_names)}"


@pytest.fixture
def test_client(gateway: Gateway, workspace: str) -> Iterator[httpx.Client]:
    """A client with a test key: the simulator in the process, play money."""
    with gateway.client(gateway.key("test", workspace)) as client:
        yield client


@pytest.fixture
def live_client(gateway: Gateway, foundry: Simulator, workspace: str) -> Iterator[httpx.Client]:
    """A client with a live key and ten dollars; the provider behaves until a test says otherwise."""
    foundry.play("")
    gateway.forget_faults()
    gateway.grant(10_000_000, workspace=workspace)
    with gateway.client(gateway.key("live", workspace)) as client:
        yield client
    foundry.play("")
    gateway.forget_faults()


@pytest.fixture
def example() -> dict[str, object]:
    """A small valid request."""
    return {"model": "MAI-Image-2.5", "prompt": "A red kite over a stubble field at dusk"}


@pytest.fixture
def new_key(gateway: Gateway, workspace: str) -> Callable[..., str]:
    """A maker of keys in the test's workspace."""
    return lambda mode="test", models=None: gateway.key(mode, workspace, models)
