"""Every way in which a provider, a client or the disk can fail, through HTTP: what the client sees, what it pays, what is kept.

Each kind of fault has a number, a row of the matrix, by which tests and findings name it. The marker `matrix` names the rows of a
test, or says that its parameters do; `docs/fault-matrix.md` is made from that (`tests/support/matrix.py`).
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import bindparam, update

from omixa.config import DatabaseAddress, LimitSettings
from omixa.providers.wire import Timeouts
from omixa.storage.database import Transaction
from omixa.storage.tables import request
from omixa.usage import records
from tests.support.catalogues import copy_catalogue
from tests.support.faults import (
    PROMPT,
    Customer,
    FaultyGateway,
    Outcome,
    customer,
    encoded,
    eventually,
    raw_post,
    request_body,
    running_faulty_gateway,
)
from tests.support.ledger import release
from tests.support.postgres import Cluster
from tests.support.relay import running_relay
from tests.support.servers import SIMULATOR_API_KEY, Simulator

# A picture of 1024x1024 for PROMPT: 10 text tokens, for an edit 1,024 of its reference, 1,024 of the output.
GENERATION_PRICE, EDIT_PRICE, FALLBACK_PRICE = "0.033900", "0.039000", "0.033000"
PROMPT_TOKENS = 10
TEN_DOLLARS = ("10.000000", "0.000000")

OPERATIONS = pytest.mark.parametrize("edit", [False, True], ids=["generation", "edit"])
FORMS = pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
# Where the same code decides for all, two of the four are enough.
BOTH = pytest.mark.parametrize(
    ("edit", "stream"), [(False, False), (True, True)], ids=["generation-json", "edit-stream"]
)


@dataclass(frozen=True)
class Fault:
    """A row of the matrix: what the simulator does, what the client sees, and what is known of the call afterwards.

    `told` says that the provider's own reason is passed on to the caller.
    """

    row: str
    scenario: str
    status: int
    code: str
    type: str
    state: str
    upstream_status: int | None
    should_retry: bool = True
    retry_after: str | None = None
    told: bool = False

    def __str__(self) -> str:
        return f"{self.row}-{self.scenario}"


def _limited(row: str, scenario: str, retry_after: str | None) -> Fault:
    return Fault(
        row,
        scenario,
        429,
        "provider_rate_limited",
        "rate_limit_error",
        "failed_free",
        429,
        retry_after=retry_after,
    )


def _unavailable(
    row: str, scenario: str, upstream_status: int, retry_after: str | None = None, *, should_retry: bool = False
) -> Fault:
    return Fault(
        row,
        scenario,
        503,
        "provider_unavailable",
        "provider_error",
        "failed_free",
        upstream_status,
        retry_after=retry_after,
        should_retry=should_retry,
    )


def _failed(row: str, scenario: str, upstream_status: int | None) -> Fault:
    return Fault(row, scenario, 502, "provider_error", "provider_error", "unknown", upstream_status)


def _unusable(row: str, scenario: str, upstream_status: int | None = 200) -> Fault:
    return Fault(row, scenario, 502, "bad_provider_response", "provider_error", "unknown", upstream_status)


FAULTS = [
    _limited("1", "429(retry_after=7)", "7"),
    _limited("1", "429(retry_after=none)", None),
    # More than the official clients wait at most, so nothing is gained by telling them to.
    dataclasses.replace(_limited("1", "429(retry_after=9999)", "300"), should_retry=False),
    _unavailable("2", "quota", 429),
    _unavailable("3", "401", 401),
    _unavailable("3", "403", 403),
    _unavailable("4", "404", 404),
    Fault(
        "5",
        "filter",
        400,
        "content_policy_violation",
        "content_policy_violation",
        "failed_billed",
        400,
        should_retry=False,
        told=True,
    ),
    _failed("6", "500", 500),
    _failed("6", "502", 502),
    _failed("6", "504", 504),
    _unavailable("7", "503", 503, should_retry=True),
    _unavailable("7", "503(retry_after=11)", 503, "11", should_retry=True),
    _failed("12", "reset", None),
    _failed("12", "short", None),
    _unusable("13", "html"),
    _unusable("14", "badjson"),
    _unusable("14", "nodata"),
    _unusable("15", "badbase64"),
    _unusable("15", "notpng"),
    _unusable("15", "jpeg"),
    _unusable("15", "bomb"),
    _unusable("15", "damaged"),
    _unusable("15", "truncated"),
    _unusable("16", "empty"),
    Fault("21", "redirect", 502, "provider_redirected", "provider_error", "failed_free", 307, should_retry=False),
    _unusable("22", "huge", None),
]
SAFE = ["429", "quota", "401", "403", "404", "503"]
AMBIGUOUS = ["500", "502", "504", "reset", "short", "html", "badjson", "nodata", "badbase64", "jpeg", "bomb", "empty"]
FINAL = [("5", "filter", "content_policy_violation"), ("21", "redirect", "provider_redirected")]


# ---------------------------------------------------------------------------------------------------------- one deployment


@pytest.mark.matrix
@OPERATIONS
@FORMS
@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_a_failure_is_told_recorded_and_free(
    faulty: FaultyGateway,
    buyer: Customer,
    square: str,
    caplog: pytest.LogCaptureFixture,
    fault: Fault,
    edit: bool,
    stream: bool,
) -> None:
    faulty.simulator.play(fault.scenario)
    calls = len(faulty.simulator.log())
    outcome = buyer.ask(stream=stream, reference=square if edit else None)
    _check_error(outcome, fault, stream=stream)
    _check_nothing_was_billed(faulty, buyer, outcome, fault.code)
    (call,) = faulty.attempts(outcome.request_id)
    assert (call["state"], call["error_code"]) == (fault.state, fault.code)
    assert call["upstream_status"] == fault.upstream_status
    may_cost = fault.state in ("unknown", "failed_billed")
    assert call["cost_basis"] == ("estimated" if may_cost else "none")
    assert (call["cost_pico_usd"] > 0) == may_cost
    _check_diagnostics(buyer, outcome, call["diagnostics"], caplog, told=fault.told)
    assert len(faulty.simulator.log()) == calls + 1


def _check_error(outcome: Outcome, fault: Fault, *, stream: bool) -> None:
    assert outcome.error is not None
    assert (outcome.error["code"], outcome.error["type"]) == (fault.code, fault.type)
    assert outcome.error["request_id"] == outcome.request_id
    assert outcome.error["message"]
    assert outcome.pictures == ()
    if stream:
        assert outcome.status == 200
        return
    assert outcome.status == fault.status
    assert outcome.headers["x-should-retry"] == str(fault.should_retry).lower()
    assert outcome.headers.get("retry-after") == fault.retry_after


def _check_nothing_was_billed(faulty: FaultyGateway, buyer: Customer, outcome: Outcome, code: str) -> None:
    assert buyer.balance == TEN_DOLLARS
    row = faulty.request(outcome.request_id)
    assert (row["state"], row["outcome"]) == ("released", code)
    assert row["charge_amount"] is None
    assert row["result_ref"] is None
    assert faulty.charges(outcome.request_id) == []
    assert buyer.get(f"/requests/{outcome.request_id}/result").status_code == 404


def _check_diagnostics(
    buyer: Customer, outcome: Outcome, diagnostics: str | None, caplog: pytest.LogCaptureFixture, *, told: bool
) -> None:
    """The operator can read why; the caller reads our words only, in the answer and in the request log."""
    assert diagnostics
    details = buyer.get(f"/requests/{outcome.request_id}").json()
    assert (details["billed_amount"], details["error_code"]) == (
        "0.000000",
        outcome.error["code"] if outcome.error else "",
    )
    assert [step["outcome"] for step in details["attempts"]] == [details["error_code"]]
    public = outcome.text + str(details) + buyer.get("/usage/requests").text
    everything = public + caplog.text + diagnostics
    assert SIMULATOR_API_KEY not in everything
    assert PROMPT not in everything
    if not told:
        reason = max(diagnostics.split(": "), key=len)
        assert diagnostics not in public
        assert reason not in public


@pytest.mark.matrix
@OPERATIONS
@FORMS
@pytest.mark.parametrize(
    ("row", "endpoint"),
    [
        ("8 refused", "http://127.0.0.1:1"),
        ("8 no such name", "http://no-such-host.invalid"),
        ("8 no TLS", "https://127.0.0.1:{port}"),
    ],
)
def test_a_provider_that_cannot_be_reached(
    faulty: FaultyGateway, buyer: Customer, square: str, row: str, endpoint: str, edit: bool, stream: bool
) -> None:
    calls = len(faulty.simulator.log())
    faulty.router.use(faulty.deployment("one", endpoint.format(port=faulty.simulator.port)))
    outcome = buyer.ask(stream=stream, reference=square if edit else None)
    fault = Fault(row, "", 502, "provider_unreachable", "provider_error", "failed_free", None)
    _check_error(outcome, fault, stream=stream)
    _check_nothing_was_billed(faulty, buyer, outcome, fault.code)
    (call,) = faulty.attempts(outcome.request_id)
    assert (call["state"], call["cost_basis"]) == ("failed_free", "none")
    assert "connecting" in call["diagnostics"]
    assert len(faulty.simulator.log()) == calls


IMPATIENT = Timeouts(first_byte_s=0.1, total_s=5, connect_s=0.2, slow_step_s=0.2)


@pytest.fixture
def impatience(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Timeouts]]:
    """The time limits of the next calls; calls after them have those of the offer."""
    waiting: list[Timeouts] = []

    def timeouts(**of_the_offer: Any) -> Timeouts:
        return waiting.pop(0) if waiting else Timeouts(**of_the_offer)

    monkeypatch.setattr("omixa.providers.single.Timeouts", timeouts)
    yield waiting
    assert waiting == []


@pytest.mark.matrix
@OPERATIONS
@FORMS
@pytest.mark.parametrize(
    ("row", "scenario", "limits"),
    [
        ("10", "hang", IMPATIENT),
        ("11", "drip", IMPATIENT),
        ("11", "drip=3600", Timeouts(first_byte_s=5, total_s=0.4)),
    ],
)
def test_a_provider_that_takes_too_long(
    faulty: FaultyGateway,
    buyer: Customer,
    square: str,
    impatience: list[Timeouts],
    row: str,
    scenario: str,
    limits: Timeouts,
    edit: bool,
    stream: bool,
) -> None:
    impatience.append(limits)
    faulty.simulator.play(scenario)
    outcome = buyer.ask(stream=stream, reference=square if edit else None)
    fault = Fault(row, scenario, 504, "provider_timeout", "provider_error", "unknown", None, should_retry=False)
    _check_error(outcome, fault, stream=stream)
    _check_nothing_was_billed(faulty, buyer, outcome, fault.code)
    (call,) = faulty.attempts(outcome.request_id)
    assert (call["state"], call["cost_basis"]) == ("unknown", "estimated")


@pytest.mark.matrix("9")
@OPERATIONS
@FORMS
def test_a_provider_that_does_not_accept(
    faulty: FaultyGateway, buyer: Customer, square: str, impatience: list[Timeouts], edit: bool, stream: bool
) -> None:
    """Row 9: with its queue of connections full, a listener lets further ones wait."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        address = deaf.getsockname()
        with socket.create_connection(address):
            impatience.append(IMPATIENT)
            faulty.router.use(faulty.deployment("one", f"http://127.0.0.1:{address[1]}"))
            outcome = buyer.ask(stream=stream, reference=square if edit else None)
    fault = Fault("9", "", 504, "provider_timeout", "provider_error", "failed_free", None)
    _check_error(outcome, fault, stream=stream)
    _check_nothing_was_billed(faulty, buyer, outcome, fault.code)


@pytest.mark.matrix
@OPERATIONS
@FORMS
@pytest.mark.parametrize(
    ("row", "status", "body", "code", "told"),
    [
        ("4", 400, b'{"error":{"code":"invalid_request","param":"prompt","message":"too odd"}}', None, "too odd"),
        ("4", 422, b'{"detail":[{"loc":["body","prompt"],"msg":"too odd"}]}', None, "too odd"),
        ("4", 404, b'{"error":{"code":"not_found","param":"size","message":"too odd"}}', None, "too odd"),
        ("4", 413, b"<h1>too large</h1>", None, ""),
        ("5", 200, b'{"error":{"code":"content_filter","message":"too odd"}}', "content_policy_violation", "too odd"),
    ],
)
def test_what_the_caller_must_change_is_told(
    faulty: FaultyGateway,
    buyer: Customer,
    square: str,
    row: str,
    status: int,
    body: bytes,
    code: str | None,
    told: str,
    edit: bool,
    stream: bool,
) -> None:
    """Rows 4 and 5, in shapes that the simulated service does not have."""
    faulty.raw.status, faulty.raw.body, faulty.raw.calls = status, body, 0
    faulty.router.use(faulty.deployment("raw", "simulator://raw"), faulty.deployment("one"))
    outcome = buyer.ask(stream=stream, reference=square if edit else None)
    expected = Fault(
        "4",
        "",
        400,
        code or "provider_rejected_request",
        code or "invalid_request_error",
        "failed_free",
        status,
        should_retry=False,
    )
    _check_error(outcome, expected, stream=stream)
    assert outcome.error is not None
    assert told in outcome.error["message"]
    _check_nothing_was_billed(faulty, buyer, outcome, expected.code)
    assert faulty.raw.calls == len(faulty.attempts(outcome.request_id)) == 1


# ------------------------------------------------------------------------------------------- pictures that were delivered


@OPERATIONS
@FORMS
def test_an_ordinary_answer_is_charged_once(
    faulty: FaultyGateway, buyer: Customer, square: str, edit: bool, stream: bool
) -> None:
    outcome = buyer.ask(stream=stream, reference=square if edit else None)
    _check_charge(faulty, buyer, outcome, EDIT_PRICE if edit else GENERATION_PRICE)
    assert not outcome.usage["usage_estimated"]


def _check_charge(faulty: FaultyGateway, buyer: Customer, outcome: Outcome, price: str) -> None:
    assert outcome.error is None, outcome.error
    assert outcome.status == 200
    amount = int(price.replace(".", ""))
    assert outcome.usage["billed_amount"] == outcome.omixa["billed_amount"] == price
    assert faulty.charges(outcome.request_id) == [amount]
    assert buyer.spent_micro_usd == amount
    row = faulty.request(outcome.request_id)
    assert (row["state"], row["outcome"], row["charge_amount"]) == ("captured", "ok", amount)
    details = buyer.get(f"/requests/{outcome.request_id}").json()
    assert details["billed_amount"] == price
    assert details["line_items"] == outcome.omixa["line_items"]
    stored = buyer.get(f"/requests/{outcome.request_id}/result").json()
    assert tuple(datum["b64_json"] for datum in stored["data"]) == outcome.pictures


@pytest.mark.matrix("18")
@OPERATIONS
@FORMS
@pytest.mark.parametrize("scenario", ["nousage", "badusage", "bigusage"])
def test_a_picture_without_usage_costs_the_fallback(
    faulty: FaultyGateway, buyer: Customer, portrait: str, scenario: str, edit: bool, stream: bool
) -> None:
    """Row 18."""
    faulty.simulator.play(scenario)
    outcome = buyer.ask(stream=stream, reference=portrait if edit else None)
    _check_charge(faulty, buyer, outcome, FALLBACK_PRICE)
    assert outcome.usage["usage_estimated"] is True
    assert [item["component"] for item in outcome.omixa["line_items"]] == ["image"]
    # The picture that arrived is measured: an edit of this reference is 912x1152.
    assert outcome.usage["output_tokens"] == (1026 if edit else 1024)
    (call,) = faulty.attempts(outcome.request_id)
    assert (call["state"], call["cost_basis"]) == ("ok", "estimated")
    assert call["diagnostics"].startswith("usage refused: ")
    record = buyer.get(f"/requests/{outcome.request_id}").json()
    assert record["usage"]["usage_estimated"] is True


def _reported(answer: dict[str, Any], usage: object) -> bytes:
    return encoded({**answer, "usage": usage})


_COUNTS = st.one_of(
    st.integers(0, 40_000),
    st.integers(),
    st.sampled_from(
        [0, 1024, 1056, 1057, 32_000, 32_001, 10**15, 2**63, -1, True, False, None, 1.0, 0.5, "1024", [], {}]
    ),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5),
)
_USAGES = st.one_of(
    st.fixed_dictionaries(
        {"num_output_tokens": _COUNTS},
        optional={"num_input_text_tokens": _COUNTS, "num_input_image_tokens": _COUNTS, "other": _COUNTS},
    ),
    st.dictionaries(st.text(max_size=3), _COUNTS, max_size=2),
    _COUNTS,
)


def test_no_report_of_usage_reaches_a_balance_unless_it_can_be(
    faulty: FaultyGateway, buyer: Customer, caplog: pytest.LogCaptureFixture
) -> None:
    """Row 18 for every report: charged by its counts if a picture can have used them, else by the flat price and flagged."""
    answer = faulty.answer(model="one", prompt=PROMPT, width=1024, height=1024)
    faulty.router.use(faulty.deployment("raw", "simulator://raw"))

    @settings(max_examples=120)
    @given(_USAGES)
    def check(usage: object) -> None:
        faulty.raw.body = _reported(answer, usage)
        spent = buyer.spent_micro_usd
        caplog.clear()
        outcome = buyer.ask()
        assert outcome.status == 200, outcome.text
        charged = buyer.spent_micro_usd - spent
        held = int(outcome.omixa["held_amount"].replace(".", ""))
        price = _possible_price(usage)
        assert charged == (33_000 if price is None else min(price, held))
        assert 0 < charged <= held
        assert outcome.usage["usage_estimated"] is (price is None)
        (call,) = faulty.attempts(outcome.request_id)
        assert (call["cost_basis"], call["state"]) == ("estimated" if price is None else "reported", "ok")
        assert (price is None) == ("usage refused" in (call["diagnostics"] or "")) == ("usage.refused" in caplog.text)
        assert faulty.charges(outcome.request_id) == [charged]

    check()


def _possible_price(usage: object) -> int | None:
    """Return the price of a generation's report in micro-USD by plain arithmetic, None where no picture can have used that."""
    counts = usage if isinstance(usage, dict) else {}
    text, images, output = (counts.get(f"num_{name}_tokens") for name in ("input_text", "input_image", "output"))
    text = PROMPT_TOKENS if text is None else text
    images = 0 if images is None else images
    for count, least, most in ((text, 0, 32_000), (images, 0, 0), (output, 1, 1056)):
        if type(count) is not int or not least <= count <= most:
            return None
    return -(-(5 * text + 33 * output) // 100) * 100


@FORMS
def test_usage_at_the_top_level_is_usage(faulty: FaultyGateway, buyer: Customer, stream: bool) -> None:
    faulty.simulator.play("topusage")
    outcome = buyer.ask(stream=stream)
    _check_charge(faulty, buyer, outcome, GENERATION_PRICE)
    assert not outcome.usage["usage_estimated"]


@pytest.mark.matrix("19")
@OPERATIONS
@FORMS
def test_usage_above_the_hold_bills_the_hold(
    faulty: FaultyGateway, buyer: Customer, square: str, caplog: pytest.LogCaptureFixture, edit: bool, stream: bool
) -> None:
    """Row 19."""
    faulty.simulator.play("longusage")
    with caplog.at_level(logging.ERROR):
        outcome = buyer.ask(stream=stream, reference=square if edit else None)
    _check_charge(faulty, buyer, outcome, outcome.omixa["held_amount"])
    # 32,000 text tokens, which the model can read and the prompt does not have.
    assert outcome.omixa["exact_amount"] > "0.19"
    assert "usage.above_bound" in caplog.text
    (call,) = faulty.attempts(outcome.request_id)
    assert call["diagnostics"] == f"32000 text tokens were reported for a prompt of {len(PROMPT)} bytes"


@pytest.mark.matrix("17")
@OPERATIONS
@FORMS
@pytest.mark.parametrize(
    ("scenario", "pictures", "unreported", "generated", "edited"),
    [
        ("ok,500,ok", 2, 0, "0.067700", "0.078000"),  # 2 x 33,842 and 2 x 38,962
        ("429,hang,filter", 0, 0, "", ""),
        ("ok,nousage,ok", 3, 1, "0.100700", "0.111000"),  # one by the fallback: 100,684 and 110,924
        ("nousage,html,nousage", 2, 2, "0.066000", "0.066000"),
        ("nousagex3", 3, 3, "0.099000", "0.099000"),
    ],
)
def test_of_several_pictures_those_that_arrive_are_billed(
    faulty: FaultyGateway,
    buyer: Customer,
    square: str,
    impatience: list[Timeouts],
    scenario: str,
    pictures: int,
    unreported: int,
    generated: str,
    edited: str,
    edit: bool,
    stream: bool,
) -> None:
    """Row 17, and requests of which some pictures have usage and some have none."""
    faulty.simulator.play(scenario)
    impatience += [IMPATIENT] * 3 * (pictures == 0)
    outcome = buyer.ask(n=3, stream=stream, reference=square if edit else None)
    assert len(outcome.pictures) == pictures
    if not pictures:
        assert outcome.error is not None
        assert buyer.balance == TEN_DOLLARS
        assert len(faulty.attempts(outcome.request_id)) == 3
        return
    _check_charge(faulty, buyer, outcome, edited if edit else generated)
    assert len(outcome.omixa["failed"]) == 3 - pictures
    estimated = [usage["usage_estimated"] for usage in outcome.omixa["usage_by_image"]]
    assert (len(estimated), sum(estimated)) == (pictures, unreported)


# -------------------------------------------------------------------------------------------------------------- failover


@BOTH
@pytest.mark.parametrize("scenario", SAFE + AMBIGUOUS)
def test_the_next_deployment_answers(
    faulty: FaultyGateway, buyer: Customer, square: str, scenario: str, edit: bool, stream: bool
) -> None:
    """One hold, one bill, both calls in the receipt."""
    faulty.plan("one", "two", "three")
    faulty.simulator.play(scenario)
    requests = faulty.request_count()
    outcome = buyer.ask(stream=stream, reference=square if edit else None)
    _check_charge(faulty, buyer, outcome, EDIT_PRICE if edit else GENERATION_PRICE)
    assert faulty.request_count() == requests + 1
    first, second = faulty.attempts(outcome.request_id)
    assert (first["deployment"], second["deployment"]) == ("test/one", "test/two")
    assert first["state"] == ("failed_free" if scenario in SAFE else "unknown")
    assert (second["state"], second["cost_basis"]) == ("ok", "reported")
    assert outcome.omixa["attempts"] == [
        {"attempt": 1, "image": 0, "route": "test/one", "outcome": first["error_code"]},
        {"attempt": 2, "image": 0, "route": "test/two", "outcome": "ok"},
    ]
    assert outcome.omixa["route"] == "test/two"
    assert [entry["deployment"] for entry in faulty.simulator.log()[-2:]] == ["one", "two"]


@pytest.mark.matrix("8", "10", "23")
@OPERATIONS
@FORMS
def test_an_unreachable_deployment_and_one_that_times_out_are_passed_over(
    faulty: FaultyGateway, buyer: Customer, square: str, impatience: list[Timeouts], edit: bool, stream: bool
) -> None:
    """Rows 8, 10 and 23: the picture that the second one made too late is neither delivered nor billed."""
    faulty.router.use(
        faulty.deployment("nowhere", "http://127.0.0.1:1"), faulty.deployment("two"), faulty.deployment("three")
    )
    faulty.simulator.play("hang")
    impatience += [IMPATIENT, IMPATIENT]
    outcome = buyer.ask(stream=stream, reference=square if edit else None)
    _check_charge(faulty, buyer, outcome, EDIT_PRICE if edit else GENERATION_PRICE)
    assert [call["state"] for call in faulty.attempts(outcome.request_id)] == ["failed_free", "unknown", "ok"]


@pytest.mark.matrix
@OPERATIONS
@FORMS
@pytest.mark.parametrize(("row", "scenario", "code"), FINAL)
def test_a_final_failure_goes_nowhere_else(
    faulty: FaultyGateway, buyer: Customer, square: str, row: str, scenario: str, code: str, edit: bool, stream: bool
) -> None:
    """Rows 5 and 21: no shopping for a laxer filter."""
    faulty.plan("one", "two", "three")
    faulty.simulator.play(scenario)
    calls = len(faulty.simulator.log())
    outcome = buyer.ask(stream=stream, reference=square if edit else None)
    assert outcome.error is not None
    assert outcome.error["code"] == code
    _check_nothing_was_billed(faulty, buyer, outcome, code)
    assert len(faulty.simulator.log()) - calls == len(faulty.attempts(outcome.request_id)) == 1


@FORMS
@pytest.mark.parametrize(
    ("scenario", "states", "code"),
    [
        ("429x*", ["failed_free"] * 3, "provider_rate_limited"),
        ("500x*", ["unknown"] * 2, "provider_error"),
        ("html,empty,ok", ["unknown"] * 2, "bad_provider_response"),
        ("500,429,ok", ["unknown", "failed_free"], "provider_rate_limited"),
        ("429,500,503,ok", ["failed_free", "unknown", "failed_free"], "provider_unavailable"),
        ("503,filter,ok", ["failed_free", "failed_billed"], "content_policy_violation"),
        ("500,redirect,ok", ["unknown", "failed_free"], "provider_redirected"),
        ("401,403,429,ok", ["failed_free"] * 3, "provider_rate_limited"),
    ],
)
def test_attempts_end(
    faulty: FaultyGateway, buyer: Customer, scenario: str, states: list[str], code: str, stream: bool
) -> None:
    """At most three calls, at most one more after an ambiguous failure, none after a final one."""
    faulty.plan("one", "two", "three", "four")
    faulty.simulator.play(scenario)
    calls = len(faulty.simulator.log())
    outcome = buyer.ask(stream=stream)
    assert outcome.error is not None
    assert outcome.error["code"] == code
    _check_nothing_was_billed(faulty, buyer, outcome, code)
    assert [call["state"] for call in faulty.attempts(outcome.request_id)] == states
    assert len(faulty.simulator.log()) - calls == len(states)


@FORMS
def test_each_picture_fails_over_for_itself(faulty: FaultyGateway, buyer: Customer, stream: bool) -> None:
    # Whichever picture meets the second fault, even the one that met the first, has one more call.
    faulty.plan("one", "two", "three")
    faulty.simulator.play("429,500,ok")
    outcome = buyer.ask(n=3, stream=stream)
    _check_charge(faulty, buyer, outcome, "0.101600")  # 3 x 33,842
    calls = faulty.attempts(outcome.request_id)
    assert sorted(call["state"] for call in calls) == ["failed_free", "ok", "ok", "ok", "unknown"]
    assert sorted(call["n"] for call in calls) == [1, 2, 3, 4, 5]


def test_the_deadline_ends_all_attempts(several_deployments: Simulator, tmp_path: Path) -> None:
    with running_faulty_gateway(tmp_path, several_deployments, run_deadline_s=0.4) as faulty:
        faulty.plan("one", "two", "three")
        with customer(faulty.gateway, "default") as buyer:
            several_deployments.play("hangx*")
            outcome = buyer.ask()
            several_deployments.play("")
            fault = Fault("10", "hang", 504, "provider_timeout", "provider_error", "unknown", None, should_retry=False)
            _check_error(outcome, fault, stream=False)
            _check_nothing_was_billed(faulty, buyer, outcome, fault.code)
            assert [call["state"] for call in faulty.attempts(outcome.request_id)] == ["unknown"]
        assert faulty.findings() == []


# --------------------------------------------------------------------------------------------------------------- clients


@pytest.mark.matrix("24")
@OPERATIONS
@FORMS
def test_a_client_that_leaves_after_the_request_was_sent_pays_for_a_stored_picture(
    faulty: FaultyGateway, buyer: Customer, square: str, edit: bool, stream: bool
) -> None:
    """Row 24, after send: the provider works on, the picture waits under the request's id."""
    faulty.simulator.play("slow=0.3")
    calls = len(faulty.simulator.log())
    body = encoded(request_body(stream=stream, reference=square if edit else None))
    with raw_post(faulty.gateway, buyer.client.headers["authorization"], body):
        eventually(lambda: len(faulty.simulator.log()) > calls)
    faulty.wait_for_runs()
    (found,) = buyer.get("/usage/requests").json()["data"]
    price = EDIT_PRICE if edit else GENERATION_PRICE
    assert (found["state"], found["billed_amount"]) == ("captured", price)
    assert buyer.spent_micro_usd == int(price.replace(".", ""))
    answer = buyer.get(f"/requests/{found['id']}/result")
    assert answer.status_code == 200
    assert answer.json()["usage"]["billed_amount"] == price


@FORMS
def test_where_a_cancelled_call_is_free_a_client_that_leaves_pays_nothing(
    several_deployments: Simulator, tmp_path: Path, stream: bool
) -> None:
    """Row 24, after send, for an offer with on_disconnect = "cancel"."""
    catalogue = copy_catalogue(tmp_path / "catalogue")
    offer = catalogue / "providers" / "foundry.toml"
    offer.write_text(offer.read_text().replace('on_disconnect = "finish"', 'on_disconnect = "cancel"'))
    directory = tmp_path / "data"
    with running_faulty_gateway(directory, several_deployments, catalogue_dir=str(catalogue)) as faulty:
        faulty.plan("one", "two")
        with customer(faulty.gateway, "default") as buyer:
            several_deployments.play("hangx*")
            calls = len(several_deployments.log())
            with raw_post(faulty.gateway, buyer.client.headers["authorization"], encoded(request_body(stream=stream))):
                eventually(lambda: len(several_deployments.log()) > calls)
            faulty.wait_for_runs()
            several_deployments.play("")
            (found,) = buyer.get("/usage/requests").json()["data"]
            assert (found["state"], found["outcome"]) == ("released", "client_disconnected")
            (call,) = faulty.attempts(found["id"])
            assert (call["state"], call["cost_pico_usd"], call["cost_basis"]) == ("failed_free", 0, "none")
            assert len(several_deployments.log()) == calls + 1
            # Who stays is served as ever.
            assert buyer.ask(stream=stream).status == 200
            assert buyer.spent_micro_usd == int(GENERATION_PRICE.replace(".", ""))
        assert faulty.findings() == []


@pytest.mark.matrix("24")
@OPERATIONS
@FORMS
def test_a_client_that_leaves_before_the_request_was_sent_pays_nothing(
    faulty: FaultyGateway, buyer: Customer, square: str, edit: bool, stream: bool
) -> None:
    """Row 24, before send: the ledger is busy until the client has left."""
    calls, go_on = len(faulty.simulator.log()), threading.Event()
    writing = threading.Thread(
        target=lambda: faulty.gateway.call(lambda services: services.database.write(lambda _: go_on.wait(30)))
    )
    writing.start()
    before = faulty.runs.latest
    body = encoded(request_body(stream=stream, reference=square if edit else None))
    try:
        with raw_post(faulty.gateway, buyer.client.headers["authorization"], body):
            eventually(lambda: faulty.runs.latest is not before)
        run = faulty.runs.latest
        assert run is not None
        eventually(lambda: run.client_gone)
    finally:
        go_on.set()
        writing.join()
    faulty.wait_for_runs()
    row = faulty.request(run.id)
    assert (row["state"], row["outcome"]) == ("released", "client_disconnected")
    assert buyer.balance == TEN_DOLLARS
    assert len(faulty.simulator.log()) == calls


@pytest.mark.matrix("25")
@OPERATIONS
@FORMS
@pytest.mark.parametrize(
    ("sent", "content_length", "status", "code"),
    [
        pytest.param(50, 1000, 408, "request_timeout", id="slow"),
        pytest.param(0, 100_001, 413, "request_too_large", id="too large"),
        pytest.param(50, None, 400, "invalid_json", id="not JSON"),
    ],
)
def test_a_body_that_does_not_come_costs_nothing(
    several_deployments: Simulator,
    tmp_path: Path,
    square: str,
    sent: int,
    content_length: int | None,
    status: int,
    code: str,
    edit: bool,
    stream: bool,
) -> None:
    body = encoded(_beginning_with_kind(request_body(stream=stream, reference=square if edit else None)))[:sent]
    limits = {"body_timeout_s": 0.2, "max_body_bytes": 100_000}
    with running_faulty_gateway(tmp_path, several_deployments, **limits) as faulty:
        calls = len(several_deployments.log())
        with customer(faulty.gateway, "default") as buyer:
            authorization = buyer.client.headers["authorization"]
            with raw_post(faulty.gateway, authorization, body, content_length=content_length) as connection:
                answer = b""
                while b"}}" not in answer and (piece := connection.recv(65536)):
                    answer += piece
            assert answer.startswith(f"HTTP/1.1 {status} ".encode())
            assert f'"code":"{code}"'.encode() in answer
            assert buyer.balance == TEN_DOLLARS
        assert (faulty.request_count(), len(several_deployments.log())) == (0, calls)
        assert faulty.findings() == []


def _beginning_with_kind(body: dict[str, Any]) -> dict[str, Any]:
    """Return a body that says first whether it wants a stream and what it edits, so that its beginning says so."""
    first = {name: body[name] for name in ("stream", "input_images") if name in body}
    return {**first, **body}


@pytest.mark.matrix("25")
@OPERATIONS
@FORMS
def test_a_body_that_is_cut_short_costs_nothing(
    faulty: FaultyGateway, buyer: Customer, square: str, edit: bool, stream: bool
) -> None:
    """Nobody is there to be told."""
    before = faulty.request_count(), len(faulty.simulator.log())
    body = encoded(_beginning_with_kind(request_body(stream=stream, reference=square if edit else None)))[:50]
    with raw_post(faulty.gateway, buyer.client.headers["authorization"], body, content_length=1000):
        pass
    assert buyer.ask(prompt="").status == 400
    assert (faulty.request_count(), len(faulty.simulator.log())) == before
    assert buyer.balance == TEN_DOLLARS


# ---------------------------------------------------------------------------------------------------------------- ledger


@pytest.fixture
def impatient_ledger(faulty: FaultyGateway) -> Iterator[sqlite3.Connection]:
    """Another process's connection to the ledger; the gateway waits only a moment for it."""
    faulty.set_busy_timeout(100)
    path = faulty.gateway.settings.data_path / "omixa.db"
    with sqlite3.connect(path, isolation_level=None) as other:
        yield other
    other.close()
    faulty.set_busy_timeout(10_000)


@pytest.mark.matrix("26")
@OPERATIONS
@FORMS
def test_without_a_ledger_no_provider_is_called(
    faulty: FaultyGateway,
    buyer: Customer,
    square: str,
    impatient_ledger: sqlite3.Connection,
    edit: bool,
    stream: bool,
) -> None:
    """Row 26. A stream has not begun yet, so it is told by status too."""
    before = faulty.request_count(), len(faulty.simulator.log())
    impatient_ledger.execute("BEGIN IMMEDIATE")
    outcome = buyer.ask(stream=stream, reference=square if edit else None)
    impatient_ledger.execute("ROLLBACK")
    fault = Fault("26", "", 503, "ledger_unavailable", "server_error", "", None, retry_after="5")
    _check_error(outcome, fault, stream=False)
    assert (faulty.request_count(), len(faulty.simulator.log())) == before
    assert buyer.balance == TEN_DOLLARS
    assert buyer.ask().status == 200


@pytest.mark.matrix("27")
@OPERATIONS
@FORMS
def test_a_charge_that_cannot_be_recorded_is_not_made(
    several_deployments: Simulator, tmp_path: Path, square: str, edit: bool, stream: bool
) -> None:
    """Row 27: 503 at the deadline, and the hold goes back at the latest when the gateway starts again."""
    several_deployments.play("slow=0.3")
    with running_faulty_gateway(tmp_path, several_deployments, run_deadline_s=2.0) as faulty:
        faulty.set_busy_timeout(100)
        with customer(faulty.gateway, "default") as buyer, sqlite3.connect(tmp_path / "omixa.db") as other:
            key = buyer.client.headers["authorization"].removeprefix("Bearer ")
            calls = len(several_deployments.log())
            with ThreadPoolExecutor(1) as pool:
                asking = pool.submit(buyer.ask, stream=stream, reference=square if edit else None)
                eventually(lambda: len(several_deployments.log()) > calls)
                other.execute("BEGIN IMMEDIATE")
                outcome = asking.result()
            other.execute("ROLLBACK")
        other.close()
        fault = Fault("27", "", 503, "settlement_unavailable", "server_error", "", None, retry_after="5")
        _check_error(outcome, fault, stream=stream)
        assert faulty.request(outcome.request_id)["state"] == "held"
        assert faulty.findings() == []
    with running_faulty_gateway(tmp_path, several_deployments) as faulty, faulty.gateway.client(key) as client:
        buyer = Customer(client)
        _check_nothing_was_billed(faulty, buyer, outcome, "interrupted")
        assert faulty.findings() == []


def _released(tx: Transaction, request_id: str, epoch: int) -> None:
    assert release(tx, request_id, epoch, "interrupted")


_take_over = update(request).where(request.c.id == bindparam("name")).values(owner_epoch=bindparam("of_epoch"))


def _taken_over_and_released(tx: Transaction, request_id: str, epoch: int) -> None:
    _taken_over(tx, request_id, epoch)
    _released(tx, request_id, epoch + 1)


def _taken_over(tx: Transaction, request_id: str, epoch: int) -> None:
    assert tx.execute(_take_over, name=request_id, of_epoch=epoch + 1)


@pytest.mark.matrix("31")
@OPERATIONS
@FORMS
@pytest.mark.parametrize("interfere", [_released, _taken_over_and_released, _taken_over])
def test_a_hold_that_somebody_else_has_taken_is_never_charged(
    faulty: FaultyGateway,
    buyer: Customer,
    square: str,
    interfere: Callable[[Transaction, str, int], None],
    edit: bool,
    stream: bool,
) -> None:
    """Row 31, as after a long pause: a successor was there first, and it alone may end the request."""
    faulty.simulator.play("slow=0.3")
    calls = len(faulty.simulator.log())
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(buyer.ask, stream=stream, reference=square if edit else None)
        eventually(lambda: len(faulty.simulator.log()) > calls)
        assert faulty.runs.latest is not None
        request_id = faulty.runs.latest.id
        epoch = faulty.request(request_id)["owner_epoch"]
        faulty.write(lambda tx: interfere(tx, request_id, epoch))
        outcome = asking.result()
    fault = Fault("31", "", 503, "settlement_unavailable", "server_error", "", None, retry_after="1")
    _check_error(outcome, fault, stream=stream)
    if interfere is _taken_over:
        assert faulty.request(request_id)["state"] == "held"
        faulty.write(functools.partial(_released, request_id=request_id, epoch=epoch + 1))
        faulty.write(functools.partial(records.abandon_attempts, request_id=request_id, error_code="interrupted"))
    _check_nothing_was_billed(faulty, buyer, outcome, "interrupted")


@pytest.mark.matrix("28")
@OPERATIONS
@FORMS
def test_a_charge_whose_commit_is_not_answered_is_looked_up_and_told(
    several_deployments: Simulator, cluster: Cluster, tmp_path: Path, square: str, edit: bool, stream: bool
) -> None:
    """The connection to PostgreSQL is lost in a COMMIT that arrived: the reply follows after reading what became of it."""
    several_deployments.play("slow=0.3")
    with cluster.database() as name, running_relay(cluster.port) as relay:
        database = DatabaseAddress(cluster.address(name, relay.port))
        with (
            running_faulty_gateway(tmp_path, several_deployments, database=database) as faulty,
            customer(faulty.gateway, "default") as buyer,
        ):
            calls = len(several_deployments.log())
            with ThreadPoolExecutor(1) as pool:
                asking = pool.submit(buyer.ask, stream=stream, reference=square if edit else None)
                eventually(lambda: len(several_deployments.log()) > calls)
                relay.faults.append("unanswered")
                outcome = asking.result()
            assert not relay.faults
            _check_charge(faulty, buyer, outcome, EDIT_PRICE if edit else GENERATION_PRICE)
            assert faulty.findings() == []


@pytest.mark.matrix("33")
@OPERATIONS
@FORMS
@pytest.mark.parametrize("step_s", [-86_400, 86_400], ids=["back", "ahead"])
def test_a_clock_that_jumps_changes_nothing(
    faulty: FaultyGateway,
    buyer: Customer,
    square: str,
    monkeypatch: pytest.MonkeyPatch,
    step_s: int,
    edit: bool,
    stream: bool,
) -> None:
    """What expires does so by the database's clock, and what is waited for by one that does not jump."""
    faulty.simulator.play("slow=0.3")
    calls, clock = len(faulty.simulator.log()), time.time
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(buyer.ask, stream=stream, reference=square if edit else None)
        eventually(lambda: len(faulty.simulator.log()) > calls)
        monkeypatch.setattr(time, "time", lambda: clock() + step_s)
        faulty.gateway.call(lambda services: services.sweeper.sweep())
        outcome = asking.result()
    monkeypatch.undo()
    _check_charge(faulty, buyer, outcome, EDIT_PRICE if edit else GENERATION_PRICE)


@pytest.mark.matrix("32")
@OPERATIONS
@FORMS
def test_limits_need_no_other_service(
    several_deployments: Simulator, tmp_path: Path, square: str, edit: bool, stream: bool
) -> None:
    """There is no cache that could be down: each server counts its share of a limit in its own memory."""
    limits = LimitSettings(key_requests_per_minute=1)
    with (
        running_faulty_gateway(tmp_path, several_deployments, limits=limits) as faulty,
        customer(faulty.gateway, "default") as buyer,
    ):
        made = buyer.ask(stream=stream, reference=square if edit else None)
        _check_charge(faulty, buyer, made, EDIT_PRICE if edit else GENERATION_PRICE)
        limited = buyer.ask(stream=stream, reference=square if edit else None)
        assert limited.error is not None
        assert (limited.status, limited.error["code"]) == (429, "rate_limited")
        assert buyer.spent_micro_usd == int((EDIT_PRICE if edit else GENERATION_PRICE).replace(".", ""))
