"""A server on loopback that speaks S3's protocol, and a way to it that can be cut."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx2 as httpx
import obstore
from moto.server import ThreadedMotoServer
from obstore.store import S3Store

from omixa.config import S3Settings
from omixa.domain.access import Secret
from tests.support.relay import Relay, running_relay

_REGION = "eu-central-1"
_ACCESS = {"access_key_id": "access", "secret_access_key": "secret"}


@dataclass
class S3Server:
    """The server. Each test takes a bucket of its own."""

    port: int
    relay: Relay
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def endpoint(self) -> str:
        """Return the address behind the relay."""
        return f"http://127.0.0.1:{self.relay.port}"

    def settings(self) -> dict[str, Any]:
        """Return the options of a gateway that keeps its results in a new bucket, below a prefix."""
        bucket = f"omixa-{os.getpid()}-{next(self._numbers)}"
        # A bucket is a path of the server; making one is a PUT without a body.
        httpx.put(f"http://127.0.0.1:{self.port}/{bucket}", trust_env=False).raise_for_status()
        s3 = S3Settings(
            endpoint=self.endpoint, region=_REGION, access_key_id="access", secret_access_key=Secret("secret")
        )
        return {"results": f"s3://{bucket}/some/results", "s3": s3}

    def objects(self, settings: dict[str, Any]) -> dict[str, bytes]:
        """Return every object of a bucket."""
        bucket = settings["results"].removeprefix("s3://").partition("/")[0]
        store = S3Store(
            bucket,
            config={"endpoint": f"http://127.0.0.1:{self.port}", "region": _REGION, **_ACCESS},  # type: ignore[typeddict-item]
            client_options={"allow_http": True},
        )
        paths = [item["path"] for page in obstore.list(store) for item in page]
        return {path: bytes(obstore.get(store, path).bytes()) for path in paths}


@contextlib.contextmanager
def running_s3() -> Iterator[S3Server]:
    """Run the server until the block ends."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        _, port = server.get_host_and_port()
        with running_relay(port) as relay:
            yield S3Server(port, relay)
    finally:
        server.stop()
