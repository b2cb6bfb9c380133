"""What tests through HTTP share."""

from __future__ import annotations

import pytest

from tests.support.document import Document
from tests.support.servers import Gateway


@pytest.fixture(scope="session")
def document(gateway: Gateway) -> Document:
    """The API document as the server sends it; answers are held against it."""
    with gateway.client(None) as client:
        return Document(client.get("/openapi.json").json())
