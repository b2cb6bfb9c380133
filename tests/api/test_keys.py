"""Keys: refused by their look, revoked at once, bound to models and to one kind of money, and stored nowhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from sqlalchemy import select

from omixa.access.keys import generate_key, parse_key
from omixa.storage.database import Transaction
from omixa.storage.tables import api_key, metadata
from tests.support.commands import Omixa
from tests.support.document import Document
from tests.support.footprint import footprint, money
from tests.support.servers import Gateway, Simulator, running_gateway

MODEL = "MAI-Image-2.5"
API = "/api/v1"
CREATE = f"{API}/images/generations"
BODY: dict[str, Any] = {"model": MODEL, "prompt": "A red kite over a stubble field at dusk"}
GOOD = "omx_test_" + "a" * 32 + "000000"


def ask(gateway: Gateway, authorization: str | bytes | None, path: str = f"{API}/balance") -> httpx.Response:
    headers = [] if authorization is None else [(b"authorization", _bytes(authorization))]
    with gateway.client(None) as client:
        return client.get(path, headers=headers)


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


def code_of(answer: httpx.Response) -> str:
    return str(answer.json()["error"]["code"])


# -------------------------------------------------------------------------------------------------------- malformed keys

MALFORMED = [
    "Bearer x",
    "Bearer sk-proj-0123456789",
    "Bearer omx_live_",
    f"Bearer {GOOD[:-1]}",
    f"Bearer {GOOD}x",
    f"Bearer {GOOD}",
    f"Bearer {GOOD.replace('test', 'prod')}",
    f"Bearer {GOOD.upper()}",
    f"Bearer omx_test_{'é' * 32}000000",
    b"Bearer omx_test_" + b"\xff" * 38,
    "Bearer omx_test_" + "a" * 30_000,
    "Bearer ' OR 1=1 --",
]


@pytest.fixture(scope="module")
def deaf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway whose database is closed: whatever asks it fails."""
    with running_gateway(tmp_path_factory.mktemp("deaf")) as running:
        assert running.services is not None
        running.services.database.close()
        yield running


@pytest.mark.parametrize("authorization", MALFORMED, ids=lambda value: str(value)[:40])
def test_malformed_keys_are_refused_before_the_database_is_asked(
    deaf: Gateway, document: Document, authorization: str | bytes
) -> None:
    answer = ask(deaf, authorization)
    document.check(answer)
    assert (answer.status_code, code_of(answer)) == (401, "invalid_api_key")
    assert answer.json()["error"]["type"] == "authentication_error"
    assert answer.headers["x-should-retry"] == "false"


def test_only_a_key_that_looks_right_is_looked_up(deaf: Gateway) -> None:
    answer = ask(deaf, f"Bearer {generate_key('test').secret.reveal()}")
    assert (answer.status_code, code_of(answer)) == (503, "ledger_unavailable")


@pytest.mark.parametrize("authorization", [None, "", "Bearer", f"Basic {GOOD}", GOOD, f"Token {GOOD}"])
def test_without_a_bearer_key_the_answer_says_how_to_send_one(
    deaf: Gateway, document: Document, authorization: str | None
) -> None:
    answer = ask(deaf, authorization)
    document.check(answer)
    assert (answer.status_code, code_of(answer)) == (401, "missing_api_key")
    assert answer.headers["www-authenticate"] == 'Bearer realm="omixa"'
    assert "Authorization: Bearer" in answer.json()["error"]["message"]


def test_one_wrong_character_anywhere_is_noticed(deaf: Gateway) -> None:
    key = generate_key("live").secret.reveal()
    with deaf.client(None) as client:
        for place in range(len("omx_live_"), len(key)):
            wrong = key[:place] + ("b" if key[place] == "a" else "a") + key[place + 1 :]
            answer = client.get(f"{API}/balance", headers={"authorization": f"Bearer {wrong}"})
            assert (answer.status_code, code_of(answer)) == (401, "invalid_api_key"), place
            assert wrong not in answer.text


def test_a_well_formed_key_that_nobody_made_is_refused(gateway: Gateway, document: Document) -> None:
    answer = ask(gateway, f"Bearer {generate_key('live').secret.reveal()}")
    document.check(answer)
    assert (answer.status_code, code_of(answer)) == (401, "invalid_api_key")


def test_the_scheme_is_written_in_any_case(gateway: Gateway, new_key: Callable[..., str]) -> None:
    for scheme in ("Bearer", "bearer", "BEARER"):
        assert ask(gateway, f"{scheme} {new_key()}").status_code == 200


def test_a_refused_key_leaves_nothing(gateway: Gateway) -> None:
    before = footprint(gateway)
    with gateway.client(generate_key("live").secret.reveal()) as client:
        assert client.post(CREATE, json=BODY).status_code == 401
    assert footprint(gateway) == before


# -------------------------------------------------------------------------------------------------------------- revocation


def test_a_revoked_key_is_refused_at_once(gateway: Gateway, workspace: str, new_key: Callable[..., str]) -> None:
    key, other = new_key(), new_key()
    rows = gateway.call(lambda services: services.workspaces.list_keys(workspace))
    # Both may have been made in the same millisecond, so that their order is by chance.
    assert {row.last4 for row in rows} == {key[-4:], other[-4:]}
    (row,) = [row for row in rows if row.last4 == key[-4:]]
    with gateway.client(key) as client:
        assert client.get(f"{API}/balance").status_code == 200
        gateway.call(lambda services: services.workspaces.revoke_key(row.id, actor="test"))
        answer = client.post(CREATE, json=BODY)
        assert (answer.status_code, code_of(answer)) == (401, "invalid_api_key")
    assert ask(gateway, f"Bearer {other}").status_code == 200


def test_a_key_that_another_process_revokes_is_refused_at_once(
    gateway: Gateway, workspace: str, new_key: Callable[..., str], tmp_path: Path
) -> None:
    key = new_key()
    (row,) = gateway.call(lambda services: services.workspaces.list_keys(workspace))
    variables = {
        "OMIXA_DATA_DIR": str(Path(gateway.settings.data_dir).absolute()),
        "OMIXA_DATABASE": gateway.settings.database.reveal(),
    }
    command = Omixa(tmp_path, variables)
    with gateway.client(key) as client:
        assert client.get(f"{API}/balance").status_code == 200
        assert row.id in command("keys", "revoke", row.id)
        assert client.get(f"{API}/balance").status_code == 401


# ------------------------------------------------------------------------------------------------------------- permission


@pytest.mark.parametrize("credit", [0, 10_000_000])
def test_a_model_that_is_not_for_this_key_is_refused_before_any_money_is_touched(
    gateway: Gateway, foundry: Simulator, new_key: Callable[..., str], workspace: str, document: Document, credit: int
) -> None:
    key = new_key("live", ["Another-Model"])
    if credit:
        gateway.grant(credit, workspace=workspace)
    calls, before = len(foundry.log()), footprint(gateway)
    with gateway.client(key) as client:
        answer = client.post(CREATE, json=BODY)
    document.check(answer)
    assert (answer.status_code, code_of(answer)) == (403, "model_not_allowed")
    assert answer.json()["error"]["param"] == "model"
    assert footprint(gateway) == before
    assert len(foundry.log()) == calls


def test_a_key_for_named_models_serves_those(gateway: Gateway, new_key: Callable[..., str]) -> None:
    with gateway.client(new_key("test", ["Another-Model", MODEL])) as client:
        assert client.post(CREATE, json={**BODY, "model": MODEL.lower()}).status_code == 200


# ------------------------------------------------------------------------------------------------------------ two moneys


def test_test_keys_never_touch_live_money_nor_the_provider(
    gateway: Gateway, foundry: Simulator, new_key: Callable[..., str], workspace: str
) -> None:
    gateway.grant(10_000_000, workspace=workspace)
    calls = len(foundry.log())
    with gateway.client(new_key()) as client:
        answer = client.post(CREATE, json=BODY)
    assert answer.headers["omixa-mode"] == "test"
    assert money(gateway, workspace, "live") == (10_000_000, 0)
    assert money(gateway, workspace, "test") == (1_000_000_000 - 33_900, 0)
    assert len(foundry.log()) == calls


def test_live_keys_never_touch_play_money(gateway: Gateway, new_key: Callable[..., str], workspace: str) -> None:
    with gateway.client(new_key("live")) as client:
        assert client.post(CREATE, json=BODY).status_code == 402
    assert money(gateway, workspace, "test") == (1_000_000_000, 0)


def test_each_mode_sees_only_its_own_requests(
    gateway: Gateway, live_client: httpx.Client, test_client: httpx.Client
) -> None:
    made = {client: client.post(CREATE, json=BODY).headers["x-request-id"] for client in (live_client, test_client)}
    for client, other in ((live_client, test_client), (test_client, live_client)):
        listed = [row["id"] for row in client.get(f"{API}/usage/requests").json()["data"]]
        assert listed == [made[client]]
        assert client.get(f"{API}/requests/{made[other]}").status_code == 404


def test_the_data_of_other_workspaces_does_not_exist(
    gateway: Gateway, test_client: httpx.Client, workspace: str
) -> None:
    request_id = test_client.post(CREATE, json=BODY).headers["x-request-id"]
    with gateway.client(gateway.key("test", f"{workspace}-stranger")) as stranger:
        for path in (f"{API}/requests/{request_id}", f"{API}/requests/{request_id}/result"):
            assert stranger.get(path).status_code == 404
        assert stranger.get(f"{API}/usage/requests").json()["data"] == []
        assert stranger.get(f"{API}/usage/rollups").json()["data"] == []
        assert stranger.get(f"{API}/balance").json()["posted"] == "1000.000000"


# ---------------------------------------------------------------------------------------------------------------- storage


def everything(tx: Transaction) -> dict[str, list[tuple[object, ...]]]:
    """Return all rows of all tables, as they answer wherever the ledger is."""
    return {
        name: [tuple(row[column.name] for column in table.columns) for row in tx.all(select(table))]
        for name, table in metadata.tables.items()
    }


def test_a_key_is_stored_only_as_its_digest(gateway: Gateway, new_key: Callable[..., str]) -> None:
    key = new_key()
    with gateway.client(key) as client:
        assert client.post(CREATE, json=BODY).status_code == 200
    assert gateway.services is not None
    digest = parse_key(key).digest(gateway.services.workspaces._pepper)
    assert digest in {row["digest"] for row in gateway.read(lambda tx: tx.all(select(api_key)))}
    files = [path for path in Path(gateway.settings.data_dir).rglob("*") if path.is_file()]
    contents = {path.name: path.read_bytes() for path in files}
    contents |= {table: repr(rows).encode() for table, rows in gateway.read(everything).items()}
    random = key.removeprefix("omx_test_")[:32].encode()
    assert [name for name, content in contents.items() if random in content] == []
