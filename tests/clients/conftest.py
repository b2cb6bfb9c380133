"""The libraries of a run, each started when the first test asks for it, and what the gateway says of their requests."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from PIL import Image

from tests.support.clients import Library, missing, running_library
from tests.support.cutting import Cutter, running_cutter
from tests.support.footprint import money
from tests.support.pictures import picture
from tests.support.servers import Gateway

CREDIT = 10_000_000


@pytest.fixture(scope="session")
def library() -> Iterator[Callable[[str], Library]]:
    """A library by its name. Where it is not installed, the test is skipped with what to do about it."""
    running: dict[str, Library] = {}
    with ExitStack() as stack:

        def find(name: str) -> Library:
            reason = missing(name)
            if reason is not None:
                pytest.skip(reason)
            if name not in running:
                running[name] = stack.enter_context(running_library(name))
            return running[name]

        yield find


@dataclass(frozen=True)
class Books:
    """A workspace with ten dollars: its key, the address of the gateway, and what is written down of its requests."""

    gateway: Gateway
    workspace: str
    client: httpx.Client

    @property
    def key(self) -> str:
        return self.client.headers["authorization"].removeprefix("Bearer ")

    @property
    def address(self) -> dict[str, str]:
        """Return what a client is told."""
        return {"base_url": self.gateway.api, "api_key": self.key}

    def prefer_links(self) -> None:
        """Let pictures come back inside answers and as links, where a request does not say how."""
        self.client.patch("/api/v1/settings/results", json={"response_format": "both"}).raise_for_status()

    def log(self) -> list[dict[str, Any]]:
        """Return the requests, the newest first."""
        return list(self.client.get("/api/v1/usage/requests").raise_for_status().json()["data"])

    def receipt(self, request_id: str) -> dict[str, Any]:
        answer = self.client.get(f"/api/v1/requests/{request_id}/receipt").raise_for_status()
        receipt: dict[str, Any] = answer.json()
        return receipt

    def charges(self) -> list[tuple[str, int]]:
        """Return the amount and the pictures of every charged request, the oldest first.

        Each has one transfer, each receipt adds up, and together they are what the account has lost.
        """
        receipts = [self.receipt(entry["id"]) for entry in reversed(self.log()) if entry["state"] != "held"]
        charged = [receipt for receipt in receipts if receipt["state"] == "captured"]
        for receipt in charged:
            assert [transfer["kind"] for transfer in receipt["transfers"]] == ["charge"]
            assert Decimal(receipt["exact_amount"]) == sum(Decimal(line["amount"]) for line in receipt["line_items"])
        spent = sum(round(Decimal(receipt["billed_amount"]) * 1_000_000) for receipt in receipts)
        assert money(self.gateway, self.workspace, "live") == (CREDIT - spent, 0)
        return [(receipt["billed_amount"], receipt["usage"]["images"]) for receipt in charged]


@pytest.fixture
def books(gateway: Gateway, live_client: httpx.Client, workspace: str) -> Books:
    """A workspace that no other test uses."""
    return Books(gateway, workspace, live_client)


@pytest.fixture
def cutter(gateway: Gateway) -> Iterator[Cutter]:
    """A bad network in front of the gateway."""
    with running_cutter(gateway.port) as running:
        yield running


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """Two pictures of different shape and format, as files."""
    paths = [tmp_path / "one.png", tmp_path / "two.jpg"]
    paths[0].write_bytes(picture("png", 512, 512))
    paths[1].write_bytes(picture("jpeg", 300, 400))
    return [str(path) for path in paths]


@pytest.fixture
def opened(gateway: Gateway) -> Callable[[str], Image.Image]:
    """A reader of base64 and of links that decodes every pixel."""

    def read(picture: str) -> Image.Image:
        if picture.startswith("http"):
            with gateway.client(None) as anybody:
                data = anybody.get(picture).raise_for_status().content
        else:
            data = base64.b64decode(picture, validate=True)
        image = Image.open(io.BytesIO(data))
        image.load()
        return image

    return read
