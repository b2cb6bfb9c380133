"""Faults of the connection to a provider, played by the proxy: to one that answers at once, and to one that makes jobs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from omixa.providers.late import Waiting
from omixa.providers.wire import Timeouts
from omixa.simulator import flux
from omixa.simulator.proxy import parse_faults
from omixa.simulator.service import SimulatorOptions
from tests.support.catalogues import copy_catalogue
from tests.support.faults import Customer, FaultyGateway, Outcome, customer, eventually, running_faulty_gateway
from tests.support.proxies import Proxy, running_proxy
from tests.support.servers import SIMULATOR_API_KEY, Simulator, running_app, workers

OPERATIONS = pytest.mark.parametrize("edit", [False, True], ids=["generation", "edit"])
FORMS = pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
TEN_DOLLARS = ("10.000000", "0.000000")
PRICES = {False: "0.033900", True: "0.039000"}
FLUX, FLUX_PRICES = "flux-2-pro", {False: "0.030000", True: "0.045000"}


@dataclass(frozen=True)
class Broken:
    """A row of the matrix: what the proxy does, what the client sees, what is known of the call afterwards."""

    row: str
    faults: str
    status: int
    code: str
    state: str

    def __str__(self) -> str:
        return f"{self.row}-{self.faults}"


def _check_free(faulty: FaultyGateway, buyer: Customer, outcome: Outcome, fault: Broken, *, stream: bool) -> None:
    """The client is told what is told of such a failure, pays nothing, and the call stands in the books as what it was."""
    assert outcome.error is not None
    assert (outcome.error["code"], outcome.pictures) == (fault.code, ())
    assert outcome.status == (200 if stream else fault.status)
    assert buyer.balance == TEN_DOLLARS
    row = faulty.request(outcome.request_id)
    assert (row["state"], row["outcome"], row["charge_amount"], row["result_ref"]) == (
        *("released", fault.code, None, None),
    )
    assert faulty.charges(outcome.request_id) == []
    (call,) = faulty.attempts(outcome.request_id)
    assert (call["state"], call["error_code"]) == (fault.state, fault.code)
    doubtful = fault.state == "unknown"
    assert (call["cost_basis"], call["cost_pico_usd"] > 0) == ("estimated" if doubtful else "none", doubtful)
    details = buyer.get(f"/requests/{outcome.request_id}").json()
    assert (details["billed_amount"], details["error_code"]) == ("0.000000", fault.code)


def _check_charged(faulty: FaultyGateway, buyer: Customer, outcome: Outcome, price: str, states: list[str]) -> None:
    assert outcome.error is None, outcome.error
    assert outcome.status == 200
    assert outcome.usage["billed_amount"] == price
    amount = int(price.replace(".", ""))
    assert faulty.charges(outcome.request_id) == [amount]
    assert buyer.spent_micro_usd == amount
    assert [call["state"] for call in faulty.attempts(outcome.request_id)] == states


# -------------------------------------------------------------------------------------------------- answered at once


@pytest.fixture(scope="module")
def before_foundry(several_deployments: Simulator) -> Iterator[Proxy]:
    with running_proxy(several_deployments.url) as proxy:
        yield proxy


@pytest.fixture
def proxied(faulty: FaultyGateway, before_foundry: Proxy) -> FaultyGateway:
    """The gateway, whose one deployment is behind the proxy."""
    before_foundry.play("")
    faulty.router.use(faulty.deployment("one", before_foundry.url))
    return faulty


AT_ONCE = [
    Broken("1", "429", 429, "provider_rate_limited", "failed_free"),
    Broken("3", "401", 503, "provider_unavailable", "failed_free"),
    Broken("3", "403", 503, "provider_unavailable", "failed_free"),
    Broken("6", "500", 502, "provider_error", "unknown"),
    Broken("6", "504", 502, "provider_error", "unknown"),
    Broken("7", "503", 503, "provider_unavailable", "failed_free"),
    Broken("12", "refuse", 502, "provider_error", "unknown"),
    Broken("12", "reset", 502, "provider_error", "unknown"),
    Broken("12", "truncate", 502, "provider_error", "unknown"),
    Broken("13", "html", 502, "bad_provider_response", "unknown"),
    Broken("13", "garbage", 502, "bad_provider_response", "unknown"),
    Broken("14", "half", 502, "bad_provider_response", "unknown"),
    Broken("21", "redirect", 502, "provider_redirected", "failed_free"),
    Broken("21", "inwards", 502, "provider_redirected", "failed_free"),
]
NEVER_REACHED = {"429", "401", "403", "500", "504", "503", "refuse", "redirect", "inwards"}


@pytest.mark.matrix
@OPERATIONS
@FORMS
@pytest.mark.parametrize("fault", AT_ONCE, ids=str)
def test_a_connection_that_breaks_costs_nothing(
    proxied: FaultyGateway,
    before_foundry: Proxy,
    buyer: Customer,
    square: str,
    fault: Broken,
    edit: bool,
    stream: bool,
) -> None:
    before_foundry.play(fault.faults)
    calls = len(proxied.simulator.log())
    outcome = buyer.ask(stream=stream, reference=square if edit else None)
    _check_free(proxied, buyer, outcome, fault, stream=stream)
    assert len(proxied.simulator.log()) - calls == (fault.faults not in NEVER_REACHED)
    (passed,) = before_foundry.passed
    assert (passed.leg, passed.fault) == ("submit", fault.faults)


@pytest.mark.matrix("8")
@OPERATIONS
@FORMS
def test_a_provider_that_goes_away_between_two_requests(
    proxied: FaultyGateway, before_foundry: Proxy, buyer: Customer, square: str, edit: bool, stream: bool
) -> None:
    before_foundry.play("vanish")
    made = buyer.ask(stream=stream, reference=square if edit else None)
    _check_charged(proxied, buyer, made, PRICES[edit], ["ok"])
    outcome = buyer.ask(stream=stream, reference=square if edit else None)
    assert outcome.error is not None
    assert outcome.error["code"] == "provider_unreachable"
    assert outcome.status == (200 if stream else 502)
    (call,) = proxied.attempts(outcome.request_id)
    assert (call["state"], call["cost_basis"]) == ("failed_free", "none")
    assert proxied.charges(outcome.request_id) == []
    assert buyer.spent_micro_usd == int(PRICES[edit].replace(".", ""))
    before_foundry.play("")
    assert buyer.ask(stream=stream, reference=square if edit else None).error is None


IMPATIENT = Timeouts(first_byte_s=0.3, total_s=20)
STRICT = Timeouts(first_byte_s=10, total_s=20, slow_step_s=0.3)


@pytest.mark.matrix
@OPERATIONS
@FORMS
@pytest.mark.parametrize(
    ("fault", "limits"),
    [
        (Broken("10", "silence", 504, "provider_timeout", "unknown"), IMPATIENT),
        (Broken("11", "stall", 504, "provider_timeout", "unknown"), STRICT),
        (Broken("11", "drip=50", 504, "provider_timeout", "unknown"), IMPATIENT),
        (Broken("11", "drip=5000", 504, "provider_timeout", "unknown"), STRICT),
    ],
    ids=str,
)
def test_an_answer_that_takes_too_long_costs_nothing(
    proxied: FaultyGateway,
    before_foundry: Proxy,
    buyer: Customer,
    square: str,
    monkeypatch: pytest.MonkeyPatch,
    fault: Broken,
    limits: Timeouts,
    edit: bool,
    stream: bool,
) -> None:
    monkeypatch.setattr("omixa.providers.single.Timeouts", lambda **_: limits)
    before_foundry.play(fault.faults)
    outcome = buyer.ask(stream=stream, reference=square if edit else None)
    _check_free(proxied, buyer, outcome, fault, stream=stream)


@pytest.mark.matrix("23")
@OPERATIONS
@FORMS
def test_an_answer_that_comes_too_late_changes_nothing(
    proxied: FaultyGateway,
    before_foundry: Proxy,
    buyer: Customer,
    square: str,
    monkeypatch: pytest.MonkeyPatch,
    edit: bool,
    stream: bool,
) -> None:
    """Another deployment has answered when it comes: it is charged once, and only what the late call costs is known better."""
    first = iter([IMPATIENT])

    def timeouts(waiting: Waiting | None, **usual: float) -> Timeouts:
        return dataclasses.replace(next(first, None) or Timeouts(**usual), waiting=waiting)

    monkeypatch.setattr("omixa.providers.single.Timeouts", timeouts)
    proxied.router.use(proxied.deployment("one", before_foundry.url), proxied.deployment("two"))
    before_foundry.play("late=1")
    outcome = buyer.ask(stream=stream, reference=square if edit else None)
    _check_charged(proxied, buyer, outcome, PRICES[edit], ["unknown", "ok"])
    eventually(lambda: [one.status for one in before_foundry.passed] == [200])
    eventually(lambda: proxied.attempts(outcome.request_id)[0]["late_at_ms"])
    _check_charged(proxied, buyer, outcome, PRICES[edit], ["failed_billed", "ok"])
    late, made = proxied.attempts(outcome.request_id)
    assert (late["cost_basis"], late["cost_pico_usd"]) == ("reported", made["cost_pico_usd"])
    assert [entry["deployment"] for entry in proxied.simulator.log()[-2:]] == ["one", "two"]


@OPERATIONS
@FORMS
def test_what_passes_is_not_changed(
    proxied: FaultyGateway, before_foundry: Proxy, buyer: Customer, square: str, edit: bool, stream: bool
) -> None:
    outcome = buyer.ask(stream=stream, reference=square if edit else None)
    _check_charged(proxied, buyer, outcome, PRICES[edit], ["ok"])
    proxied.plan("one")
    assert buyer.ask(stream=stream, reference=square if edit else None).pictures == outcome.pictures
    assert [(one.leg, one.fault, one.method, one.status) for one in before_foundry.passed] == [
        ("submit", "ok", "POST", 200)
    ]


# ---------------------------------------------------------------------------------------------------------------- jobs

LEG_S = 1.0
FIRST_BYTE_S, TOTAL_S = 2, 6


@pytest.fixture(scope="module")
def flux_url() -> Iterator[str]:
    """Black Forest Labs, well."""
    with running_app(flux.create_app(SimulatorOptions(SIMULATOR_API_KEY), workers())) as url:
        yield url


@pytest.fixture(scope="module")
def before_flux(flux_url: str) -> Iterator[Proxy]:
    with running_proxy(flux_url) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def gateway_of_jobs(
    several_deployments: Simulator, flux_url: str, square: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FaultyGateway]:
    """A gateway that does not wait for minutes; at the end its ledger is clean. The pictures of the tests are painted already."""
    directory = tmp_path_factory.mktemp("jobs")
    offers = copy_catalogue(directory / "catalogue") / "providers" / "flux.toml"
    text = offers.read_text()
    for patient, impatient in (
        ("first_byte_timeout_s = 60", f"first_byte_timeout_s = {FIRST_BYTE_S}"),
        ("total_timeout_s = 330", f"total_timeout_s = {TOTAL_S}"),
    ):
        assert patient in text
        text = text.replace(patient, impatient)
    offers.write_text(text)
    catalogue = str(directory / "catalogue")
    with running_faulty_gateway(directory / "data", several_deployments, catalogue_dir=catalogue) as running:
        with customer(running.gateway, "default") as buyer:

            def is_painted(reference: str | None) -> bool:
                # Anew each time, so that what came too late does not count against it.
                running.router.use(_of_flux(running, "one", flux_url))
                return buyer.ask(model=FLUX, reference=reference).error is None

            for reference in (None, square):
                assert any(is_painted(reference) for _ in range(20))
        yield running
        running.wait_for_runs()
        assert running.findings() == []


@pytest.fixture
def jobs(
    gateway_of_jobs: FaultyGateway, before_flux: Proxy, monkeypatch: pytest.MonkeyPatch
) -> Iterator[FaultyGateway]:
    """The gateway, whose one deployment makes pictures as jobs behind the proxy."""
    for name in ("LOOK_TIMEOUT_S", "FETCH_TIMEOUT_S"):
        monkeypatch.setattr(f"omixa.providers.client.{name}", LEG_S)
    before_flux.play("")
    gateway_of_jobs.router.use(_of_flux(gateway_of_jobs, "one", before_flux.url))
    yield gateway_of_jobs
    gateway_of_jobs.hang_up()


@pytest.fixture
def job_buyer(jobs: FaultyGateway, workspace: str) -> Iterator[Customer]:
    with customer(jobs.gateway, workspace) as opened:
        yield opened


def _of_flux(faulty: FaultyGateway, name: str, url: str) -> Any:
    return faulty.deployment(name, url, provider="flux", model=FLUX)


def _handed_in(proxy: Proxy) -> int:
    return sum(one.leg == "submit" for one in proxy.passed)


JOBS_THAT_FAIL = [
    Broken("1", "submit:429", 429, "provider_rate_limited", "failed_free"),
    Broken("6", "submit:500", 502, "provider_error", "unknown"),
    Broken("7", "submit:503", 503, "provider_unavailable", "failed_free"),
    Broken("10", "submit:silence", 504, "provider_timeout", "unknown"),
    Broken("12", "submit:refuse", 502, "provider_error", "unknown"),
    Broken("12", "submit:reset", 502, "provider_error", "unknown"),
    Broken("13", "submit:html", 502, "bad_provider_response", "unknown"),
    Broken("13", "submit:garbage", 502, "bad_provider_response", "unknown"),
    Broken("14", "submit:half", 502, "bad_provider_response", "unknown"),
    Broken("21", "submit:redirect", 502, "provider_redirected", "failed_free"),
    # From here on the provider has the job: whatever it is, it may be charged for.
    Broken("3", "poll:401", 502, "bad_provider_response", "unknown"),
    Broken("13", "poll:html", 502, "bad_provider_response", "unknown"),
    Broken("13", "poll:garbage", 502, "bad_provider_response", "unknown"),
    Broken("14", "poll:half", 502, "bad_provider_response", "unknown"),
    Broken("21", "poll:redirect", 502, "bad_provider_response", "unknown"),
    Broken("11", "poll:silencex*", 504, "provider_timeout", "unknown"),
    Broken("8", "submit:vanish", 504, "provider_timeout", "unknown"),
    Broken("20", "fetch:404", 502, "bad_provider_response", "unknown"),
    Broken("20", "fetch:redirect", 502, "bad_provider_response", "unknown"),
    Broken("20", "fetch:inwards", 502, "bad_provider_response", "unknown"),
    Broken("20", "fetch:503x3", 502, "bad_provider_response", "unknown"),
    Broken("12", "fetch:refusex*", 502, "provider_error", "unknown"),
    Broken("12", "fetch:resetx3", 502, "provider_error", "unknown"),
    Broken("12", "fetch:truncatex3", 502, "provider_error", "unknown"),
    Broken("13", "fetch:html", 502, "bad_provider_response", "unknown"),
    Broken("15", "fetch:half", 502, "bad_provider_response", "unknown"),
    Broken("10", "fetch:silencex3", 504, "provider_timeout", "unknown"),
]


@pytest.mark.matrix
@OPERATIONS
@FORMS
@pytest.mark.parametrize("fault", JOBS_THAT_FAIL, ids=str)
def test_a_job_that_is_lost_costs_nothing(
    jobs: FaultyGateway,
    before_flux: Proxy,
    job_buyer: Customer,
    square: str,
    fault: Broken,
    edit: bool,
    stream: bool,
) -> None:
    before_flux.play(fault.faults)
    outcome = job_buyer.ask(model=FLUX, stream=stream, reference=square if edit else None)
    _check_free(jobs, job_buyer, outcome, fault, stream=stream)
    # It was handed in once, whatever happened then. What is still listened to passes when somebody hangs up.
    jobs.hang_up()
    eventually(lambda: _handed_in(before_flux))
    assert _handed_in(before_flux) == 1


@OPERATIONS
@FORMS
@pytest.mark.parametrize(
    "faults",
    [
        *("poll:refuse", "poll:reset", "poll:truncate", "poll:500x2", "poll:429", "poll:silence", "poll:late=2"),
        *("fetch:refuse", "fetch:resetx2", "fetch:truncate", "fetch:503", "fetch:drip=50", "fetch:late=0.2"),
        "poll:resetx2, poll:503, fetch:reset, fetch:refuse",
    ],
)
def test_what_fails_for_a_moment_once_the_provider_has_the_job_is_asked_again(
    jobs: FaultyGateway,
    before_flux: Proxy,
    job_buyer: Customer,
    square: str,
    faults: str,
    edit: bool,
    stream: bool,
) -> None:
    before_flux.play(faults)
    outcome = job_buyer.ask(model=FLUX, stream=stream, reference=square if edit else None)
    _check_charged(jobs, job_buyer, outcome, FLUX_PRICES[edit], ["ok"])
    assert _handed_in(before_flux) == 1
    wanted = {(fault.leg, fault.name) for fault in parse_faults(faults)}
    # An exchange that the client has left is over a little later.
    eventually(lambda: wanted <= {(one.leg, one.fault) for one in before_flux.passed})


@pytest.mark.matrix("20", "23")
@OPERATIONS
@FORMS
@pytest.mark.parametrize("faults", ["fetch:inwards", "submit:late=4"])
def test_another_key_makes_what_was_lost_and_it_is_charged_once(
    jobs: FaultyGateway,
    before_flux: Proxy,
    flux_url: str,
    job_buyer: Customer,
    square: str,
    faults: str,
    edit: bool,
    stream: bool,
) -> None:
    """At most one more call after a failure that may be charged for; what comes late is recorded as doubtful and dropped."""
    jobs.router.use(_of_flux(jobs, "one", before_flux.url), _of_flux(jobs, "two", flux_url))
    before_flux.play(faults)
    outcome = job_buyer.ask(model=FLUX, stream=stream, reference=square if edit else None)
    _check_charged(jobs, job_buyer, outcome, FLUX_PRICES[edit], ["unknown", "ok"])
    first, second = jobs.attempts(outcome.request_id)
    assert (first["cost_basis"], second["deployment"]) == ("estimated", "test/two")


# -------------------------------------------------------------------------------------------------------------- the client


@pytest.mark.matrix("17")
@OPERATIONS
@FORMS
def test_of_several_pictures_those_whose_connection_holds_are_billed(
    proxied: FaultyGateway, before_foundry: Proxy, buyer: Customer, square: str, edit: bool, stream: bool
) -> None:
    before_foundry.play("reset")
    outcome = buyer.ask(n=3, stream=stream, reference=square if edit else None)
    assert outcome.error is None
    assert len(outcome.pictures) == 2
    assert len(outcome.omixa["failed"]) == 1
    assert buyer.spent_micro_usd == int(outcome.usage["billed_amount"].replace(".", ""))
    assert sorted(call["state"] for call in proxied.attempts(outcome.request_id)) == ["ok", "ok", "unknown"]
    assert dataclasses.asdict(before_foundry.passed[0])["leg"] == "submit"


@pytest.mark.matrix("23")
@OPERATIONS
@FORMS
def test_what_a_job_costs_is_learned_though_its_time_was_over(
    jobs: FaultyGateway, before_flux: Proxy, job_buyer: Customer, square: str, edit: bool, stream: bool
) -> None:
    """The provider takes the job when the caller has been told that it did not answer: its end is asked for, not its picture."""
    before_flux.play(f"submit:late={FIRST_BYTE_S + 1}")
    outcome = job_buyer.ask(model=FLUX, stream=stream, reference=square if edit else None)
    _check_free(jobs, job_buyer, outcome, Broken("23", "", 504, "provider_timeout", "unknown"), stream=stream)
    eventually(lambda: jobs.attempts(outcome.request_id)[0]["late_at_ms"])
    (call,) = jobs.attempts(outcome.request_id)
    assert (call["state"], call["cost_basis"], call["error_code"]) == ("failed_billed", "reported", "provider_timeout")
    assert call["provider_request_id"]
    assert "fetch" not in {one.leg for one in before_flux.passed}
    assert job_buyer.balance == TEN_DOLLARS
    assert jobs.findings() == []
    # It is what the provider charges for such a picture, and says.
    before_flux.play("")
    jobs.router.enable("one")
    (made,) = jobs.attempts(job_buyer.ask(model=FLUX, reference=square if edit else None).request_id)
    assert (made["state"], made["cost_pico_usd"]) == ("ok", call["cost_pico_usd"])
