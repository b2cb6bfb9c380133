"""Keys that take signed requests only: what is signed, for how long, and that nothing gets past it."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omixa.access.signatures import check_claim, read_claim, sign, signing_secret
from omixa.api.intake import INLINE_BODY_BYTES
from omixa.api.operation import always
from omixa.api.operations import OPERATIONS
from omixa.domain.access import Secret
from omixa.errors import BadSignature
from omixa.services import Services
from tests.support.commands import Omixa
from tests.support.document import Document
from tests.support.footprint import footprint
from tests.support.forms import CONTENT_TYPE, form, part
from tests.support.pictures import picture
from tests.support.servers import Gateway

MODEL = "MAI-Image-2.5"
API = "/api/v1"
CREATE, ESTIMATE, BALANCE = f"{API}/images/generations", f"{API}/images/estimate", f"{API}/balance"
EDIT = f"{API}/images/edits"
BODY = json.dumps({"model": MODEL, "prompt": "A red kite over a stubble field at dusk"}).encode()
DOCUMENT = Path(__file__).parents[2] / "docs" / "signing.md"


@dataclass
class Signer:
    """A client of a key that requires signatures; it signs by hand, so that it can do it wrongly."""

    http: httpx.Client
    key: str
    secret: str

    def signed(self, method: str, target: str, body: bytes = b"", *, at: float | None = None) -> dict[str, str]:
        timestamp = str(int(time.time() if at is None else at))
        message = f"{timestamp}.{method}.{target}.".encode() + body
        digest = hmac.new(self.secret.encode(), message, hashlib.sha256).hexdigest()
        return {"x-omixa-timestamp": timestamp, "x-omixa-signature": f"sha256={digest}"}

    def send(self, method: str, target: str, body: bytes = b"", headers: Any = None) -> httpx.Response:
        given = self.signed(method, target, body) if headers is None else headers
        return self.http.request(method, target, content=body or None, headers=given)


@pytest.fixture
def signer(gateway: Gateway, workspace: str, document: Document) -> Iterator[Signer]:
    async def create(services: Services) -> tuple[str, str]:
        key_id, secret = await services.workspaces.create_key(
            workspace=workspace, mode="test", name="", models=None, actor="test", requires_signature=True
        )
        return secret.reveal(), services.workspaces.signing_secret(key_id).reveal()

    key, secret = gateway.call(create)
    with gateway.client(key) as http:
        http.event_hooks["response"] = [document.check]
        yield Signer(http, key, secret)


def code_of(answer: httpx.Response) -> str:
    assert answer.status_code == 401, answer.text
    assert answer.headers["x-should-retry"] == "false"
    return str(answer.json()["error"]["code"])


# ---------------------------------------------------------------------------------------------------------- what is taken


def test_signed_requests_are_served(signer: Signer) -> None:
    made = signer.send("POST", CREATE, BODY)
    assert made.status_code == 200, made.text
    request_id = made.headers["x-request-id"]
    for target in (
        BALANCE,
        f"{API}/usage/requests?limit=5&model=MAI-Image-2.5",
        f"{API}/requests/{request_id}/receipt",
    ):
        assert signer.send("GET", target).status_code == 200
    estimate = signer.send("POST", ESTIMATE, BODY)
    assert estimate.json()["admitted"] is True


def test_a_head_is_signed_as_such(gateway: Gateway, signer: Signer) -> None:
    with gateway.client(signer.key) as client:
        assert client.head(BALANCE, headers=signer.signed("HEAD", BALANCE)).status_code == 200
        assert client.head(BALANCE, headers=signer.signed("GET", BALANCE)).status_code == 401


def test_a_stream_and_a_large_body_are_served(signer: Signer) -> None:
    # More than is checked on the event loop.
    body = json.dumps({"model": MODEL, "prompt": "A red kite " + " " * INLINE_BODY_BYTES, "stream": True}).encode()
    answer = signer.send("POST", CREATE, body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert "image_generation.completed" in answer.text


def test_a_signed_form_is_served(signer: Signer) -> None:
    # The signature covers the form as it is sent, its boundary too.
    prompt = "A kite" + " " * INLINE_BODY_BYTES
    body = form(part("model", MODEL), part("prompt", prompt), part("image", picture(), "a.png", "image/png"))
    for target in (EDIT, "/v1/images/edits"):
        headers = {**signer.signed("POST", target, body), "content-type": CONTENT_TYPE}
        answer = signer.http.post(target, content=body, headers=headers)
        assert answer.status_code == 200, answer.text[:500]
        assert answer.json()["omixa"]["operation"] == "edit"
    changed = body.replace(b"A kite", b"A lake")
    headers = {**signer.signed("POST", EDIT, body), "content-type": CONTENT_TYPE}
    assert code_of(signer.http.post(EDIT, content=changed, headers=headers)) == "invalid_signature"


def test_a_signature_is_for_the_path_as_it_is_sent(signer: Signer) -> None:
    alias = BALANCE.removeprefix("/api")
    assert signer.send("GET", alias).status_code == 200
    for signed, sent in ((alias, BALANCE), (BALANCE, alias)):
        assert code_of(signer.send("GET", sent, headers=signer.signed("GET", signed))) == "invalid_signature"


def test_upper_case_digits_are_digits(signer: Signer) -> None:
    headers = signer.signed("GET", BALANCE)
    headers["x-omixa-signature"] = "sha256=" + headers["x-omixa-signature"].removeprefix("sha256=").upper()
    assert signer.send("GET", BALANCE, headers=headers).status_code == 200


def test_other_keys_need_none(gateway: Gateway, workspace: str) -> None:
    with gateway.client(gateway.key("test", workspace)) as client:
        assert client.get(BALANCE).status_code == 200
        assert client.get(BALANCE, headers={"x-omixa-signature": "sha256=nonsense"}).status_code == 200


# -------------------------------------------------------------------------------------------------------- what is refused


# All refuse in the same place, so those that only a configured gateway offers need no server of their own here.
SERVED = [operation for operation in OPERATIONS if operation.authenticated and operation.is_offered is always]


@pytest.mark.parametrize("operation", SERVED, ids=lambda operation: operation.id)
def test_every_operation_refuses_what_is_not_signed(signer: Signer, operation: Any) -> None:
    target = re.sub(r"{model}", MODEL, re.sub(r"{request}", "req_01kc7m9e5x2v8q4t6w0y3z1b9d", operation.path))
    body = b"this is not JSON" if operation.method == "POST" else b""
    assert code_of(signer.send(operation.method, target, body, headers={})) == "missing_signature"
    stolen = signer.signed(operation.method, target + "x", body)
    assert code_of(signer.send(operation.method, target, body, headers=stolen)) == "invalid_signature"


@pytest.mark.parametrize("missing", ["x-omixa-timestamp", "x-omixa-signature"])
def test_both_headers_are_needed(signer: Signer, missing: str) -> None:
    headers = signer.signed("GET", BALANCE)
    del headers[missing]
    assert code_of(signer.send("GET", BALANCE, headers=headers)) == "missing_signature"


@pytest.mark.parametrize(("age_s", "accepted"), [(0, True), (290, True), (-290, True), (310, False), (-310, False)])
def test_the_window_is_open_for_five_minutes_on_both_sides(signer: Signer, age_s: int, accepted: bool) -> None:
    answer = signer.send("GET", BALANCE, headers=signer.signed("GET", BALANCE, at=time.time() - age_s))
    if accepted:
        assert answer.status_code == 200
    else:
        assert code_of(answer) == "signature_expired"
        assert re.search(r"server's time, \d{10}\.", answer.json()["error"]["message"])


@pytest.mark.parametrize(
    "stamp", ["", "now", "-1", "+1", "1.5", "1e9", "9" * 13, "１７９５４４２７０９".encode(), "0x1"]
)
def test_a_malformed_timestamp_is_named(signer: Signer, stamp: str | bytes) -> None:
    headers = signer.signed("GET", BALANCE) | {"x-omixa-timestamp": stamp}
    answer = signer.send("GET", BALANCE, headers=headers)
    assert (code_of(answer), answer.json()["error"]["param"]) == ("invalid_signature", "X-Omixa-Timestamp")


@pytest.mark.parametrize(
    "wrong", ["", "sha256=", "sha1=" + "0" * 40, "0" * 64, "sha256=" + "g" * 64, "sha256=" + "0" * 65]
)
def test_a_malformed_signature_is_named(signer: Signer, wrong: str) -> None:
    headers = signer.signed("GET", BALANCE) | {"x-omixa-signature": wrong}
    answer = signer.send("GET", BALANCE, headers=headers)
    assert (code_of(answer), answer.json()["error"]["param"]) == ("invalid_signature", "X-Omixa-Signature")


def test_headers_given_twice_are_refused(signer: Signer) -> None:
    headers = signer.signed("GET", BALANCE)
    for name in headers:
        twice = [*headers.items(), (name, headers[name])]
        assert code_of(signer.send("GET", BALANCE, headers=twice)) == "invalid_signature"


def test_a_signature_is_of_one_request_alone(gateway: Gateway, signer: Signer) -> None:
    before = footprint(gateway)
    right = signer.signed("POST", CREATE, BODY)
    later = right | {"x-omixa-timestamp": str(int(right["x-omixa-timestamp"]) + 1)}
    changed = BODY.replace(b"red", b"rod")
    for method, target, body, headers in [
        ("POST", CREATE, changed, right),
        ("POST", CREATE, b"", right),
        ("POST", ESTIMATE, BODY, right),
        ("POST", f"{CREATE}?x=1", BODY, right),
        ("POST", CREATE, BODY, later),
        ("POST", CREATE, BODY, signer.signed("PUT", CREATE, BODY)),
        ("GET", BALANCE, b"", signer.signed("GET", f"{BALANCE}?x=1")),
        ("GET", f"{API}/usage/requests?limit=1", b"", signer.signed("GET", f"{API}/usage/requests?limit=2")),
    ]:
        assert code_of(signer.send(method, target, body, headers=headers)) == "invalid_signature"
    assert footprint(gateway) == before


def test_another_keys_secret_and_the_key_itself_do_not_sign(signer: Signer, gateway: Gateway) -> None:
    other = gateway.call(lambda services: _secret_of(services, "key_01kc7m9e5x2v8q4t6w0y3z1b9d"))
    for secret in (other, signer.key, signer.secret[:-1], ""):
        thief = Signer(signer.http, signer.key, secret)
        assert code_of(thief.send("GET", BALANCE)) == "invalid_signature"


async def _secret_of(services: Services, key_id: str) -> str:
    return services.workspaces.signing_secret(key_id).reveal()


def test_a_body_is_bounded_before_its_signature_counts(signer: Signer, gateway: Gateway) -> None:
    size = gateway.settings.max_body_bytes + 1
    headers = {"host": "test", "authorization": f"Bearer {signer.key}", "content-length": str(size)}
    lines = [f"{name}: {value}" for name, value in (headers | signer.signed("POST", CREATE)).items()]
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=30) as connection:
        connection.sendall("\r\n".join((f"POST {CREATE} HTTP/1.1", *lines, "", "")).encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 413 ")


def test_nothing_is_told_of_the_signature_that_would_fit(signer: Signer) -> None:
    answer = signer.send("GET", BALANCE, headers=signer.signed("GET", "/"))
    right = signer.signed("GET", BALANCE)["x-omixa-signature"].removeprefix("sha256=")
    assert right not in answer.text
    assert signer.secret not in answer.text


# ------------------------------------------------------------------------------------------------------------- properties

PEPPER = Secret("7f" * 32)
SECRET = signing_secret(PEPPER, "key_1")
texts = st.text(st.characters(codec="ascii", categories=("L", "N", "P")), max_size=20)


def test_secrets_differ_by_key_and_by_pepper() -> None:
    secrets = {signing_secret(pepper, key).reveal() for pepper in (PEPPER, Secret("00" * 32)) for key in ("a", "b")}
    assert len(secrets) == 4
    assert all(re.fullmatch("omx_sign_[0-9a-f]{64}", secret) for secret in secrets)


@given(
    st.integers(0, 10**10),
    texts,
    texts,
    st.binary(max_size=200),
    st.binary(min_size=1, max_size=8),
    st.integers(0, 199),
)
def test_any_change_of_the_body_is_found(
    at: int, method: str, target: str, body: bytes, noise: bytes, place: int
) -> None:
    signature = sign(SECRET, str(at), method, target.encode(), body)
    claim = read_claim(str(at), f"sha256={signature}", now_s=at)
    check_claim(claim, SECRET, method, target.encode(), body)
    changed = body[:place] + noise + body[place + len(noise) :]
    if changed != body:
        with pytest.raises(BadSignature):
            check_claim(claim, SECRET, method, target.encode(), changed)


@given(st.one_of(st.none(), st.text(max_size=30)), st.one_of(st.none(), st.text(max_size=80)))
def test_any_text_of_the_headers_is_refused_in_words(timestamp: str | None, signature: str | None) -> None:
    with pytest.raises(BadSignature) as caught:
        read_claim(timestamp, signature, now_s=1_795_442_709)
    assert caught.value.message


# ------------------------------------------------------------------------------------------------- the command, the document


@pytest.fixture(scope="module")
def omixa(tmp_path_factory: pytest.TempPathFactory) -> Omixa:
    directory = tmp_path_factory.mktemp("signing")
    return Omixa(directory, {"OMIXA_DATA_DIR": str(directory / "data")})


def test_the_command_shows_the_secret_once(omixa: Omixa) -> None:
    plain = omixa("keys", "create", "--mode", "test")
    assert plain.count("omx_") == 1
    key, secret = omixa("keys", "create", "--mode", "test", "--require-signature").splitlines()
    assert key.startswith("omx_test_")
    assert re.fullmatch("omx_sign_[0-9a-f]{64}", secret)
    created = omixa.json("keys", "create", "--mode", "live", "--require-signature")
    assert created["signing_secret"] not in (secret, "")
    listed = omixa("keys", "list")
    assert "omx_sign_" not in listed
    assert [row["signed"] for row in omixa.json("keys", "list")] == ["", "required", "required"]
    database = (omixa.directory / "data" / "omixa.db").read_bytes()
    assert secret.removeprefix("omx_sign_").encode() not in database


@pytest.mark.parametrize("language", ["python", "sh"])
def test_the_examples_of_the_document_run(omixa: Omixa, language: str) -> None:
    (code,) = re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE)
    missing = [name for name in ("curl", "openssl") if language == "sh" and shutil.which(name) is None]
    if missing:
        pytest.skip(f"needs {' and '.join(missing)}")
    key, secret = omixa("keys", "create", "--mode", "test", "--require-signature").splitlines()
    command = [sys.executable, "-c", code] if language == "python" else ["sh", "-euc", code]
    with omixa.serving("serve", "--port", "0") as server:
        environment = os.environ | {
            "OMIXA_BASE_URL": server.url,
            "OMIXA_API_KEY": key,
            "OMIXA_SIGNING_SECRET": secret,
            "no_proxy": "127.0.0.1",
        }
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    if language == "python":
        price, request_id = done.stdout.split()
        assert (price, request_id.startswith("req_")) == ("0.033900", True)
    else:
        assert json.loads(done.stdout)["expected"]["amount"] == "0.033900"
