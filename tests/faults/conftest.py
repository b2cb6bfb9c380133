"""What the fault tests share: a simulated Foundry with several deployments and a gateway that a test can turn against it."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from PIL import Image

from tests.support.faults import MODEL, Customer, FaultyGateway, customer, data_url, running_faulty_gateway
from tests.support.servers import Simulator, running_simulator

DEPLOYMENTS = ("one", "two", "three", "four")


@pytest.fixture(scope="session")
def several_deployments() -> Iterator[Simulator]:
    """A simulated Foundry with deployments one to four of the model."""
    with running_simulator(deployments=dict.fromkeys(DEPLOYMENTS, MODEL)) as simulator:
        yield simulator


@pytest.fixture(scope="session")
def shared_faulty_gateway(
    several_deployments: Simulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FaultyGateway]:
    """The gateway of all fault tests; at the end its ledger is clean."""
    with running_faulty_gateway(tmp_path_factory.mktemp("faulty"), several_deployments) as running:
        yield running
        running.wait_for_runs()
        assert running.findings() == []


@pytest.fixture
def faulty(shared_faulty_gateway: FaultyGateway) -> Iterator[FaultyGateway]:
    """The gateway with a plan of one deployment that behaves; afterwards nothing runs."""
    shared_faulty_gateway.plan("one")
    shared_faulty_gateway.simulator.play("")
    yield shared_faulty_gateway
    shared_faulty_gateway.wait_for_runs()
    shared_faulty_gateway.hang_up()


@pytest.fixture
def buyer(faulty: FaultyGateway, workspace: str) -> Iterator[Customer]:
    """A workspace of the faulty gateway with ten dollars."""
    with customer(faulty.gateway, workspace) as opened:
        yield opened


@pytest.fixture(scope="session")
def square() -> str:
    """A reference of 1024x1024 as a data URL."""
    return _grey(1024, 1024)


@pytest.fixture(scope="session")
def portrait() -> str:
    """A reference of 768x960 as a data URL; its edit is 912x1152."""
    return _grey(768, 960)


def _grey(width: int, height: int) -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), "grey").save(buffer, "PNG")
    return data_url(buffer.getvalue())
