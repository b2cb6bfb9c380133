"""A run: one admitted request from its hold to its end. It owns the money; connections only watch it.

The task of a run does not belong to the connection that asked for it, so a client that hangs up cannot skip the charge and
cannot lose a picture that was paid for.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from omixa.billing.ledger import StoredResult
from omixa.billing.pricing import Terms
from omixa.domain.access import Principal
from omixa.domain.images import Image, ImageRequest
from omixa.errors import Overloaded
from omixa.gateway.idempotency import Earlier, RequestIdentity
from omixa.gateway.rehearsals import Rehearsal
from omixa.providers.base import PartialImage
from omixa.routing.policies import Wanted

# Previews that wait for a slow watcher; further ones are dropped, since each is replaced by the next.
MAX_WAITING_PREVIEWS = 4


@dataclass(frozen=True, slots=True)
class Answer:
    """What the caller gets: the envelope of the answer as JSON values, and the pictures.

    Links to its pictures end at `kept_until_ms` at the latest.
    """

    request_id: str
    envelope: Mapping[str, Any]
    images: tuple[Image, ...]
    kept_until_ms: int = 0


@dataclass(frozen=True, slots=True)
class TimedCall:
    """One call of a run to a provider and how long it took. `n` counts from 1."""

    n: int
    route: str
    outcome: str
    duration_ms: float


def wanted(principal: Principal, request: ImageRequest) -> Wanted:
    """Return what the choice of a deployment may depend on, for a request with somebody's key."""
    return Wanted(principal.workspace_id, request.quality, principal.constraints)


@dataclass(slots=True)
class Run:
    """One request on its way. `cap_micro_usd` is the most its caller allows. `timings_ms` and `timeline`, the calls that ended,
    become the header Server-Timing.

    `terms` are final once the money is held. `identity` is by what a repeat is recognised, `earlier` the request that answers
    this one. `stored` is the answer as soon as it is durable in a file. `previewed` are the pictures of which a preview came.
    `rehearsal` is the scenario that a test key asked for.
    """

    id: str
    principal: Principal
    request: ImageRequest
    requested_model: str
    terms: Terms
    cap_micro_usd: int | None = None
    identity: RequestIdentity | None = None
    earlier: Earlier | None = None
    stored: StoredResult | None = None
    rehearsal: Rehearsal | None = None
    timeline: Callable[[], Sequence[TimedCall]] = tuple
    timings_ms: dict[str, float] = field(default_factory=dict)
    previewed: set[int] = field(default_factory=set)
    _departed: asyncio.Event = field(default_factory=asyncio.Event)
    _admitted: asyncio.Event = field(default_factory=asyncio.Event)
    _previews: asyncio.Queue[PartialImage] = field(default_factory=lambda: asyncio.Queue(MAX_WAITING_PREVIEWS))
    _made: float = field(default_factory=time.perf_counter)
    _task: asyncio.Task[Answer] | None = None

    def start(self, work: Coroutine[Any, Any, Answer]) -> asyncio.Task[Answer]:
        """Begin the work."""
        self._task = asyncio.get_running_loop().create_task(work, name=self.id)
        return self._task

    @property
    def wanted(self) -> Wanted:
        """Return what the choice of a deployment may depend on."""
        return wanted(self.principal, self.request)

    @property
    def told_id(self) -> str:
        """Return the id of the request whose answer the caller gets."""
        return self.id if self.earlier is None else self.earlier.request_id

    @property
    def client_gone(self) -> bool:
        """Tell whether the client has left."""
        return self._departed.is_set()

    def depart(self) -> None:
        """Say that the client has left."""
        self._departed.set()

    async def departed(self) -> None:
        """Wait until the client leaves."""
        await self._departed.wait()

    def admit(self) -> None:
        """Say that the money is held: from here on an event stream may begin."""
        self._admitted.set()

    async def answer(self) -> Answer:
        """Wait for the end. A watcher that is cancelled leaves the run alone."""
        assert self._task is not None
        return await asyncio.shield(self._task)

    async def over(self) -> None:
        """Wait for the end, however that comes."""
        assert self._task is not None
        await asyncio.wait({self._task})

    async def admitted(self) -> None:
        """Wait until the money is held. Raises the run's error when it ends before that."""
        assert self._task is not None
        waiting = asyncio.ensure_future(self._admitted.wait())
        try:
            await asyncio.wait({waiting, self._task}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if not self._admitted.is_set():
            await self.answer()

    def emit(self, preview: PartialImage, image_index: int) -> None:
        """Offer a preview of one of the pictures to whoever watches."""
        self.previewed.add(image_index)
        if not self._previews.full():
            self._previews.put_nowait(preview)

    async def next_preview(self, timeout_s: float) -> PartialImage | None:
        """Return the next preview, or None when the run ends or the time passes first."""
        assert self._task is not None
        if self.has_preview:
            return self._previews.get_nowait()
        waiting = asyncio.ensure_future(self._previews.get())
        await asyncio.wait({waiting, self._task}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if waiting.done():
            return waiting.result()
        waiting.cancel()
        return None

    @property
    def has_preview(self) -> bool:
        """Tell whether a preview waits to be shown."""
        return not self._previews.empty()

    def age_ms(self) -> float:
        """Return the time since the run was made, in milliseconds."""
        return (time.perf_counter() - self._made) * 1000

    @property
    def ended(self) -> bool:
        """Tell whether the run is over, well or badly."""
        return self._task is not None and self._task.done()

    def timed(self, name: str) -> Step:
        """Add the time of a `with` block to `timings_ms`."""
        return Step(self.timings_ms, name)


class Step:
    """A step of a run that is timed; a class of its own, because the generator of a context manager costs five times as much."""

    __slots__ = ("_name", "_started", "_timings_ms")

    def __init__(self, timings_ms: dict[str, float], name: str) -> None:
        self._timings_ms = timings_ms
        self._name = name
        self._started = 0.0

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        spent_ms = (time.perf_counter() - self._started) * 1000
        self._timings_ms[self._name] = self._timings_ms.get(self._name, 0.0) + spent_ms


class Runs:
    """All runs of the process, at most `limit` at a time."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._tasks: set[asyncio.Task[Answer]] = set()

    def start(self, run: Run, work: Coroutine[Any, Any, Answer], on_end: Callable[[], None]) -> None:
        """Start a run; `on_end` is called when it is over. Raises Overloaded at the limit."""
        try:
            self.require_room()
        except Overloaded:
            work.close()
            raise
        task = run.start(work)
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._ended(done, on_end))

    def require_room(self) -> None:
        """Raise Overloaded when no further run may start now."""
        if len(self._tasks) >= self._limit:
            raise Overloaded(f"{self._limit} requests are in progress already. Try again shortly.", retry_after_s=1)

    def _ended(self, task: asyncio.Task[Answer], on_end: Callable[[], None]) -> None:
        self._tasks.discard(task)
        on_end()
        # A run has recorded its own failure; asking for it here keeps asyncio from calling it forgotten when nobody watches.
        if not task.cancelled():
            task.exception()

    @property
    def count(self) -> int:
        """Return how many runs are in progress."""
        return len(self._tasks)

    async def drain(self, timeout_s: float) -> int:
        """Wait for runs to end, then cancel the rest and return how many; their holds are released at the next start."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_s)
        left = set(self._tasks)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)
        return len(left)
