"""Deployments as an operator configures, watches and tries them: omixa.toml, the command line, GET /routes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.commands import Omixa, Server
from tests.support.servers import SIMULATOR_API_KEY, Simulator, running_simulator

MODEL = "MAI-Image-2.5"
BODY = {"model": MODEL, "prompt": "A red kite over a stubble field at dusk"}
EXIT_CONFIG = 78


@pytest.fixture(scope="module")
def other() -> Iterator[Simulator]:
    """A second provider, whose deployment has a name of its own."""
    with running_simulator(deployments={"mine": MODEL}) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def omixa(foundry: Simulator, other: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Omixa:
    directory = tmp_path_factory.mktemp("routes")
    (directory / "omixa.toml").write_text(f"""
[foundry]
endpoint = "{foundry.url}"
api_key = "{SIMULATOR_API_KEY}"

[[deployments]]
name = "second"
endpoint = "{other.url}/"
api_key_env = "SECOND_KEY"
models = ["mai-image-2.5"]
deployment = "mine"
region = "swedencentral"
priority = 1
concurrency = 4
requests_per_minute = 100

[routing]
policy = "least_busy"
""")
    return Omixa(directory, {"OMIXA_DATA_DIR": str(directory / "data"), "SECOND_KEY": SIMULATOR_API_KEY})


@pytest.fixture(scope="module")
def server(omixa: Omixa) -> Iterator[Server]:
    with omixa.serving("serve", "--port", "0") as running:
        yield running


@pytest.fixture(scope="module")
def live_key(omixa: Omixa) -> str:
    omixa("credits", "grant", "--mode", "live", "--amount", "25", "--reason", "test")
    return omixa("keys", "create", "--mode", "live")


def test_a_key_that_is_refused_is_seen_and_used_again(
    omixa: Omixa, server: Server, foundry: Simulator, live_key: str
) -> None:
    foundry.play("401")
    with server.client(live_key) as client:
        made = client.post("/api/v1/images/generations", json=BODY)
        assert made.json()["omixa"]["route"] == f"second/{MODEL}"
        found = client.get(f"/api/v1/requests/{made.headers['x-request-id']}").json()
        assert [step["route"] for step in found["attempts"]] == [f"foundry/{MODEL}", f"second/{MODEL}"]
        shown = client.get("/api/v1/routes").json()["data"]
        mine = [one for one in shown if one["model"] == MODEL]
        assert mine == [
            {"route": f"foundry/{MODEL}", "model": MODEL, "health": "disabled"},
            {"route": f"second/{MODEL}", "model": MODEL, "health": "closed"},
        ]
        told = {one["route"]: one for one in omixa.json("routes", "show", "--server", server.url)["data"]}
        first, second = told[f"foundry/{MODEL}"], told[f"second/{MODEL}"]
        assert (first["health"], first["reason"]) == ("disabled", "401")
        assert (second["health"], second["region"], second["priority"], second["concurrency"]) == (
            "closed",
            "swedencentral",
            1,
            4,
        )
        text = omixa("routes", "show", "--server", server.url)
        assert "swedencentral" in text
        assert SIMULATOR_API_KEY not in text + json.dumps(told)
        assert omixa("routes", "enable", "foundry", "--server", server.url).startswith(f"In use again: foundry/{MODEL}")
        made = client.post("/api/v1/images/generations", json={**BODY, "prompt": "again"})
        assert made.json()["omixa"]["route"] == f"foundry/{MODEL}"
    assert f"foundry at {foundry.url} and foundry at" in server.log


def test_what_a_server_has_learned_survives_its_restart(foundry: Simulator, other: Simulator, tmp_path: Path) -> None:
    (tmp_path / "omixa.toml").write_text(f"""
[[deployments]]
name = "first"
endpoint = "{foundry.url}"
api_key_env = "FIRST_KEY"
models = ["{MODEL}"]
[[deployments]]
name = "second"
endpoint = "{other.url}"
api_key = "{SIMULATOR_API_KEY}"
models = ["{MODEL}"]
deployment = "mine"
priority = 1
[[deployments]]
name = "third"
endpoint = "{foundry.url}"
api_key = "{SIMULATOR_API_KEY}"
models = ["{MODEL}"]
priority = 2
""")
    data = {"OMIXA_DATA_DIR": str(tmp_path / "data")}
    wrong, right = (Omixa(tmp_path, {**data, "FIRST_KEY": key}) for key in ("not-the-key", SIMULATOR_API_KEY))

    def health(server: Server) -> list[str]:
        told = wrong.json("routes", "show", "--server", server.url)["data"]
        return [one["health"] for one in told if one["model"] == MODEL and one["modes"] == ["live"]]

    wrong("credits", "grant", "--mode", "live", "--amount", "25", "--reason", "test")
    key = wrong("keys", "create", "--mode", "live")
    foundry.play("")
    other.play("429(retry_after=200)")
    with wrong.serving("serve", "--port", "0") as server, server.client(key) as client:
        made = client.post("/api/v1/images/generations", json=BODY)
        assert made.json()["omixa"]["route"] == f"third/{MODEL}"
        assert health(server) == ["disabled", "cooling", "closed"]
        assert server.stop() == 0
    other.play("")
    with wrong.serving("serve", "--port", "0") as server, server.client(key) as client:
        assert health(server) == ["disabled", "cooling", "closed"]
        made = client.post("/api/v1/images/generations", json={**BODY, "prompt": "after a restart"})
        assert [one["route"] for one in made.json()["omixa"]["attempts"]] == [f"third/{MODEL}"]
        assert server.stop() == 0
    # The operator has put the credential right.
    with right.serving("serve", "--port", "0") as server:
        assert health(server) == ["closed", "cooling", "closed"]


@pytest.mark.parametrize("token", [None, "omx_operator_1_" + 64 * "0", "key"])
def test_what_is_for_operators_takes_no_key_of_a_workspace(server: Server, live_key: str, token: str | None) -> None:
    with server.client(live_key if token == "key" else token) as client:
        assert client.get("/api/v1/operator/routes").status_code == 401
        assert client.post("/api/v1/operator/routes/enable", json={"route": "foundry"}).status_code == 401


def test_mistakes_are_explained(omixa: Omixa, server: Server) -> None:
    refused = omixa.run("routes", "enable", "nobody", "--server", server.url)
    assert (refused.returncode, refused.stderr) == (1, "omixa: There is no deployment nobody.\n")
    refused = omixa.run("routes", "show", "--server", "http://127.0.0.1:1")
    assert refused.returncode == 74
    assert "--server" in refused.stderr


def test_each_deployment_can_be_tried_without_a_server(omixa: Omixa, foundry: Simulator, other: Simulator) -> None:
    before = len(foundry.log()), len(other.log())
    other.play("403")
    tried = omixa.run("routes", "test", MODEL, "--json")
    assert tried.returncode == 1
    first, second = json.loads(tried.stdout)
    assert (first["route"], first["result"], first["detail"]) == (f"foundry/{MODEL}", "ok", "1024x1024")
    assert (second["route"], second["result"], second["status"]) == (f"second/{MODEL}", "provider_unavailable", 403)
    assert SIMULATOR_API_KEY not in tried.stdout + tried.stderr
    assert "ok" in omixa("routes", "test", MODEL, "--route", "second")
    assert (len(foundry.log()), len(other.log())) == (before[0] + 1, before[1] + 2)
    assert omixa.run("routes", "test", "omixa-illustrator-1").returncode == 1


def test_a_workspace_is_bound_to_providers_and_regions(
    omixa: Omixa, server: Server, foundry: Simulator, live_key: str
) -> None:
    told = omixa("workspaces", "set-routes", "--workspace", "default", "--regions", "SwedenCentral")
    assert told == "Requests of default may go to regions swedencentral."
    # A key of its own, so that nothing is remembered of an earlier request.
    with server.client(omixa("keys", "create", "--mode", "live")) as client:
        before = len(foundry.log())
        for number in range(3):
            made = client.post("/api/v1/images/generations", json={**BODY, "prompt": f"bound {number}"})
            assert made.json()["omixa"]["route"] == f"second/{MODEL}"
        assert len(foundry.log()) == before
        told = client.get("/api/v1/routes").json()
        assert (told["allowed_providers"], told["allowed_regions"]) == (None, ["swedencentral"])
        assert [one["route"] for one in told["data"] if one["model"] == MODEL] == [f"second/{MODEL}"]
    allowed = omixa.json("workspaces", "set-routes", "--providers", "openai,embedded")
    assert allowed == {"workspace": "default", "providers": ["embedded", "openai"], "regions": ["swedencentral"]}
    with server.client(omixa("keys", "create", "--mode", "live")) as client:
        balance = client.get("/api/v1/balance").json()
        estimate = client.post("/api/v1/images/estimate", json=BODY).json()
        assert (estimate["admitted"], estimate["refusal"]["code"]) == (False, "no_allowed_route")
        refused = client.post("/api/v1/images/generations", json=BODY)
        assert refused.status_code == 403
        error = refused.json()["error"]
        assert (error["code"], error["type"]) == ("no_allowed_route", "permission_error")
        assert "providers embedded, openai and regions swedencentral" in error["message"]
        assert "second" not in error["message"]
        assert client.get("/api/v1/balance").json() == balance
        # What runs inside the server is sent nowhere.
        made = client.post("/api/v1/images/generations", json={"model": "omixa-illustrator-1", "prompt": "a red fox"})
        assert made.json()["omixa"]["route"] == "embedded/omixa-illustrator-1"
    tried = omixa.run("routes", "test", MODEL, "--workspace", "default")
    assert tried.returncode == 1
    assert "providers embedded, openai and regions swedencentral, to which default is bound" in tried.stderr
    (row,) = omixa.json("workspaces", "list")
    assert row["routes"] == "providers embedded, openai and regions swedencentral"
    told = omixa("workspaces", "set-routes", "--providers", "any", "--regions", "any")
    assert told == "Requests of default may go to all providers."


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ([], 2, "give --providers, --regions or both"),
        (["--providers", "nobody"], 2, "no provider is called nobody; known: "),
        (["--regions", "a,,b"], 2, "is no list"),
        (["--workspace", "nowhere", "--regions", "a"], 1, "no workspace"),
    ],
)
def test_wrong_constraints_are_explained(omixa: Omixa, options: list[str], code: int, message: str) -> None:
    refused = omixa.run("workspaces", "set-routes", *options)
    assert (refused.returncode, refused.stdout) == (code, "")
    assert message in refused.stderr


def test_config_check_explains_every_table_and_hides_keys(omixa: Omixa) -> None:
    options = {option["name"]: option for option in omixa.json("config", "check")}
    assert options["deployments"]["value"] == "second"
    assert options["deployments[0].region"]["value"] == "swedencentral"
    assert (options["deployments[0].weight"]["value"], options["deployments[0].weight"]["source"]) == ("1", "default")
    assert options["deployments[0].priority"]["source"] == "omixa.toml"
    assert (options["deployments[0].api_key"]["value"], options["deployments[0].api_key_env"]["value"]) == (
        "***",
        "SECOND_KEY",
    )
    assert options["routing.policy"]["value"] == "least_busy"
    assert all(option["description"] for option in options.values())
    assert SIMULATOR_API_KEY not in json.dumps(options)


_TABLE = "[[deployments]]\nname = 'a'\nendpoint = 'https://x.example'\n"


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        (_TABLE, "deployment a: give exactly one of api_key, api_key_env and bearer_token"),
        (_TABLE + "api_key_env = 'NOT_THERE'", "the variable NOT_THERE that api_key_env names is not set"),
        (_TABLE + "api_key = 'k'\napi_key_env = 'K'", "give api_key or api_key_env, not both"),
        (2 * (_TABLE + "api_key = 'k'\n"), "deployment a: stands twice"),
        (_TABLE.replace("'a'", "'foundry'") + "api_key = 'k'", "deployment foundry: is a name of Omixa's own"),
        (_TABLE + "api_key = 'k'\ndeployment = 'd'", "deployment names one model's"),
        (_TABLE.replace("https:", "ftp:") + "api_key = 'k'", "deployment a: endpoint must be an address"),
        (_TABLE + "api_key = 'k'\nwait = 1", "omixa.toml: Object contains unknown field `wait`"),
        (_TABLE + "api_key = 'k'\nweight = 0", "deployments[0].weight"),
        ("[[deployments]]\nendpoint = 'https://x.example'\napi_key = 'k'", "missing required field `name`"),
        ("[routing]\npolicy = 'slowest'", "routing.policy"),
    ],
)
def test_a_wrong_table_is_named(tmp_path: Path, toml: str, message: str) -> None:
    (tmp_path / "omixa.toml").write_text(toml)
    refused = Omixa(tmp_path, {}).run("config", "check")
    assert (refused.returncode, refused.stdout) == (EXIT_CONFIG, "")
    assert message in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        (_TABLE + "models = ['nothing']", "deployment a: foundry offers no model nothing"),
        (_TABLE + "provider = 'nobody'", "deployment a: no provider is called nobody; known: "),
        ("[[deployments]]\nname = 'a'\n", "deployment a: endpoint is missing; foundry has none for everybody"),
    ],
)
def test_what_the_catalogue_does_not_know_is_named(tmp_path: Path, toml: str, message: str) -> None:
    (tmp_path / "omixa.toml").write_text(f"{toml}\napi_key = 'k'")
    refused = Omixa(tmp_path, {}).run("serve", "--port", "0")
    assert refused.returncode == EXIT_CONFIG
    assert message in refused.stderr
