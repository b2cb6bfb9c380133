"""Pictures signed with a certificate of the operator's own, read back by the library of the standard's authors."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from omixa.config import ConfigError, ContentCredentialsSettings, load
from omixa.domain.images import MEDIA_TYPES
from omixa.engines.conversions import Conversions
from omixa.engines.notary import Identity
from omixa.gateway.provenance import sample
from tests.support.certificates import Certificate, make_certificate
from tests.support.document import Document
from tests.support.faults import MODEL, FaultyGateway, running_faulty_gateway
from tests.support.imagefiles import opened, with_credentials
from tests.support.pictures import data_url, picture
from tests.support.servers import Gateway, Simulator, running_gateway

c2pa = pytest.importorskip("c2pa", reason="c2pa-python is not installed")

CREATE = "/api/v1/images/generations"
OWN = "omixa-illustrator-1"
SOURCES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
PROMPT = "a secret red kite"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A certificate of this module's own."""
    return make_certificate(tmp_path_factory.mktemp("certificate"))


def options(own: Certificate, **changed: str) -> ContentCredentialsSettings:
    values = {"certificate": str(own.chain), "private_key": str(own.private_key), **changed}
    return ContentCredentialsSettings(**values)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def signing(
    certificate: Certificate, foundry: Simulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """A gateway that signs."""
    directory = tmp_path_factory.mktemp("signing")
    with running_gateway(directory, foundry, content_credentials=options(certificate)) as running:
        yield running


@pytest.fixture
def client(signing: Gateway, document: Document) -> Iterator[httpx.Client]:
    """A client with a test key of the gateway that signs, each answer of which is held against the document."""
    with signing.client(signing.key("test")) as test_client:
        test_client.event_hooks["response"] = [document.check]
        yield test_client


def made(client: httpx.Client, **fields: Any) -> tuple[dict[str, Any], bytes]:
    """Return an answer and its first picture."""
    answer = client.post(CREATE, json={"prompt": PROMPT, **fields})
    assert answer.status_code == 200, answer.text[:500]
    value: dict[str, Any] = answer.json()
    return value, base64.b64decode(value["data"][0]["b64_json"])


def read(data: bytes, format: str) -> dict[str, Any]:
    """Return what the credentials of a picture say, after checking that they hold."""
    found: dict[str, Any] = json.loads(c2pa.Reader(MEDIA_TYPES[format], io.BytesIO(data)).json())
    assert found["validation_state"] == "Valid"
    # Made at home, it proves that nothing was changed, and not who signed.
    assert [status["code"] for status in found["validation_status"]] == ["signingCredential.untrusted"]
    return found


def actions(found: dict[str, Any], manifest: str | None = None) -> list[dict[str, Any]]:
    (assertion,) = (
        one
        for one in found["manifests"][manifest or found["active_manifest"]]["assertions"]
        if one["label"].startswith("c2pa.actions")
    )
    value: list[dict[str, Any]] = assertion["data"]["actions"]
    return value


@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
def test_a_picture_says_what_made_it(client: httpx.Client, format: str) -> None:
    answer, data = made(client, model=OWN, output_format=format, size="1024x1024")
    assert answer["omixa"]["provenance"] == ["signed"]
    (action,) = actions(read(data, format))
    assert (action["action"], action["softwareAgent"]["name"]) == ("c2pa.created", OWN)
    assert action["digitalSourceType"] == f"{SOURCES}algorithmicMedia"
    assert PROMPT.encode() not in data
    assert opened(data).size == (1024, 1024)


def test_the_pixels_of_a_signed_picture_are_the_same(client: httpx.Client, foundry: Simulator) -> None:
    _, signed = made(client, model=MODEL)
    plain = base64.b64decode(foundry.paint(model=MODEL, prompt=PROMPT, width=1024, height=1024))
    assert opened(signed).tobytes() == opened(plain).tobytes()


def test_what_the_simulator_paints_is_not_said_to_be_a_models(client: httpx.Client) -> None:
    answer, data = made(client, model=MODEL)
    assert answer["omixa"]["simulated"]
    assert actions(read(data, "png"))[0]["digitalSourceType"] == f"{SOURCES}algorithmicMedia"


def test_what_a_model_paints_is_said_to_be_its_own(signing: Gateway) -> None:
    signing.grant(10_000_000)
    with signing.client(signing.key("live")) as live:
        _, painted = made(live, model=MODEL)
        _, edited = made(live, model=MODEL, input_images=[data_url(picture())])
    assert actions(read(painted, "png"))[0]["digitalSourceType"] == f"{SOURCES}trainedAlgorithmicMedia"
    assert actions(read(edited, "png"))[0]["digitalSourceType"] == f"{SOURCES}compositeWithTrainedAlgorithmicMedia"


def test_a_changed_picture_is_found_out(client: httpx.Client) -> None:
    _, data = made(client, model=OWN, output_format="jpeg")
    changed = bytearray(data)
    changed[-500] ^= 1
    found = json.loads(c2pa.Reader("image/jpeg", io.BytesIO(bytes(changed))).json())
    assert found["validation_state"] == "Invalid"


def test_every_picture_of_a_request_is_signed_and_found_again(client: httpx.Client) -> None:
    answer, _ = made(client, model=OWN, n=2)
    assert answer["omixa"]["provenance"] == ["signed", "signed"]
    assert client.get(f"/api/v1/requests/{answer['omixa']['request_id']}/result").json() == answer


# ------------------------------------------------------------------------------------------- what the provider has signed


@pytest.fixture(scope="module")
def faulty(
    certificate: Certificate, foundry: Simulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FaultyGateway]:
    """A gateway that signs, whose provider answers what a test says."""
    directory = tmp_path_factory.mktemp("faulty")
    with running_faulty_gateway(directory, foundry, content_credentials=options(certificate)) as running:
        running.router.use(running.deployment("raw", "simulator://raw"))
        yield running


@pytest.fixture
def buyer(faulty: FaultyGateway, workspace: str) -> Iterator[httpx.Client]:
    """A client with ten dollars."""
    faulty.gateway.grant(10_000_000, workspace=workspace)
    with faulty.gateway.client(faulty.gateway.key("live", workspace)) as live:
        yield live


def answer_with(faulty: FaultyGateway, png: bytes) -> None:
    faulty.raw.body = json.dumps({"data": [{"b64_json": base64.b64encode(png).decode()}]}).encode()


def signed_by_provider(certificate: Certificate, png: bytes) -> bytes:
    """Return a picture that somebody else has signed."""
    identity = Identity(certificate.chain, certificate.private_key, "es256")
    pool = Conversions(1, waiting=1)
    try:
        return bytes(asyncio.run(pool.sign(sample(identity, png))).data)
    finally:
        pool.close()


def test_a_providers_signature_is_kept_while_it_holds_and_inside_ours_when_it_does_not(
    faulty: FaultyGateway, buyer: httpx.Client, certificate: Certificate
) -> None:
    theirs = signed_by_provider(certificate, picture())
    answer_with(faulty, theirs)
    untouched, data = made(buyer, model=MODEL)
    assert (untouched["omixa"]["provenance"], data) == (["kept"], theirs)
    converted, data = made(buyer, model=MODEL, output_format="webp")
    assert converted["omixa"]["provenance"] == ["signed"]
    found = read(data, "webp")
    assert [one["action"] for one in actions(found)] == ["c2pa.opened", "c2pa.converted"]
    (parent,) = found["manifests"][found["active_manifest"]]["ingredients"]
    assert parent["relationship"] == "parentOf"
    assert actions(found, parent["active_manifest"])[0]["action"] == "c2pa.created"


def test_a_picture_that_cannot_be_signed_is_delivered_all_the_same(
    faulty: FaultyGateway, buyer: httpx.Client, certificate: Certificate, caplog: pytest.LogCaptureFixture
) -> None:
    answer_with(faulty, picture())
    key = certificate.private_key.read_bytes()
    certificate.private_key.unlink()
    try:
        answer, data = made(buyer, model=MODEL)
    finally:
        certificate.private_key.write_bytes(key)
    assert (answer["omixa"]["provenance"], data) == (["none"], picture())
    assert "credentials.not_signed" in caplog.text


def test_what_only_looks_like_a_signature_is_lost_or_signed_over(faulty: FaultyGateway, buyer: httpx.Client) -> None:
    answer_with(faulty, with_credentials("png", picture()))
    answer, data = made(buyer, model=MODEL, output_format="jpeg")
    assert answer["omixa"]["provenance"][0] in ("lost", "signed")
    assert opened(data).size == (1024, 1024)


# ------------------------------------------------------------------------------------------------------------- the options


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"certificate": "nowhere.pem"}, "nowhere.pem"),
        ({"algorithm": "ed25519"}, "no picture can be signed"),
    ],
)
def test_a_certificate_that_cannot_sign_is_told_of_at_the_start(
    certificate: Certificate, tmp_path: Path, changed: dict[str, str], message: str
) -> None:
    with (
        pytest.raises(ConfigError, match=message),
        running_gateway(tmp_path, content_credentials=options(certificate, **changed)),
    ):
        pass


def test_a_certificate_alone_is_not_enough() -> None:
    with pytest.raises(ConfigError, match="or neither"):
        load({"OMIXA_CONTENT_CREDENTIALS_CERTIFICATE": "chain.pem"})
