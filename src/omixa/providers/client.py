"""A call that takes several exchanges: hand in, ask after the job, fetch the picture, all within one deadline.

Once the provider has the job, whatever goes wrong may have been charged for, unless the provider says that it failed. So a look
that fails for a moment is repeated while there is time, and every other failure becomes an ambiguous one.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

import msgspec

from omixa.errors import (
    UpstreamBusy,
    UpstreamError,
    UpstreamFailed,
    UpstreamJobFailed,
    UpstreamProtocol,
    UpstreamRateLimited,
    UpstreamRefused,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from omixa.providers.base import ProviderCall
from omixa.providers.failures import failed_answer, refused_answer, unusable_answer
from omixa.providers.places import is_at_endpoint, redirected
from omixa.providers.single import limits
from omixa.providers.wire import Method, Timeouts, Transport, WireRequest, WireResponse, request_id

T = TypeVar("T")

# One look at a job, or one try to fetch its picture. Both are answered at once when all is well.
LOOK_TIMEOUT_S: Final = 20.0
FETCH_TIMEOUT_S: Final = 60.0
FETCH_TRIES: Final = 3
MAX_REDIRECTS: Final = 3
# Whoever leaves should not have to wait for long until the provider knows.
CANCEL_TIMEOUT_S: Final = 3.0

# A provider that asks to be asked later.
MAX_RETRY_AFTER_S: Final = 10

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_BUSY = frozenset({429, 503})
# What may be over at the next look.
_PASSING = (UpstreamUnreachable, UpstreamBusy, UpstreamRateLimited, UpstreamTimeout, UpstreamFailed)
# What the provider itself says of the job: it is over, and not in doubt.
_SAID = (UpstreamRefused, UpstreamRejected, UpstreamJobFailed)


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds between two looks at a job: `first_s`, then half as much more each time, up to `most_s`."""

    first_s: float = 0.5
    most_s: float = 2.0


USUAL_PACE: Final = Pace()


class Client:
    """Speaks with one provider for one call.

    The credential stands in `header`, after `scheme`, and goes to the provider's API and nowhere else. `refusals` are the
    statuses by which this provider refuses content, and says nothing else.
    """

    def __init__(
        self,
        transport: Transport,
        call: ProviderCall,
        *,
        header: str,
        scheme: str = "",
        pace: Pace = USUAL_PACE,
        refusals: frozenset[int] = frozenset(),
    ) -> None:
        self._transport = transport
        self._pace = pace
        self._call = call
        self._refusals = refusals
        credential = {} if call.credential is None else {header: scheme + call.credential}
        self._headers = {"accept": "application/json", **credential, **call.simulator_headers}
        self._end = asyncio.get_running_loop().time() + call.offer.total_timeout_s
        self._is_cancelled = False
        # Errors carry it as soon as it is known.
        self.request_id: str | None = None

    async def submit(
        self, path: str, content_type: str, body_parts: Sequence[bytes | memoryview], headers: Mapping[str, str] = {}
    ) -> WireResponse:
        """Post and return an answer that is no error. Raises an UpstreamError."""
        sent = {**self._headers, "content-type": content_type, **headers}
        request = WireRequest(self._call.deployment.endpoint.rstrip("/") + path, sent, body_parts)
        response = await self._transport.send(request, limits(self._call))
        if not 200 <= response.status < 300:
            raise self.failure(response)
        return response

    def took(self, job_id: object, response: WireResponse) -> None:
        """Keep how the provider calls a job that it took, or else the request, where that is fit to be stored."""
        self.request_id = request_id(job_id) or response.provider_request_id

    def failure(self, response: WireResponse) -> UpstreamError:
        """Return what an error answer means."""
        if response.status in self._refusals:
            return self.refused(response, str(response.status))
        return self._named(failed_answer(response, secret=self._call.credential))

    def unusable(self, response: WireResponse, problem: object) -> UpstreamError:
        """Return what an answer means that is no error and holds no picture."""
        return self._named(unusable_answer(response, str(problem), secret=self._call.credential))

    def refused(self, response: WireResponse, reason: str) -> UpstreamError:
        """Return the refusal of content that an answer is, for this reason."""
        return self._named(refused_answer(response, reason, secret=self._call.credential))

    async def look(self, url: str) -> WireResponse:
        """Ask the provider's API once, with the credential. Raises an UpstreamError, also when it may not be asked there."""
        request = self._checked(WireRequest(url, self._headers, method="GET"), self._call.offer.api_hosts)
        return await self._transport.send(request, self._within(LOOK_TIMEOUT_S))

    async def follow(
        self, url: str, read: Callable[[WireResponse], T | None], *, cancel: tuple[Method, str] | None = None
    ) -> T:
        """Look after a job until `read` makes something of an answer that is no error; it returns None while the job runs.

        Where the wait is given up before the provider has said how the job ended, the provider is asked to `cancel`, and what
        the job came to is learned all the same while somebody listens. Raises an UpstreamError; what `read` raises as such is
        the provider's own word, a ValueError says that the answer is none.
        """

        async def once() -> T | None:
            if cancel is not None and self._call.is_late:
                await self._cancel(*cancel)
            response = await self.look(url)
            if not 200 <= response.status < 300:
                error = self.failure(response)
                # What is wrong with a question is not wrong with the job.
                raise error if isinstance(error, (*_PASSING, UpstreamRefused)) else _lost(error)
            try:
                return read(response)
            except ValueError as error:
                raise self.unusable(response, error) from error

        try:
            return await self._persist(once, waits_first=True)
        except BaseException as error:
            if cancel is not None and not isinstance(error, _SAID):
                await self._cancel(*cancel)
            raise

    async def collect(self, url: str) -> WireResponse:
        """Return what a finished job gave, which is asked for like the job. Raises an UpstreamError.

        Here a status of 400, 413, 422, or of 500 and above but for 503, is the end of the job itself.
        """

        async def once() -> WireResponse:
            response = await self.look(url)
            if response.status == 200:
                return response
            error = self.failure(response)
            if response.status not in _BUSY and isinstance(error, UpstreamFailed):
                raise UpstreamJobFailed(
                    "The provider failed to make the picture.",
                    upstream_status=error.upstream_status,
                    upstream_code=error.upstream_code,
                    diagnostics=error.diagnostics,
                )
            raise error if isinstance(error, (*_PASSING, *_SAID)) else _lost(error)

        return await self._persist(once, tries=FETCH_TRIES)

    async def fetch(self, url: str) -> bytes:
        """Return a result from its address, without the credential. Raises an UpstreamError: the picture was made.

        What comes too late is left where it is.
        """
        if self._call.is_late:
            return b""
        return await self._persist(lambda: self._fetch(url), tries=FETCH_TRIES)

    async def _fetch(self, url: str) -> bytes:
        for _ in range(MAX_REDIRECTS + 1):
            request = WireRequest(url, {"accept": "image/*"}, method="GET")
            response = await self._transport.send(
                self._checked(request, self._call.offer.result_hosts), self._within(FETCH_TIMEOUT_S)
            )
            if response.status == 200:
                return response.body
            if response.status not in _REDIRECTS:
                error = self.failure(response)
                raise error if isinstance(error, _PASSING) else _lost(error)
            url = redirected(url, response.headers.get("location", ""))
        raise UpstreamProtocol("The provider's picture is nowhere.", diagnostics=f"more than {MAX_REDIRECTS} redirects")

    async def _persist(
        self, once: Callable[[], Awaitable[T | None]], *, waits_first: bool = False, tries: int | None = None
    ) -> T:
        """Return the first thing that is not None, repeating what fails for a moment. Raises an UpstreamError."""
        pace, failed = self._pace, 0
        pause_s, latest = pace.first_s, ""
        if waits_first:
            await self._pause(pause_s, latest)
        while True:
            wait_s = 0
            try:
                found = await once()
                if found is not None:
                    return found
            except UpstreamError as error:
                latest, failed, wait_s = error.diagnostics, failed + 1, error.retry_after_s or 0
                if not isinstance(error, _PASSING) or failed == tries:
                    self._named(error)
                    if isinstance(error, _SAID) or error.ambiguous:
                        raise
                    raise _lost(error) from error
            await self._pause(max(pause_s, min(wait_s, MAX_RETRY_AFTER_S)), latest)
            pause_s = min(pause_s * 1.5, pace.most_s)

    async def _pause(self, seconds: float, latest: str) -> None:
        """Wait. Raises UpstreamTimeout when the call's time is over and nobody listens beyond it."""
        left_s = self._left()
        await asyncio.sleep(max(0.0, min(seconds, left_s)))
        if left_s <= seconds:
            diagnostics = f"the last failure: {latest}" if latest else ""
            error = UpstreamTimeout("The provider did not finish the picture in time.", diagnostics=diagnostics)
            self._named(error)
            if self._call.waiting is None or not self._call.waiting.give_up(error):
                raise error

    async def _cancel(self, method: Method, url: str) -> None:
        if self._is_cancelled:
            return
        self._is_cancelled = True
        at_most = Timeouts(first_byte_s=CANCEL_TIMEOUT_S, total_s=CANCEL_TIMEOUT_S, connect_s=CANCEL_TIMEOUT_S)
        try:
            request = self._checked(WireRequest(url, self._headers, method=method), self._call.offer.api_hosts)
            await self._transport.send(request, at_most)
        except UpstreamError:
            # It was a courtesy: what the provider charges is in doubt either way.
            return

    def _checked(self, request: WireRequest, hosts: Sequence[str]) -> WireRequest:
        """Return a request to an address that the provider named as it may be sent. Raises UpstreamProtocol."""
        deployment = self._call.deployment
        try:
            # A simulator has no further hosts.
            hosts = () if deployment.is_simulated else hosts
            return replace(request, public_only=not is_at_endpoint(request.url, deployment.endpoint, hosts))
        except ValueError as error:
            raise UpstreamProtocol(
                "The provider pointed to an address that is not its own.", diagnostics=str(error)
            ) from error

    def _named(self, error: UpstreamError) -> UpstreamError:
        error.provider_request_id = error.provider_request_id or self.request_id
        return error

    def _within(self, seconds: float) -> Timeouts:
        limit_s = max(0.0, min(seconds, self._left()))
        return Timeouts(first_byte_s=limit_s, total_s=limit_s)

    def _left(self) -> float:
        return math.inf if self._call.is_late else self._end - asyncio.get_running_loop().time()


def decoded(response: WireResponse, decoder: msgspec.json.Decoder[T]) -> T:
    """Return what the JSON of an answer says. Raises ValueError when it is not the JSON that was expected."""
    try:
        return decoder.decode(response.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"the answer is not the JSON that was expected: {error}") from error


def _lost(error: UpstreamError) -> UpstreamProtocol:
    """Return a failure to learn what became of a job as what it is: the provider may have done it, and charge for it."""
    return UpstreamProtocol(
        "The provider did not hand over the picture that it was making.",
        upstream_status=error.upstream_status,
        upstream_code=error.upstream_code,
        provider_request_id=error.provider_request_id,
        diagnostics=error.diagnostics,
        strikes=error.strikes,
    )
