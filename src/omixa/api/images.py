"""POST /images/generations and /images/edits: from the bytes of a request to the bytes of its answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from omixa.api.errors import Headers, error_body
from omixa.api.exchange import Exchange
from omixa.api.intake import Intake, read_edit, read_request
from omixa.api.lifecycle import lifecycle_headers
from omixa.api.links import picture_links
from omixa.api.rate_headers import rate_headers
from omixa.api.rendering import INLINE, Shown, completed_event, error_event, preview_event, render_answer
from omixa.api.repeats import idempotency_key, request_identity
from omixa.api.timings import server_timing
from omixa.domain.access import ResponseFormat
from omixa.errors import OmixaError, Unauthenticated
from omixa.gateway.preparing import prepare
from omixa.gateway.run import Answer, Run
from omixa.limits.rates import Caller
from omixa.services import Services

log = logging.getLogger(__name__)

# Answers up to this size are sent in one piece; joining them costs less than further sends.
SMALL_ANSWER_BYTES = 64 * 1024


async def create_image(exchange: Exchange, services: Services) -> None:
    """Make pictures from text, or from pictures and text, as JSON asks for them."""
    await _make(exchange, services, read_request)


async def edit_image(exchange: Exchange, services: Services) -> None:
    """Make pictures from pictures and text, as a form or JSON asks for them."""
    await _make(exchange, services, read_edit)


async def _make(exchange: Exchange, services: Services, read: Intake) -> None:
    """Check the request, start its run and watch it to the end."""
    caller = services.rates.of(exchange.principal)
    exchange.further_headers = lambda: rate_headers(caller.standings())
    caller.count_request()
    run = await _started_run(exchange, services, read, caller)
    try:
        await _watch(exchange, services, run)
    except Unauthenticated:
        # The hold found the key revoked; from now on it is refused before anything else is looked at.
        services.workspaces.forget(exchange.principal)
        raise
    finally:
        if run.terms.markup_ppm != exchange.principal.markup_ppm:
            # The hold found another markup than the one that is remembered of this key.
            services.workspaces.forget(exchange.principal)


async def _watch(exchange: Exchange, services: Services, run: Run) -> None:
    of_caller = exchange.further_headers
    exchange.further_headers = lambda: [*of_caller(), *_repeat_headers(run)]
    async with _noticing_departure(exchange, services, run):
        try:
            if run.request.stream:
                await _stream(exchange, services, run)
            else:
                await send_answer(exchange, services, await run.answer(), run.request.response_format, run)
        except OmixaError:
            if run.earlier is not None and not exchange.started:
                # What an earlier request was told is told again as its own.
                exchange.id = run.told_id
            elif not exchange.started:
                of_run = exchange.further_headers
                exchange.further_headers = lambda: [*of_run(), *timing_headers(run)]
            raise
    if exchange.principal.keeps_nothing and exchange.ended and not run.client_gone:
        await _let_go(exchange, services, run)


async def _let_go(exchange: Exchange, services: Services, run: Run) -> None:
    """Let a result go that was delivered, where the workspace keeps nothing beyond that; links still lead to it for a while."""
    if inline_only(exchange, run.request.response_format):
        await services.deletion.delivered(run.told_id)


async def _started_run(exchange: Exchange, services: Services, read: Intake, caller: Caller) -> Run:
    # Before the body: a key that cannot be used is refused without reading megabytes.
    idempotency_key(exchange)
    with services.body_bytes.lease() as lease:
        asked = await read(exchange, services, lease)
        exchange.further_headers = lambda: [*rate_headers(caller.standings()), *lifecycle_headers(asked.model)]
        terms = services.pipeline.terms(exchange.principal, asked.model)
        services.fail_stop.check()
        services.blobs.check()
        services.runs.require_room()
        with caller.images(asked.request.n) as slots:
            request = await prepare(asked.request, asked.picture_fields, services.conversions)
            run = Run(exchange.id, exchange.principal, request, asked.requested_model, terms, asked.cap_micro_usd)
            retention_ms = services.settings.idempotency_retention_hours * 3_600_000
            run.identity = request_identity(exchange, asked.fingerprint, retention_ms)
            if asked.rehearsal is not None:
                scenario, identity = asked.rehearsal
                run.rehearsal = services.rehearsals.begin(run.id, identity, scenario)

            def end() -> None:
                lease.release()
                slots.release()

            services.runs.start(run, services.pipeline.execute(run, asked.model), on_end=end)
            slots.hand_on()
            lease.hand_on()
    return run


@asynccontextmanager
async def _noticing_departure(exchange: Exchange, services: Services, run: Run) -> AsyncIterator[None]:
    """Tell the run when its client leaves without its whole answer, and the ledger, so that a retry is known for one.

    Only before anything is sent to a provider does that stop the run, unless the provider's call can be cancelled for nothing.
    """

    async def watch() -> None:
        await exchange.disconnected()
        if exchange.ended:
            return
        run.depart()
        try:
            await services.pipeline.settlement.leave(run.told_id)
        except OmixaError as error:
            log.warning("departure.not_noted", extra={"request_id": run.told_id, "code": error.code})

    watcher = asyncio.create_task(watch())
    try:
        yield
    finally:
        watcher.cancel()


async def send_answer(
    exchange: Exchange,
    services: Services,
    answer: Answer,
    response_format: ResponseFormat | None,
    run: Run | None = None,
) -> None:
    """Send an answer, fresh from its run or read back from the store, in the format that is asked for or that is usual."""
    length, pieces = render_answer(answer, _shown(exchange, services, answer, response_format))
    headers: Headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(length).encode()),
        *_answer_headers(answer),
    ]
    if run is not None and run.earlier is None:
        headers += timing_headers(run)
    await exchange.start(200, headers)
    if length <= SMALL_ANSWER_BYTES:
        await exchange.send(b"".join(pieces), more=False)
        return
    await _send_all(exchange, pieces)
    await exchange.send(b"", more=False)


def inline_only(exchange: Exchange, response_format: ResponseFormat | None) -> bool:
    """Tell whether pictures come back inside the answer alone."""
    return (response_format or exchange.principal.response_format) == "b64_json"


def _shown(exchange: Exchange, services: Services, answer: Answer, response_format: ResponseFormat | None) -> Shown:
    if inline_only(exchange, response_format):
        return INLINE
    is_both = (response_format or exchange.principal.response_format) == "both"
    return Shown(is_both, picture_links(exchange, services, answer))


async def _stream(exchange: Exchange, services: Services, run: Run) -> None:
    """Send server-sent events: comments while the picture is made, then one event per picture, or an error."""
    await run.admitted()
    await exchange.start(
        200,
        [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", b"no-store"),
            (b"x-accel-buffering", b"no"),
            (b"x-request-id", run.told_id.encode()),
            (b"omixa-mode", run.principal.mode.encode()),
        ],
    )
    while run.has_preview or not run.ended:
        preview = await run.next_preview(services.settings.stream_keep_alive_s)
        if preview is not None:
            await _send_all(exchange, preview_event(run, preview))
        elif not run.ended:
            await exchange.send(b": keep-alive\n\n", more=True)
    try:
        answer = await run.answer()
    except OmixaError as error:
        await exchange.send(error_event(error_body(error, run.told_id)), more=False)
        return
    shown = _shown(exchange, services, answer, run.request.response_format)
    for index in range(len(answer.images)):
        await _send_all(exchange, completed_event(answer, index, shown))
    await exchange.send(b"", more=False)


async def _send_all(exchange: Exchange, pieces: Iterable[bytes | memoryview]) -> None:
    for piece in pieces:
        await exchange.send(piece, more=True)


def _answer_headers(answer: Answer) -> Headers:
    omixa = answer.envelope["omixa"]
    headers = {
        "x-request-id": answer.request_id,
        "omixa-cost": omixa["billed_amount"],
        "omixa-mode": omixa["mode"],
        "omixa-route": omixa["route"],
        "omixa-attempts": str(len(omixa["attempts"])),
    }
    if omixa["ignored_parameters"]:
        headers["omixa-ignored-parameters"] = ", ".join(omixa["ignored_parameters"])
    return [(name.encode(), value.encode()) for name, value in headers.items()]


def _repeat_headers(run: Run) -> Headers:
    """Return what says that an earlier request answers this one."""
    if run.earlier is None:
        return []
    return [(b"omixa-joined", b"true")] if run.earlier.joined else [(b"idempotency-replayed", b"true")]


def timing_headers(run: Run) -> Headers:
    """Return where the time went, in milliseconds, for browsers' tools and for OpenAI's clients."""
    timings = {**run.timings_ms, "total": run.age_ms()}
    return [
        server_timing(timings, run.timeline()),
        (b"openai-processing-ms", str(round(timings["total"])).encode()),
    ]
