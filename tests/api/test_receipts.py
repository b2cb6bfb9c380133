"""A request's receipt: three forms, the same after a restart; whatever is changed in it or in the ledger shows."""

from __future__ import annotations

import base64
import contextlib
import copy
import dataclasses
import hashlib
import itertools
import json
import re
import shutil
import sqlite3
import zlib
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2 as httpx
import msgspec
import pytest
from sqlalchemy import select

from omixa.api import shapes
from omixa.api.receipt_check import differences, transfer_hash
from omixa.api.receipt_pdf import receipt_pdf
from omixa.api.receipt_text import receipt_text
from omixa.billing.receipts import read_receipt
from omixa.config import DatabaseAddress
from omixa.gateway.corrections import Corrections
from omixa.storage.tables import attempt
from tests.api.test_account import hold, release
from tests.support.commands import Omixa
from tests.support.document import Document
from tests.support.postgres import Cluster
from tests.support.servers import SIMULATOR_API_KEY, Gateway, Simulator, running_gateway

MODEL = "MAI-Image-2.5"
CREATE = "/api/v1/images/generations"
FORMS = {"json": "application/json", "text": "text/plain; charset=utf-8", "pdf": "application/pdf"}
ZERO = "0.000000"


@pytest.fixture
def live(live_client: httpx.Client, document: Document) -> httpx.Client:
    live_client.event_hooks["response"] = [document.check]
    return live_client


def ask(client: httpx.Client, **fields: Any) -> httpx.Response:
    return client.post(CREATE, json={"model": MODEL, "prompt": "A red kite over stubble", **fields})


def made(client: httpx.Client, **fields: Any) -> dict[str, Any]:
    answer = ask(client, **fields)
    assert answer.status_code == 200, answer.text[:500]
    omixa: dict[str, Any] = answer.json()["omixa"]
    return omixa


def fetch(client: httpx.Client, request_id: str, **parameters: str) -> httpx.Response:
    return client.get(f"/api/v1/requests/{request_id}/receipt", params=parameters)


def receipt(client: httpx.Client, request_id: str) -> dict[str, Any]:
    answer = fetch(client, request_id)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def pdf_text(data: bytes) -> str:
    """Return all strings that a PDF of reportlab's draws."""
    streams = re.findall(rb"stream\r?\n(.*?)endstream", data, re.DOTALL)
    drawn = b"\n".join(zlib.decompress(base64.a85decode(b"<~" + stream.strip(), adobe=True)) for stream in streams)
    texts = re.findall(rb"\(((?:[^()\\]|\\.)*)\) Tj", drawn)
    return "\n".join(re.sub(rb"\\(.)", rb"\1", text).decode("latin-1") for text in texts)


# --------------------------------------------------------------------------------------------------------- what it says


def test_it_says_what_the_answer_said_and_what_the_ledger_did(live: httpx.Client) -> None:
    omixa = made(live, n=2)
    told = receipt(live, omixa["request_id"])
    for name in ("request_id", "mode", "model", "requested_model", "operation", "price_version", "currency"):
        assert told[name] == omixa[name]
    for name in ("line_items", "exact_amount", "rounded_to", "rounding", "held_amount", "billed_amount"):
        assert told[name] == omixa[name]
    assert (told["state"], told["outcome"], told["images_asked"], told["markup_ppm"]) == ("captured", "ok", 2, 0)
    assert sum(Decimal(line["amount"]) for line in told["line_items"]) == Decimal(told["exact_amount"])
    assert Decimal(told["released_amount"]) == Decimal(told["held_amount"]) - Decimal(told["billed_amount"])
    assert told["absorbed_amount"] == ZERO
    (charge,) = told["transfers"]
    assert (charge["kind"], charge["amount"], charge["request_id"]) == (
        "charge",
        told["billed_amount"],
        omixa["request_id"],
    )
    # The first entry of the chain is the grant.
    assert (charge["chain_account"], charge["chain_seq"]) == (charge["debit_account"], 2)
    assert charge["recorded_at"] == told["settled_at"]


def test_the_next_entry_of_the_chain_continues_this_one(live: httpx.Client) -> None:
    entries = [receipt(live, made(live)["request_id"])["transfers"][0] for _ in range(3)]
    for before, after in itertools.pairwise(entries):
        assert (after["chain_seq"], after["prev_hash"]) == (before["chain_seq"] + 1, before["hash"])


def test_anybody_can_compute_the_hash_by_the_rule_of_the_document(live: httpx.Client) -> None:
    """As docs/money.md has it: SHA-256 over a compact JSON array."""
    (entry,) = receipt(live, made(live)["request_id"])["transfers"]
    at = re.fullmatch(r"(.{19})\.(\d{3})Z", entry["recorded_at"])
    assert at is not None
    with contextlib.closing(sqlite3.connect(":memory:")) as clock:
        (seconds,) = clock.execute("SELECT unixepoch(?)", (at[1],)).fetchone()
    names = ("id", "debit_account", "credit_account", "amount", "kind", "request_id", "reverses", "external_ref")
    fields = [entry[name] for name in (*names, "reason", "chain_account", "chain_seq", "prev_hash")]
    fields[3] = int(entry["amount"].replace(".", ""))
    fields.append(seconds * 1000 + int(at[2]))
    text = json.dumps(fields, separators=(",", ":"), ensure_ascii=False)
    assert hashlib.sha256(text.encode()).hexdigest() == entry["hash"]


def test_every_call_is_there_with_its_cost(live: httpx.Client, foundry: Simulator, gateway: Gateway) -> None:
    foundry.play("nousage")
    told = receipt(live, made(live)["request_id"])
    assert told["usage"]["usage_estimated"] is True
    assert [line["component"] for line in told["line_items"]] == ["image"]
    (call,) = told["attempts"]
    assert (call["attempt"], call["image"], call["outcome"], call["cost_basis"]) == (1, 0, "ok", "estimated")
    assert call["cost_amount"] == told["cost_amount"] == "0.048128000000"
    costs = select(attempt.c.cost_pico_usd).where(attempt.c.request_id == told["request_id"])
    (row,) = gateway.read(lambda tx: tx.all(costs))
    assert int(call["cost_amount"].replace(".", "")) == row["cost_pico_usd"]


@pytest.mark.parametrize(
    ("scenario", "cost", "basis"), [("filter", "0.000030000000", "estimated"), ("500", "0.048128000000", "estimated")]
)
def test_a_released_request_cost_nothing_whatever_the_provider_charges(
    live: httpx.Client, foundry: Simulator, scenario: str, cost: str, basis: str
) -> None:
    foundry.play(scenario)
    failed = ask(live)
    told = receipt(live, failed.headers["x-request-id"])
    assert (told["state"], told["outcome"]) == ("released", failed.json()["error"]["code"])
    assert (told["billed_amount"], told["absorbed_amount"], told["exact_amount"]) == (ZERO, ZERO, "0.000000000000")
    assert told["released_amount"] == told["held_amount"] != ZERO
    assert (told["line_items"], told["usage"], told["transfers"]) == ([], None, [])
    assert (told["cost_amount"], told["attempts"][0]["cost_basis"]) == (cost, basis)
    text = fetch(live, told["request_id"], format="text").text
    assert text.startswith(f"RECEIPT  {ZERO} USD\n")
    assert f"not charged: {told['outcome']}" in text
    assert f"not charged: {told['outcome']}" in pdf_text(fetch(live, told["request_id"], format="pdf").content)


def test_what_is_above_the_hold_is_the_operators(live: httpx.Client, foundry: Simulator) -> None:
    foundry.play("longusage")
    told = receipt(live, made(live)["request_id"])
    assert told["billed_amount"] == told["held_amount"]
    assert told["released_amount"] == ZERO
    price = Decimal(told["billed_amount"]) + Decimal(told["absorbed_amount"])
    assert Decimal(0) <= price - Decimal(told["exact_amount"]) < Decimal(told["rounded_to"])
    text = fetch(live, told["request_id"], format="text").text
    assert re.search(rf"^Above the hold, borne by the operator +-{told['absorbed_amount']}$", text, re.MULTILINE)


REASON = "Возврат: the kite was green, (not) red & said so < twice " + "x" * 200


def test_corrections_are_entries_of_their_own(live: httpx.Client, gateway: Gateway) -> None:
    request_id = made(live)["request_id"]
    before = receipt(live, request_id)
    assert (before["refunded_amount"], before["paid_amount"]) == (ZERO, before["billed_amount"])
    assert "Corrections" not in fetch(live, request_id, format="text").text
    for amount in (10_000, None):
        gateway.call(
            lambda services, amount=amount: Corrections(services.database).refund(
                request_id, amount_micro_usd=amount, reason=REASON, key=None, actor="test"
            )
        )
    after = receipt(live, request_id)
    assert (after["billed_amount"], after["refunded_amount"]) == (before["billed_amount"], before["billed_amount"])
    assert (after["paid_amount"], after["adjusted_amount"]) == (ZERO, ZERO)
    assert after["transfers"][:1] == before["transfers"]
    assert [entry["kind"] for entry in after["transfers"]] == ["charge", "refund", "refund"]
    read = msgspec.convert(after, shapes.RequestReceipt)
    assert [transfer_hash(entry) for entry in read.transfers] == [entry.hash for entry in read.transfers]
    text = fetch(live, request_id, format="text").text
    assert re.search(rf"^Refunded +-{before['billed_amount']}$", text, re.MULTILINE)
    assert text.count(REASON) == 2
    drawn = pdf_text(fetch(live, request_id, format="pdf").content)
    assert "???????: the kite was green, (not) red & said so < twice" in drawn
    assert all(entry["hash"] in drawn for entry in after["transfers"])


def test_an_adjustment_has_its_direction(live: httpx.Client, gateway: Gateway) -> None:
    """By the rows alone: what leaves the account makes the request dearer, what comes back cheaper."""
    request_id = made(live)["request_id"]
    stored = gateway.call(lambda services: services.database.read(lambda tx: read_receipt(tx, request_id)))
    assert stored is not None
    (charge,) = stored.transfers
    account, revenue = charge["debit_account_id"], charge["credit_account_id"]
    rows = [
        {"kind": kind, "amount": amount, "debit_account_id": debit, "chain_account_id": account}
        for kind, amount, debit in [
            ("charge", 500, account),
            ("adjustment", 30, account),
            ("adjustment", 70, revenue),
            ("refund", 100, revenue),
        ]
    ]
    made_of = dataclasses.replace(stored, transfers=tuple(rows))
    assert (made_of.adjusted, made_of.refunded) == (-40, 100)
    assert [len(made_of.as_of(count).transfers) for count in (0, 1, 3, 9)] == [1, 1, 3, 4]


def test_who_may_see_it(
    gateway: Gateway, live: httpx.Client, new_key: Callable[..., str], workspace: str, document: Document
) -> None:
    request_id = made(live)["request_id"]
    strangers = [gateway.key("live", f"{workspace}-other"), new_key("test")]
    for key in strangers:
        with gateway.client(key) as stranger:
            answer = fetch(stranger, request_id)
            document.check(answer)
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "request_not_found")
    assert fetch(live, "req_nothing").status_code == 404


def test_what_still_runs_has_none_yet(gateway: Gateway, new_key: Callable[..., str], document: Document) -> None:
    key = new_key()
    running = hold(gateway, key)
    with gateway.client(key) as client:
        client.event_hooks["response"] = [document.check]
        answer = fetch(client, running)
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "request_in_progress")
        assert answer.headers["retry-after"] == "2"
        release(gateway, running)
        assert receipt(client, running)["billed_amount"] == ZERO


# ---------------------------------------------------------------------------------------------------------------- forms


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (None, "json"),
        ("*/*", "json"),
        ("application/*", "json"),
        ("application/json", "json"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "json"),
        ("text/plain", "text"),
        ("TEXT/Plain; charset=utf-8", "text"),
        ("text/*, application/json;q=0.5", "text"),
        ("application/pdf", "pdf"),
        ("application/pdf;q=0.9, text/plain;q=0.8, application/json;q=0.1", "pdf"),
        ("application/json;q=0, */*;q=0.1", "text"),
        ("image/png", "json"),
        (";;q=,q=x", "json"),
        ("application/pdf;q=nonsense", "json"),
    ],
)
def test_the_header_accept_chooses_the_form(live: httpx.Client, accept: str | None, form: str) -> None:
    request_id = made(live)["request_id"]
    headers = {} if accept is None else {"accept": accept}
    answer = live.get(f"/api/v1/requests/{request_id}/receipt", headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (200, FORMS[form])
    assert answer.headers["vary"] == "accept"


def test_the_query_wins_and_knows_three_forms(live: httpx.Client) -> None:
    request_id = made(live)["request_id"]
    for form, media_type in FORMS.items():
        answer = live.get(
            f"/api/v1/requests/{request_id}/receipt", params={"format": form}, headers={"accept": "application/pdf"}
        )
        assert answer.headers["content-type"] == media_type
        assert ("content-disposition" in answer.headers) == (form == "pdf")
    wrong = fetch(live, request_id, format="docx")
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "format")
    assert "json" in wrong.json()["error"]["message"]


def test_all_forms_say_the_same(live: httpx.Client) -> None:
    request_id = made(live, n=3)["request_id"]
    told = receipt(live, request_id)
    text, pdf = fetch(live, request_id, format="text").text, fetch(live, request_id, format="pdf").content
    assert pdf.startswith(b"%PDF-")
    (entry,) = told["transfers"]
    facts = [told[name] for name in ("request_id", "workspace", "key_id", "price_version", "billed_amount")]
    facts += [told[name] for name in ("exact_amount", "held_amount", "released_amount", "cost_amount")]
    facts += [line["amount"] for line in told["line_items"]]
    facts += [entry[name] for name in ("debit_account", "credit_account", "prev_hash", "hash")]
    in_pdf = pdf_text(pdf)
    for fact in facts:
        assert fact in text
        assert fact in in_pdf
    assert max(map(len, text.splitlines())) <= 120


def test_test_mode_is_written_on_it(test_client: httpx.Client) -> None:
    request_id = made(test_client)["request_id"]
    assert "play money" in fetch(test_client, request_id, format="text").text
    assert "play money" in pdf_text(fetch(test_client, request_id, format="pdf").content)


def test_many_calls_fill_several_pages(live: httpx.Client) -> None:
    told = msgspec.convert(receipt(live, made(live)["request_id"]), shapes.RequestReceipt)
    calls = [
        msgspec.structs.replace(told.attempts[0], attempt=number, route="another/a-rather-long-name-of-a-deployment")
        for number in range(1, 121)
    ]
    many = msgspec.structs.replace(told, attempts=calls, markup_ppm=-12_345)
    pdf = receipt_pdf(many)
    assert len(re.findall(rb"/Type /Page\b", pdf)) >= 3
    assert "1.2345 %" in pdf_text(pdf)
    assert "Page 3" in pdf_text(pdf)
    assert receipt_text(many).count(b"another/") == 120


def test_it_is_the_same_after_a_restart(foundry: Simulator, tmp_path: Path) -> None:
    def every_form(client: httpx.Client) -> list[bytes]:
        return [fetch(client, request_id, format=form).content for request_id in requests for form in FORMS]

    foundry.play("ok,filter")
    with running_gateway(tmp_path, foundry) as gateway:
        gateway.grant(1_000_000)
        key = gateway.key("live")
        with gateway.client(key) as client:
            requests = [ask(client).headers["x-request-id"] for _ in range(2)]
            before = every_form(client)
    with running_gateway(tmp_path, foundry) as gateway, gateway.client(key) as client:
        assert every_form(client) == before


def test_it_is_the_same_on_postgresql(cluster: Cluster, foundry: Simulator, tmp_path: Path) -> None:
    foundry.play("")
    with (
        cluster.database() as name,
        running_gateway(tmp_path, foundry, database=DatabaseAddress(cluster.address(name))) as gateway,
    ):
        gateway.grant(1_000_000)
        with gateway.client(gateway.key("live")) as client:
            omixa = made(client, n=2)
            told = receipt(client, omixa["request_id"])
            again = msgspec.convert(told, shapes.RequestReceipt)
            assert told["line_items"] == omixa["line_items"]
            assert [transfer_hash(entry) for entry in again.transfers] == [told["transfers"][0]["hash"]]
            for form in FORMS:
                assert fetch(client, omixa["request_id"], format=form).status_code == 200


# -------------------------------------------------------------------------------------------------------------- checking


def test_every_change_of_a_receipt_is_found(live: httpx.Client) -> None:
    told = receipt(live, made(live)["request_id"])
    stored = msgspec.convert(told, shapes.RequestReceipt)
    assert list(differences(stored, stored)) == []
    changed = 0
    for path in _leaves(told):
        forged = copy.deepcopy(told)
        _change(forged, path)
        read = msgspec.convert(forged, shapes.RequestReceipt)
        found = list(differences(read, stored))
        assert len(found) == 1, path
        changed += 1
        if path[0] == "transfers" and path[-1] != "hash":
            assert transfer_hash(read.transfers[0]) != stored.transfers[0].hash
    assert changed > 60
    assert list(differences(msgspec.structs.replace(stored, transfers=[]), stored))


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in items:
            if key != "object":
                yield from _leaves(inner, (*path, key))
    else:
        yield path


def _change(document: Any, path: tuple[Any, ...]) -> None:
    """Change one value to another of its kind, so that only a comparison can find it."""
    for step in path[:-1]:
        document = document[step]
    name, value = path[-1], document[path[-1]]
    others = {"mode": "test", "operation": "edit", "state": "released", "rounding": "half_up", "cost_basis": "none"}
    others["late_at"] = "2026-11-27T12:00:00.000Z"
    if name in others:
        document[name] = others[name]
    elif isinstance(value, bool):
        document[name] = not value
    elif isinstance(value, int):
        document[name] = value + 1
    elif value is None:
        document[name] = "req_01kc7m9e5x2v8q4t6w0y3z1b9d"
    elif re.fullmatch(r"[\d.]+|\d{4}-.*Z|[0-9a-f]{64}|req_.*", value):
        # One digit, in a place where every digit is allowed: the last, or the one before a Z.
        end = -2 if value.endswith("Z") else -1
        digit = "1" if value[end] != "1" else "2"
        document[name] = value[:end] + digit + value[len(value) + end + 1 :]
    else:
        document[name] = value + "x"


@pytest.fixture(scope="module")
def filed(foundry: Simulator, tmp_path_factory: pytest.TempPathFactory) -> tuple[Omixa, dict[str, dict[str, Any]]]:
    """A data directory at rest, and the receipts of a charged and of a released request that were fetched from its server."""
    directory = tmp_path_factory.mktemp("filed")
    (directory / "omixa.toml").write_text(f'[foundry]\nendpoint = "{foundry.url}"\napi_key = "{SIMULATOR_API_KEY}"\n')
    omixa = Omixa(directory, {"OMIXA_DATA_DIR": str(directory / "data")})
    omixa("credits", "grant", "--mode", "live", "--amount", "1", "--reason", "test")
    key = omixa("keys", "create", "--mode", "live")
    foundry.play("ok,filter,ok")
    with omixa.serving("serve", "--port", "0") as server, server.client(key) as client:
        ids = [ask(client).headers["x-request-id"] for _ in range(3)]
        told = {
            name: receipt(client, request_id) for name, request_id in zip(("charged", "released"), ids, strict=False)
        }
    return omixa, told


def _file(omixa: Omixa, document: Any) -> str:
    path = omixa.directory / "receipt.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return str(path)


@pytest.mark.parametrize("name", ["charged", "released"])
def test_a_true_receipt_is_confirmed(filed: tuple[Omixa, dict[str, dict[str, Any]]], name: str) -> None:
    omixa, told = filed
    said = omixa("receipts", "verify", _file(omixa, told[name]))
    assert f"The receipt of {told[name]['request_id']} is what the ledger says: billed" in said
    assert all(entry["hash"] in said for entry in told[name]["transfers"])


def test_a_forged_receipt_is_refused(filed: tuple[Omixa, dict[str, dict[str, Any]]]) -> None:
    omixa, told = filed
    forged = copy.deepcopy(told["charged"])
    forged["transfers"][0]["amount"] = "9.000000"
    done = omixa.run("receipts", "verify", _file(omixa, forged))
    assert done.returncode == 1
    assert "its hash does not follow from its fields" in done.stdout
    assert "transfers[0].amount is '9.000000' on the receipt" in done.stdout
    unknown = told["charged"] | {"request_id": "req_01kc7m9e5x2v8q4t6w0y3z1b9d"}
    done = omixa.run("receipts", "verify", _file(omixa, unknown))
    assert (done.returncode, "knows no request" in done.stdout) == (1, True)


def test_a_receipt_from_before_a_refund_is_confirmed_and_the_refund_told(
    filed: tuple[Omixa, dict[str, dict[str, Any]]], tmp_path: Path
) -> None:
    omixa, told = filed
    shutil.copytree(omixa.directory / "data", tmp_path / "data")
    later = omixa.with_variables(OMIXA_DATA_DIR=str(tmp_path / "data"))
    later("refunds", "create", told["charged"]["request_id"], "--amount", "0.01", "--reason", "it was green")
    said = later("receipts", "verify", _file(omixa, told["charged"]))
    assert "It was corrected 1 times since: fetch its receipt again." in said
    bare = told["charged"] | {"transfers": []}
    assert "transfers is 0 entries" in later.run("receipts", "verify", _file(omixa, bare)).stdout


@pytest.mark.parametrize("text", ["", "{}", "%PDF-1.4", '{"object":"receipt","billed_amount":0.0339}', "[1]", "\udcff"])
def test_what_is_no_receipt_is_named(filed: tuple[Omixa, dict[str, dict[str, Any]]], text: str) -> None:
    omixa, _ = filed
    path = omixa.directory / "other.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    done = omixa.run("receipts", "verify", str(path))
    assert (done.returncode, done.stdout) == (1, "")
    assert "is not a receipt in JSON" in done.stderr
    assert omixa.run("receipts", "verify", "missing.json").returncode == 2


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        ("UPDATE transfer SET amount = amount - 100 WHERE kind = 'charge' AND chain_seq = 2", "in the ledger"),
        ("UPDATE transfer SET reason = 'x' WHERE chain_seq = 1 AND kind = 'topup'", "transfer 1 of account"),
        ("UPDATE transfer SET reason = 'x' WHERE chain_seq = 3", "transfer 3 of account"),
        ("UPDATE account SET seq = seq + 1", "does not reach its head"),
        ("UPDATE request SET hold_amount = hold_amount + 1 WHERE state = 'captured'", "held_amount is"),
    ],
)
def test_a_changed_ledger_no_longer_confirms_it(
    filed: tuple[Omixa, dict[str, dict[str, Any]]], tmp_path: Path, change: str, finding: str
) -> None:
    omixa, told = filed
    copied = tmp_path / "data"
    copied.mkdir()
    with (
        contextlib.closing(sqlite3.connect(omixa.directory / "data" / "omixa.db")) as source,
        contextlib.closing(sqlite3.connect(copied / "omixa.db", isolation_level=None)) as target,
    ):
        source.backup(target)
        for (name,) in target.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            target.execute(f"DROP TRIGGER {name}")
        target.execute(change)
    done = omixa.with_variables(OMIXA_DATA_DIR=str(copied)).run("receipts", "verify", _file(omixa, told["charged"]))
    assert done.returncode == 1, done
    assert finding in done.stdout
