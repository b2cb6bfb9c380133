"""What operators say about results: how long each workspace keeps them, how pictures come back, and where they are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from omixa.cli.context import EXIT_CONFIG
from tests.support.commands import Omixa

EXIT_FAILURE, EXIT_USAGE = 1, 2


@pytest.fixture
def omixa(tmp_path: Path) -> Omixa:
    made = Omixa(tmp_path, {"OMIXA_DATA_DIR": str(tmp_path / "data")})
    made("keys", "create", "--mode", "test")
    return made


def results_of(omixa: Omixa) -> Any:
    (row,) = omixa.json("workspaces", "list")
    return row["results"]


def test_a_workspace_gets_a_retention_and_a_form_of_answers(omixa: Omixa) -> None:
    assert results_of(omixa) == ""
    told = omixa("workspaces", "set-results", "--keep-hours", "1000", "--response-format", "url")
    assert told == "Results of default: kept 1000 hours, as links."
    assert results_of(omixa) == "kept 1000 hours, as links"
    told = omixa("workspaces", "set-results", "--keep-hours", "delivery")
    assert told == "Results of default: kept until delivered, as links."
    changed = omixa.json("workspaces", "set-results", "--response-format", "both")
    assert changed == {"workspace": "default", "retention_hours": 0, "response_format": "both", "keep_prompts": False}
    told = omixa("workspaces", "set-results", "--keep-hours", "default", "--response-format", "b64_json")
    assert told == "Results of default: as usual."
    assert results_of(omixa) == ""
    told = omixa("workspaces", "set-results", "--keep-prompts")
    assert told == "Results of default: with their prompts."
    assert results_of(omixa) == "with their prompts"
    assert omixa.json("workspaces", "set-results", "--no-keep-prompts")["keep_prompts"] is False
    assert results_of(omixa) == ""


def test_an_operator_deletes_any_result(omixa: Omixa, tmp_path: Path) -> None:
    key = omixa("keys", "create", "--workspace", "theirs", "--mode", "test")
    with omixa.serving("serve", "--port", "0") as server, server.client(key) as client:
        body = {"model": "omixa-illustrator-1", "prompt": "a red fox"}
        made = client.post("/api/v1/images/generations", json=body)
        identifier = made.headers["x-request-id"]
        assert list(tmp_path.glob(f"data/results/*/{identifier}"))
        told = omixa("results", "delete", identifier, "--reason", "asked for by the person in it")
        assert told == f"The result of {identifier} is deleted."
        assert not list(tmp_path.glob(f"data/results/*/{identifier}"))
        gone = client.get(f"/api/v1/requests/{identifier}/result")
        assert (gone.status_code, gone.json()["error"]["code"]) == (410, "result_deleted")
        assert omixa.json("results", "delete", identifier, "--reason", "again")["deleted"] is True
    assert "clean" in omixa("ledger", "verify")


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        ("workspaces set-results", EXIT_USAGE, "--keep-hours"),
        ("workspaces set-results --keep-hours 0", EXIT_USAGE, "delivery"),
        ("workspaces set-results --keep-hours 87601", EXIT_USAGE, "from 1 to 87600"),
        ("workspaces set-results --keep-hours long", EXIT_USAGE, "is no retention"),
        ("workspaces set-results --response-format file", EXIT_USAGE, "b64_json"),
        ("workspaces set-results --workspace nowhere --keep-prompts", EXIT_FAILURE, "no workspace"),
        ("workspaces set-results --workspace nowhere --keep-hours 1", EXIT_FAILURE, "no workspace"),
        ("results delete req_unheardof --reason x", EXIT_FAILURE, "no request"),
        ("results delete req_unheardof", EXIT_USAGE, "--reason"),
    ],
)
def test_mistakes_are_explained(omixa: Omixa, command: str, code: int, message: str) -> None:
    refused = omixa.run(*command.split())
    assert (refused.returncode, refused.stdout) == (code, "")
    assert message in refused.stderr


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("results = 'ftp://bucket'", "results"),
        ("results = 's3://'", "results"),
        ("results = 's3://bucket/../other'", "results"),
        ("[s3]\nregion = 'eu-central-1'", "have no effect"),
        ("results = 's3://bucket'\n[s3]\nendpoint = 'store.example'", "s3.endpoint must be an address"),
        ("results = 's3://bucket'\n[s3]\naccess_key_id = 'x'", "both s3.access_key_id and s3.secret_access_key"),
        ("[links]\nbase_url = 'pictures.example.org'", "links.base_url must be an address"),
        ("[links]\nlifetime_minutes = 0", "links.lifetime_minutes"),
    ],
)
def test_a_wrong_option_is_named(tmp_path: Path, toml: str, message: str) -> None:
    (tmp_path / "omixa.toml").write_text(toml)
    refused = Omixa(tmp_path, {}).run("config", "check")
    assert (refused.returncode, refused.stdout) == (EXIT_CONFIG, "")
    assert message in refused.stderr


def test_the_store_is_told_and_its_secret_is_not(tmp_path: Path) -> None:
    (tmp_path / "omixa.toml").write_text(
        "results = 's3://bucket/pictures'\n"
        "[s3]\nendpoint = 'https://s3.example.org'\naccess_key_id = 'name'\nsecret_access_key = 'unheardof'\n"
    )
    told = Omixa(tmp_path, {})("config", "check")
    assert "s3://bucket/pictures" in told
    assert "unheardof" not in told
