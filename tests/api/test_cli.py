"""The command line as its users meet it: real processes, one data directory, one omixa.toml."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest

from omixa.access.keys import parse_key
from tests.support.commands import Omixa, Server
from tests.support.servers import SIMULATOR_API_KEY, Simulator

MODEL = "MAI-Image-2.5"
API = "/api/v1"
CREATE = f"{API}/images/generations"
BODY: dict[str, Any] = {"model": MODEL, "prompt": "A red kite over a stubble field at dusk"}

EXIT_FAILURE, EXIT_USAGE, EXIT_IO_ERROR, EXIT_CONFIG = 1, 2, 74, 78


@pytest.fixture(scope="module")
def omixa(foundry: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Omixa:
    """The command in a directory whose three lines of omixa.toml configure Foundry."""
    directory = tmp_path_factory.mktemp("cli")
    (directory / "omixa.toml").write_text(f'[foundry]\nendpoint = "{foundry.url}"\napi_key = "{SIMULATOR_API_KEY}"\n')
    return Omixa(directory, {"OMIXA_DATA_DIR": str(directory / "data")})


@pytest.fixture(scope="module")
def live_key(omixa: Omixa) -> str:
    """A live key of workspace `studio`, which has money."""
    granted = omixa("credits", "grant", "--workspace", "studio", "--mode", "live", "--amount", "25", "--reason", "test")
    assert granted == "studio has $25.000000 available in live mode."
    return omixa("keys", "create", "--workspace", "studio", "--mode", "live")


@pytest.fixture(scope="module")
def server(omixa: Omixa) -> Iterator[Server]:
    with omixa.serving("serve", "--port", "0") as running:
        yield running


def post(client: httpx.Client, **fields: Any) -> dict[str, Any]:
    answer = client.post(CREATE, json={**BODY, **fields})
    assert answer.status_code == 200, answer.text[:500]
    made: dict[str, Any] = answer.json()
    return made


# ------------------------------------------------------------------------------------------------------------------ serve


def test_serve_says_where_it_listens_and_what_it_can_do(
    omixa: Omixa, server: Server, foundry: Simulator, live_key: str
) -> None:
    with server.client(live_key) as client:
        assert post(client)["omixa"]["route"] == f"foundry/{MODEL}"
    assert f"listens on {server.url}/api/v1" in server.log
    assert f"foundry at {foundry.url}" in server.log
    assert omixa.variables["OMIXA_DATA_DIR"] in server.log
    assert SIMULATOR_API_KEY not in server.log


def test_a_second_server_on_the_same_data_is_refused(omixa: Omixa, server: Server) -> None:
    second = omixa.run("serve", "--port", "0")
    assert second.returncode == EXIT_CONFIG
    assert "another server is using the data directory" in second.stderr
    with server.client(None) as client:
        assert client.get("/healthz").status_code == 200


def test_a_port_that_is_taken_is_named(omixa: Omixa, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        refused = omixa.run("serve", "--port", port, "--data", str(tmp_path))
    assert refused.returncode == EXIT_IO_ERROR
    assert f"cannot listen on 127.0.0.1 port {port}" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.fixture(scope="module")
def stand_in(omixa: Omixa) -> Iterator[Simulator]:
    """A simulated Foundry, started by the command, whose deployment is not named like the model."""
    options = ("--port", "0", "--api-key", SIMULATOR_API_KEY, "--deployment", f"mine={MODEL}")
    with omixa.serving("simulate", "foundry", *options) as running:
        yield Simulator(running.port)
        assert running.stop() == 0


def test_a_server_that_is_told_to_stop_finishes_what_runs_and_starts_again_with_the_same_balances(
    stand_in: Simulator, tmp_path: Path
) -> None:
    variables = {
        "OMIXA_FOUNDRY_ENDPOINT": stand_in.url,
        "OMIXA_FOUNDRY_API_KEY": SIMULATOR_API_KEY,
        "OMIXA_FOUNDRY_DEPLOYMENT": "mine",
        "OMIXA_DATA_DIR": str(tmp_path / "data"),
    }
    omixa = Omixa(tmp_path, variables)
    omixa("credits", "grant", "--mode", "live", "--amount", "1.00", "--reason", "test")
    key = omixa("keys", "create", "--mode", "live")
    made: list[dict[str, Any]] = []
    stand_in.play("slow=0.6")
    with omixa.serving("serve", "--port", "0") as server:
        with server.client(key) as client:
            asking = threading.Thread(target=lambda: made.append(post(client)))
            asking.start()
            while not stand_in.log():
                pass
            assert server.stop() == 0
            asking.join()
        assert "Traceback" not in server.log
    (answer,) = made
    (call,) = stand_in.log()
    assert (call["deployment"], call["status"]) == ("mine", 200)
    left = Decimal(1) - Decimal(answer["usage"]["billed_amount"])
    with omixa.serving("serve", "--port", "0") as server, server.client(key) as client:
        balance = client.get(f"{API}/balance").json()
        assert (balance["available"], balance["held"]) == (f"{left:.6f}", "0.000000")
        result = client.get(f"{API}/requests/{answer['omixa']['request_id']}/result")
        assert result.json() == answer
        assert server.stop() == 0


# ------------------------------------------------------------------------------------------------------- keys and credits


def test_creating_a_key_prints_the_key_and_nothing_else(omixa: Omixa, server: Server) -> None:
    created = omixa.run("keys", "create", "--workspace", "default", "--mode", "test")
    assert (created.returncode, created.stderr) == (0, "")
    assert re.fullmatch(r"omx_test_[0-9A-Za-z]{38}\n", created.stdout)
    assert parse_key(created.stdout.strip()).mode == "test"
    with server.client(created.stdout.strip()) as client:
        assert client.get(f"{API}/balance").json()["workspace"] == "default"


def test_a_key_from_its_creation_to_its_end(omixa: Omixa, server: Server) -> None:
    created = omixa.json(
        "keys", "create", "--workspace", "atelier", "--mode", "test", "--name", "site", "--model", MODEL.lower()
    )
    assert created["models"] == [MODEL]
    with server.client(created["key"]) as client:
        assert client.get(f"{API}/models").status_code == 200
        assert omixa("keys", "revoke", created["id"]) == f"{created['id']} is revoked."
        assert client.get(f"{API}/models").status_code == 401
    (listed,) = omixa.json("keys", "list", "--workspace", "atelier")
    assert (listed["id"], listed["name"], listed["last4"]) == (created["id"], "site", created["key"][-4:])
    assert (listed["mode"], listed["workspace"], listed["models"]) == ("test", "atelier", MODEL)
    assert listed["created"] <= listed["revoked"]
    assert created["key"] not in json.dumps(listed)


def test_credit_is_granted_to_the_named_mode(omixa: Omixa) -> None:
    granted = omixa.json(
        "credits", "grant", "--workspace", "purse", "--mode", "live", "--amount", "0.000001", "--reason", "a coin"
    )
    money = {"posted": "0.000001", "held": "0.000000", "available": "0.000001"}
    assert granted == {"workspace": "purse", "mode": "live", **money}


def test_a_workspace_is_watched_and_resumed(omixa: Omixa) -> None:
    omixa("credits", "grant", "--workspace", "watched", "--mode", "live", "--amount", "2", "--reason", "test")
    told = omixa("workspaces", "set-alert", "--workspace", "watched", "--below", "10.00")
    assert told == "The balance of watched in live mode is watched: below $10.000000 there is an alert."
    mail = omixa.with_variables(OMIXA_SMTP_HOST="localhost", OMIXA_SMTP_SENDER="billing@example.org")
    alert = ("workspaces", "set-alert", "--workspace", "watched", "--below", "10.00", "--email")
    assert mail(*alert, "ops@example.org") == told
    refused = mail.run(*alert, "ops@example.org, all@example.org")
    assert (refused.returncode, "is not an e-mail address" in refused.stderr) == (EXIT_FAILURE, True)
    ended = omixa("workspaces", "set-alert", "--workspace", "watched", "--below", "none")
    assert ended == "The balance of watched in live mode is not watched any more."
    resumed = omixa("workspaces", "resume", "--workspace", "watched", "--reason", "test")
    assert resumed == "watched was not suspended."


def test_credit_is_listed_in_the_order_in_which_it_burns(omixa: Omixa) -> None:
    purse = ("--workspace", "lots", "--mode", "live")
    grant = ("credits", "grant", *purse, "--amount", "2", "--reason", "test")
    omixa(*grant)
    for _ in range(2):
        told = omixa(*grant, "--kind", "promo", "--expires", "2999-12-31", "--reference", "welcome")
        assert told == "lots has $4.000000 available in live mode."
    different = omixa.run("credits", "grant", *purse, "--amount", "3", "--reason", "test", "--reference", "welcome")
    assert different.returncode == EXIT_FAILURE
    assert "belongs to another grant" in different.stderr
    promotion, paid = omixa.json("credits", "list", *purse)
    assert (promotion["kind"], promotion["expires"]) == ("promo", "3000-01-01T00:00:00.000Z")
    assert (paid["kind"], paid["remaining"], paid["pinned"], paid["expires"]) == ("paid", "2.000000", "0.000000", None)
    assert "never" in omixa("credits", "list", *purse)


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        ("keys create --workspace -x- --mode test", EXIT_FAILURE, "is not a workspace name"),
        ("keys create --mode test --model nothing", EXIT_FAILURE, MODEL),
        ("keys create --mode play", EXIT_USAGE, "'live'"),
        ("keys revoke key_nothing", EXIT_FAILURE, "no active key"),
        ("credits grant --mode live --amount 1,50 --reason x", EXIT_USAGE, "--amount"),
        ("credits grant --mode live --amount -5 --reason x", EXIT_USAGE, "--amount"),
        ("credits grant --mode live --amount 5 --reason x --expires 2020-01-01", EXIT_FAILURE, "in the past"),
        ("credits grant --mode live --amount 5 --reason x --expires soon", EXIT_USAGE, "--expires"),
        ("credits grant --mode live --amount 5 --reason x --priority 101", EXIT_FAILURE, "from -100 to 100"),
        ("credits grant --mode live --amount 5 --reason x --reference a b", EXIT_USAGE, "b"),
        ("workspaces set-alert --workspace nowhere --below 5", EXIT_FAILURE, "no workspace"),
        ("workspaces set-alert --below 0", EXIT_FAILURE, "above 0"),
        ("workspaces set-alert --below much", EXIT_USAGE, "--below"),
        ("workspaces set-alert --below 5 --email a@example.org", EXIT_USAGE, "smtp.host"),
        ("workspaces resume --workspace nowhere --reason x", EXIT_FAILURE, "no workspace"),
        ("credits list --mode live --workspace nowhere", EXIT_FAILURE, "no workspace"),
        ("usage list --workspace nowhere", EXIT_FAILURE, "no workspace"),
    ],
)
def test_mistakes_are_explained(omixa: Omixa, command: str, code: int, message: str) -> None:
    refused = omixa.run(*command.split())
    assert (refused.returncode, refused.stdout) == (code, "")
    assert message in refused.stderr
    assert "Traceback" not in refused.stderr


# -------------------------------------------------------------------------------------------------- usage, ledger, models


def test_usage_lists_what_was_made(omixa: Omixa, server: Server, live_key: str) -> None:
    with server.client(live_key) as client:
        made = post(client, n=2)
    rows = omixa.json("usage", "list", "--workspace", "studio", "--limit", "1")
    (row,) = rows
    assert (row["request"], row["billed"]) == (made["omixa"]["request_id"], made["usage"]["billed_amount"])
    assert (row["model"], row["state"], row["outcome"], row["images"]) == (MODEL, "captured", "ok", 2)
    header, *lines = omixa("usage", "list", "--workspace", "studio").splitlines()
    assert header.split()[:4] == ["request", "created", "model", "operation"]
    assert header.split()[4:] == ["state", "outcome", "images", "billed", "refunded", "adjusted"]
    assert lines[0].split()[0] == made["omixa"]["request_id"]


def test_the_operator_reads_what_the_provider_said(
    omixa: Omixa, server: Server, live_key: str, foundry: Simulator
) -> None:
    foundry.play("500")
    with server.client(live_key) as client:
        refused = client.post("/api/v1/images/generations", json={"model": MODEL, "prompt": "a lighthouse"})
    request_id = refused.json()["error"]["request_id"]
    view = omixa.json("usage", "show", request_id)
    assert (view["state"], view["outcome"], view["charge_amount"]) == ("released", "provider_error", None)
    (call,) = view["calls"]
    assert (call["state"], call["upstream_status"], call["cost_basis"]) == ("unknown", 500, "estimated")
    shown = omixa("usage", "show", request_id)
    assert call["provider_request_id"] in shown
    assert call["diagnostics"] in shown
    assert call["diagnostics"] not in refused.text
    missing = omixa.run("usage", "show", "req_none")
    assert (missing.returncode, missing.stdout) == (1, "")


def test_the_ledger_is_verified_while_the_server_runs(omixa: Omixa, server: Server, live_key: str) -> None:
    with server.client(live_key) as client:
        post(client)
    report = omixa.json("ledger", "verify")
    assert (report["clean"], report["findings"]) == (True, [])
    assert sum(report["checked"].values()) > 0


def test_a_broken_ledger_is_told_with_an_exit_code(omixa: Omixa, server: Server, live_key: str, tmp_path: Path) -> None:
    with server.client(live_key) as client:
        request_id = post(client)["omixa"]["request_id"]
    copy = tmp_path / "data"
    shutil.copytree(omixa.variables["OMIXA_DATA_DIR"], copy, ignore=shutil.ignore_patterns("*.lock"))
    (result,) = copy.glob(f"results/*/{request_id}")
    result.unlink()
    broken = omixa.with_variables(OMIXA_DATA_DIR=str(copy)).run("ledger", "verify")
    assert broken.returncode == EXIT_FAILURE
    assert "BROKEN" in broken.stdout
    assert request_id in broken.stdout


def test_models_and_their_prices_are_listed(omixa: Omixa) -> None:
    listed = {model["id"]: model for model in omixa.json("models", "list")}
    model = listed[MODEL]
    assert listed["omixa-upscale-1"]["prices"] == {"image": "0.004 / 1"}
    assert listed["omixa-illustrator-1"]["prices"] == {"image": "0.002 / 1"}
    assert model["context_window_tokens"] == 32_000
    assert model["prices"] == {
        "input_text": "5.00 / 1,000,000",
        "input_image": "5.00 / 1,000,000",
        "output_image": "33.00 / 1,000,000",
        "image": "0.033 / 1",
        "background_removal": "0.003 / 1",
    }


# ---------------------------------------------------------------------------------------------------------- configuration


def test_config_check_tells_where_each_value_comes_from_and_hides_secrets(omixa: Omixa, foundry: Simulator) -> None:
    here = omixa.with_variables(OMIXA_PORT="9999", OMIXA_KEY_PEPPER="ab" * 32)
    options = {option["name"]: option for option in here.json("config", "check")}
    assert (options["port"]["value"], options["port"]["source"]) == ("9999", "environment (OMIXA_PORT)")
    assert (options["foundry.endpoint"]["value"], options["foundry.endpoint"]["source"]) == (foundry.url, "omixa.toml")
    assert (options["host"]["value"], options["host"]["source"]) == ("127.0.0.1", "default")
    assert (options["foundry.api_key"]["value"], options["key_pepper"]["value"]) == ("***", "***")
    assert options["stream_keep_alive_s"]["value"] == "10.0"
    assert all(option["description"] for option in options.values())
    text = here("--data", "elsewhere", "config", "check")
    assert "command line" in text
    assert text.endswith("The configuration is valid.")
    for secret in (SIMULATOR_API_KEY, "ab" * 32):
        assert secret not in text + json.dumps(options)


@pytest.mark.parametrize(
    ("toml", "variables", "message"),
    [
        ("prot = 8080", {}, "omixa.toml: unknown option prot; did you mean port?"),
        ("[foundry]\nendpoint = 'https://x.example'\nkey = 'k'", {}, "unknown option foundry.key"),
        ("port = 'many'", {}, "omixa.toml"),
        ("port = ", {}, "cannot be read"),
        ("", {"OMIXA_PROT": "1"}, "unknown option OMIXA_PROT; did you mean OMIXA_PORT?"),
        ("[foundry]\nendpoint = 'https://x.example'", {}, "foundry.api_key"),
    ],
)
def test_a_wrong_option_is_named_with_its_source(
    tmp_path: Path, toml: str, variables: dict[str, str], message: str
) -> None:
    (tmp_path / "omixa.toml").write_text(toml)
    refused = Omixa(tmp_path, variables).run("config", "check")
    assert (refused.returncode, refused.stdout) == (EXIT_CONFIG, "")
    assert message in refused.stderr
    assert "Traceback" not in refused.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["omixa.toml"]


def test_completion_knows_the_commands(omixa: Omixa) -> None:
    script = omixa("completion", "bash")
    assert "_OMIXA_COMPLETE=bash_complete" in script
    check = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False)
    assert check.returncode == 0, check.stderr
    asked = omixa.with_variables(_OMIXA_COMPLETE="bash_complete", COMP_WORDS="omixa keys ", COMP_CWORD="2")
    assert [line.partition(",")[2] for line in asked().splitlines()] == [
        "create",
        "list",
        "revoke",
        "roll",
        "set-budget",
        "set-limits",
    ]


def test_help_names_every_command(omixa: Omixa) -> None:
    text = omixa("--help")
    commands = ("serve", "keys", "credits", "usage", "ledger", "models", "prices", "workspaces", "config", "simulate")
    for command in (*commands, "completion"):
        assert re.search(rf"^  {command} ", text, re.MULTILINE)


def test_openai_can_be_simulated_too(omixa: Omixa) -> None:
    options = ("--port", "0", "--api-key", SIMULATOR_API_KEY, "--deployment", "mine=gpt-image-2")
    with omixa.serving("simulate", "openai", *options) as running:
        answer = httpx.post(
            f"http://127.0.0.1:{running.port}/v1/images/generations",
            json={"model": "mine", "prompt": "A red kite", "quality": "low"},
            headers={"authorization": f"Bearer {SIMULATOR_API_KEY}"},
            timeout=60,
        )
        assert (answer.status_code, answer.json()["quality"]) == (200, "low")
        assert running.stop() == 0
    refused = omixa.run("simulate", "openai", "--port", "0", "--api-key", "k", "--deployment", "mine=dall-e-3")
    assert refused.returncode == EXIT_USAGE
    assert "unknown: dall-e-3" in refused.stderr


@pytest.mark.parametrize(
    ("name", "path", "headers"),
    [
        ("fal", "/fal-ai/flux-2-pro", {"authorization": "Key k"}),
        ("flux", "/v1/flux-2-pro", {"x-key": "k"}),
        ("replicate", "/v1/models/black-forest-labs/flux-2-pro/predictions", {"authorization": "Bearer k"}),
        ("stability", "/v2beta/stable-image/generate/core", {"authorization": "Bearer k"}),
    ],
)
def test_every_simulator_listens(omixa: Omixa, name: str, path: str, headers: dict[str, str]) -> None:
    options = ("--port", "0", "--api-key", "k", "--scenario", "429x2")
    with omixa.serving("simulate", name, *options) as running:
        files = {"prompt": (None, "a kite")}
        body: dict[str, Any] = {"files": files} if name == "stability" else {"json": {"prompt": "a kite"}}
        if name == "replicate":
            body = {"json": {"input": {"prompt": "a kite"}}}
        assert httpx.post(running.url + path, **body).status_code in (401, 403)
        assert httpx.post(running.url + path, headers=headers, **body).status_code == 429
        assert httpx.get(f"{running.url}/simulator/scenario", headers={"api-key": "k"}).text == "429"
    refused = omixa.run("simulate", name, "--port", "0", "--api-key", "k", "--scenario", "thunder")
    assert refused.returncode == EXIT_USAGE
    assert '"thunder" is not a step' in refused.stderr


def test_a_scenario_that_does_not_exist_is_explained(omixa: Omixa) -> None:
    refused = omixa.run("simulate", "foundry", "--port", "0", "--api-key", "k", "--scenario", "thunder")
    assert refused.returncode == EXIT_USAGE
    assert '"thunder" is not a step' in refused.stderr
    assert "for example 429x2, then ok; latency=8s. Steps: ok, 401, " in refused.stderr
