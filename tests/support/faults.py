"""A gateway whose provider fails as a test wants it, one image request in either form, and what became of it."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2 as httpx
import msgspec
from sqlalchemy import bindparam, func, select, text

from omixa.billing.verify import verify
from omixa.domain.access import Secret
from omixa.domain.models import Deployment
from omixa.gateway.run import Run, Runs
from omixa.providers.client import Pace
from omixa.providers.flux import FluxProvider
from omixa.providers.foundry import FoundryProvider
from omixa.providers.transport import AsgiReceive, AsgiSend, HttpTransport, InProcessTransport, Transports
from omixa.routing.budget import HedgeBudget
from omixa.routing.router import Router
from omixa.services import Services
from omixa.storage.database import Operation, Row
from omixa.storage.tables import attempt, request, transfer
from tests.support.document import events
from tests.support.servers import SIMULATOR_API_KEY, Gateway, Simulator, running_gateway, running_simulator

MODEL = "MAI-Image-2.5"
PROMPT = "A red kite over a stubble field at dusk"
CREATE = "/api/v1/images/generations"
CREDIT = 10_000_000
# How often a job is asked after.
QUICK = Pace(first_s=0.02, most_s=0.05)
# How long a test waits for something that is bound to happen.
PATIENCE_S = 30.0


class PlannedRouter(Router):
    """Routes live requests as the test says, by a clock that stands until the test turns it."""

    def __init__(self) -> None:
        self.now_ns = time.monotonic_ns()
        super().__init__((), policy="priority", clock_ns=lambda: self.now_ns)

    def turn(self, seconds: float) -> None:
        """Let time pass."""
        self.now_ns += round(seconds * 1e9)

    def spend_retries(self) -> None:
        """Leave nothing of the retry budgets."""
        for budget in self._retries.values():
            while budget.take(self.clock_ns()):
                pass

    def allow_hedges(self, count: int) -> None:
        """Let so many pictures be asked for twice, with 0 none for good. As the clock stands, every call takes longer than calls
        usually do.
        """
        self._hedges = HedgeBudget(2) if count else None
        for _ in range(50 * count):
            self._hedges.count_picture()

    def use(self, *deployments: Deployment) -> None:
        """Route to these, of which nothing is known."""
        self.configure(())
        self._retries.clear()
        self.configure(deployments)


class WatchedRuns(Runs):
    """Remembers the run that was started last."""

    latest: Run | None = None

    def start(self, run: Run, work: Any, on_end: Callable[[], None]) -> None:
        self.latest = run
        super().start(run, work, on_end)


@dataclass
class RawProvider:
    """A provider in the gateway's own process that answers every call with the same bytes, and remembers the last one."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=lambda: {"content-type": "application/json"})
    calls: int = 0
    received: bytes = b""

    async def __call__(self, scope: Any, receive: AsgiReceive, send: AsgiSend) -> None:
        self.calls += 1
        self.received, more = b"", True
        while more:
            message = await receive()
            self.received += message.get("body", b"")
            more = message.get("more_body", False)
        headers = [(name.encode(), value.encode()) for name, value in self.headers.items()]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


@dataclass
class FaultyGateway:
    """A gateway, the simulated provider behind it, and the switches of a test."""

    gateway: Gateway
    simulator: Simulator
    router: PlannedRouter
    runs: WatchedRuns
    raw: RawProvider

    def deployment(
        self, name: str, endpoint: str | None = None, *, provider: str = "foundry", model: str = MODEL
    ) -> Deployment:
        """Return a deployment of the simulator, or of another endpoint and provider."""
        return Deployment(
            id=f"test/{name}",
            provider=provider,
            model=model,
            endpoint=endpoint or self.simulator.url,
            deployment_name=name if provider == "foundry" else model,
            api_key=Secret(SIMULATOR_API_KEY),
            bearer_token=None,
            modes=frozenset({"live"}),
            account=name,
        )

    def plan(self, *names: str) -> None:
        """Route to these deployments of the simulator, in this order."""
        self.router.use(*map(self.deployment, names))

    def all(self, statement: Any, **parameters: object) -> Sequence[Row]:
        """Return the rows of a query."""
        return self.gateway.call(lambda services: services.database.read(lambda tx: tx.all(statement, **parameters)))

    def answer(self, **fields: Any) -> dict[str, Any]:
        """Return what the simulator answers to a generation, as a provider's JSON."""
        return {"data": [{"b64_json": self.simulator.paint(**fields)}]}

    def request(self, request_id: str) -> Row:
        """Return a request's row."""
        (row,) = self.all(_request, request_id=request_id)
        return row

    def attempts(self, request_id: str) -> Sequence[Row]:
        """Return a request's calls in their order."""
        return self.all(_attempts, request_id=request_id)

    def charges(self, request_id: str) -> Sequence[int]:
        """Return the amounts of a request's charges in micro-USD."""
        return [row["amount"] for row in self.all(_charges, request_id=request_id)]

    def request_count(self) -> int:
        """Return how many requests the ledger knows."""
        return int(self.all(_count)[0]["requests"])

    def findings(self) -> Sequence[str]:
        """Return what is wrong with the ledger."""

        async def check(services: Services) -> list[str]:
            found = await services.database.read(lambda tx: verify(tx, result_exists=services.blobs.has))
            assert found.complete
            return list(map(str, found.findings))

        return self.gateway.call(check)

    def write(self, operation: Operation[Any]) -> None:
        """Change the ledger behind the gateway's back."""
        self.gateway.call(lambda services: services.database.write(operation))

    def wait_for_runs(self) -> None:
        """Wait until nothing is in progress."""
        eventually(lambda: self.runs.count == 0)

    def hang_up(self) -> None:
        """Break off what was given up and is still listened to."""
        self.gateway.call(lambda services: services.pipeline.attempts.late.close())

    def set_busy_timeout(self, milliseconds: int) -> None:
        """Set how long the writer waits while another process holds the database."""
        pragma = text(f"PRAGMA busy_timeout={milliseconds}")
        self.gateway.call(lambda services: services.database.write(lambda tx: tx.all(pragma)))


_request = select(request).where(request.c.id == bindparam("request_id"))
_attempts = select(attempt).where(attempt.c.request_id == bindparam("request_id")).order_by(attempt.c.n)
_charges = select(transfer.c.amount).where(
    transfer.c.kind == "charge", transfer.c.request_id == bindparam("request_id")
)
_count = select(func.count().label("requests")).select_from(request)


@contextlib.contextmanager
def running_faulty_gateway(data_dir: Path, simulator: Simulator, **settings: Any) -> Iterator[FaultyGateway]:
    """Run a gateway whose live keys are routed by the test; `simulator://` endpoints reach the raw provider."""
    router, raw = PlannedRouter(), RawProvider()
    http = HttpTransport()

    def adapt(services: Services) -> Services:
        transport = Transports(http, {"raw": InProcessTransport(raw)})
        providers = {
            "foundry": FoundryProvider(transport, services.conversions),
            "flux": FluxProvider(transport, services.conversions, QUICK),
        }
        attempts = dataclasses.replace(services.pipeline.attempts, providers=providers, router=router)
        pipeline = dataclasses.replace(services.pipeline, router=router, attempts=attempts)
        runs = WatchedRuns(services.settings.max_requests_in_flight)
        return dataclasses.replace(services, router=router, pipeline=pipeline, runs=runs)

    with running_gateway(data_dir, adapt=adapt, **settings) as gateway:
        gateway.call(lambda _: http.__aenter__())
        try:
            assert gateway.services is not None
            assert isinstance(gateway.services.runs, WatchedRuns)
            faulty = FaultyGateway(gateway, simulator, router, gateway.services.runs, raw)
            faulty.plan("one")
            yield faulty
            faulty.wait_for_runs()
            faulty.hang_up()
        finally:
            gateway.call(lambda _: http.__aexit__(None, None, None))


# -------------------------------------------------------------------------------------------------------------- customers


@dataclass(frozen=True)
class Outcome:
    """What a client saw. `error` is the error object, `receipt` what `omixa` and `usage` say together, `text` everything."""

    status: int
    headers: httpx.Headers
    text: str
    error: dict[str, Any] | None
    usage: dict[str, Any]
    omixa: dict[str, Any]
    pictures: tuple[str, ...]

    @property
    def request_id(self) -> str:
        return self.headers["x-request-id"]


@dataclass(frozen=True)
class Customer:
    """A workspace with ten dollars and a live key."""

    client: httpx.Client

    def ask(self, *, stream: bool = False, reference: str | None = None, **fields: Any) -> Outcome:
        """Ask for pictures and read the whole answer."""
        body = request_body(stream=stream, reference=reference, **fields)
        answer = self.client.post(CREATE, json=body)
        streamed = answer.headers["content-type"].startswith("text/event-stream")
        return _streamed(answer) if streamed else _plain(answer)

    def get(self, path: str) -> httpx.Response:
        return self.client.get(f"/api/v1{path}")

    @property
    def balance(self) -> tuple[str, str]:
        """What is posted and what is held."""
        body = self.get("/balance").json()
        return body["posted"], body["held"]

    @property
    def spent_micro_usd(self) -> int:
        posted, held = self.balance
        assert held == "0.000000"
        return CREDIT - int(posted.replace(".", ""))


def request_body(*, stream: bool = False, reference: str | None = None, **fields: Any) -> dict[str, Any]:
    """Return the body of a generation or, with a data URL as reference, of an edit."""
    body: dict[str, Any] = {"model": MODEL, "prompt": PROMPT, "stream": stream, **fields}
    if reference is not None:
        body["input_images"] = [{"type": "image_url", "image_url": {"url": reference}}]
    return body


def data_url(png: bytes) -> str:
    """Return a PNG as a data URL."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _plain(answer: httpx.Response) -> Outcome:
    body = answer.json()
    pictures = tuple(datum["b64_json"] for datum in body.get("data", ()))
    return Outcome(
        status=answer.status_code,
        headers=answer.headers,
        text=answer.text,
        error=body.get("error"),
        usage=body.get("usage", {}),
        omixa=body.get("omixa", {}),
        pictures=pictures,
    )


def _streamed(answer: httpx.Response) -> Outcome:
    told = events(answer.text)
    return Outcome(
        status=answer.status_code,
        headers=answer.headers,
        text=answer.text,
        error=told[-1].get("error"),
        usage=told[-1].get("usage", {}),
        omixa=told[-1].get("omixa", {}),
        pictures=tuple(event["b64_json"] for event in told if "b64_json" in event),
    )


@contextlib.contextmanager
def customer(gateway: Gateway, workspace: str) -> Iterator[Customer]:
    """Open a workspace with credit and a live key."""
    gateway.grant(CREDIT, workspace=workspace)
    with gateway.client(gateway.key("live", workspace)) as client:
        yield Customer(client)


# -------------------------------------------------------------------------------------------------------- several keys

NAMES = ("one", "two", "three")


@contextlib.contextmanager
def running_providers() -> Iterator[dict[str, Simulator]]:
    """Run three providers, with a deployment each."""
    with contextlib.ExitStack() as stack:
        yield {name: stack.enter_context(running_simulator(deployments={name: MODEL})) for name in NAMES}


def use_all(faulty: FaultyGateway, providers: Mapping[str, Simulator]) -> None:
    """Put the gateway in front of providers that are all well, the first one first."""
    for simulator in providers.values():
        simulator.play("")
    faulty.router.use(*(faulty.deployment(name, simulator.url) for name, simulator in providers.items()))


# ----------------------------------------------------------------------------------------------------------------- rough


def eventually(condition: Callable[[], object]) -> None:
    """Wait until something holds that is bound to."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.002)


@contextlib.contextmanager
def raw_post(
    gateway: Gateway, authorization: str, body: bytes, *, content_length: int | None = None
) -> Iterator[socket.socket]:
    """Send a request over a socket of its own, which is closed at the end whatever was answered."""
    head = post_head(authorization, len(body) if content_length is None else content_length)
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=PATIENCE_S) as connection:
        connection.sendall(head + body)
        yield connection


def post_head(authorization: str, content_length: int) -> bytes:
    """Return the head of an image request, of a client that counts its tries."""
    lines = (
        f"POST {CREATE} HTTP/1.1",
        "host: test",
        f"authorization: {authorization}",
        "content-type: application/json",
        f"content-length: {content_length}",
        "x-stainless-retry-count: 0",
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def encoded(body: dict[str, Any]) -> bytes:
    return msgspec.json.encode(body)
