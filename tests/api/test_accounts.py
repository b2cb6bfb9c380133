"""Accounts at providers that operators store by the command line, beside servers that run, on both databases."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from omixa.config import Settings
from omixa.domain.access import Secret
from omixa.domain.accounts import ProviderAccount
from omixa.services import open_back_office
from tests.support.commands import Omixa, Server
from tests.support.faults import eventually
from tests.support.identity import HEADER, IdentityEndpoint, running_identity_endpoint
from tests.support.servers import SIMULATOR_API_KEY, Simulator, running_simulator

MODEL = "MAI-Image-2.5"
BODY = {"model": MODEL, "prompt": "A red kite over a stubble field at dusk"}
EXIT_CONFIG = 78
SIGKILL_CODE = -9


@pytest.fixture(scope="module")
def first() -> Iterator[Simulator]:
    with running_simulator() as simulator:
        yield simulator


@pytest.fixture(scope="module")
def second() -> Iterator[Simulator]:
    with running_simulator() as simulator:
        yield simulator


@pytest.fixture
def omixa(tmp_path: Path) -> Omixa:
    return Omixa(tmp_path, {"OMIXA_DATA_DIR": str(tmp_path / "data"), "KEY_OF_SWEDEN": SIMULATOR_API_KEY})


@pytest.fixture(params=["sqlite", "postgresql"])
def either(request: pytest.FixtureRequest, omixa: Omixa) -> Iterator[Omixa]:
    """The command on each of the databases."""
    if request.param == "sqlite":
        yield omixa
        return
    cluster = request.getfixturevalue("cluster")
    with cluster.database() as name:
        yield omixa.with_variables(OMIXA_DATABASE=cluster.address(name))


def add(omixa: Omixa, name: str, simulator: Simulator, *options: str) -> None:
    told = omixa("accounts", "add", name, "--endpoint", simulator.url, "--api-key-env", "KEY_OF_SWEDEN", *options)
    assert told.startswith(f"{name} is stored.")


def buyer(omixa: Omixa) -> str:
    omixa("credits", "grant", "--mode", "live", "--amount", "25", "--reason", "test")
    return omixa("keys", "create", "--mode", "live")


def health(omixa: Omixa, server: Server) -> dict[str, str]:
    """Return how the stored deployments of the model do, by account."""
    rows = omixa.json("routes", "show", "--server", server.url)["data"]
    return {
        row["route"].partition("/")[0]: row["health"]
        for row in rows
        if row["model"] == MODEL and "live" in row["modes"]
    }


def test_a_running_server_serves_from_what_is_stored(either: Omixa, first: Simulator, second: Simulator) -> None:
    omixa, key = either.with_variables(WRONG_KEY="a-key-of-somebody-else"), buyer(either)
    with omixa.serving("serve", "--port", "0") as server, server.client(key) as client:

        def make() -> tuple[int, str | None]:
            answer = client.post("/api/v1/images/generations", json={**BODY, "prompt": secrets.token_hex(8)})
            return answer.status_code, answer.json().get("omixa", {}).get("route")

        def known(**expected: str) -> None:
            """Wait until the running server has these accounts and no others."""

            def found() -> dict[str, str]:
                routes = client.get("/api/v1/routes").json()["data"]
                return {one["route"].partition("/")[0]: one["health"] for one in routes if one["model"] == MODEL}

            with contextlib.suppress(AssertionError):
                eventually(lambda: found() == expected)
            assert found() == expected, server.log

        refused = client.post("/api/v1/images/generations", json=BODY)
        assert (refused.status_code, "omixa accounts add" in refused.text) == (503, True)
        add(omixa, "sweden", first)
        known(sweden="closed")
        assert make() == (200, f"sweden/{MODEL}")

        add(omixa, "norway", second, "--priority", "1")
        known(sweden="closed", norway="closed")
        omixa("accounts", "change", "sweden", "--api-key-env", "WRONG_KEY")
        eventually(lambda: make() == (200, f"norway/{MODEL}"))
        known(sweden="disabled", norway="closed")
        # What was learned of an account stays while others change, and while it keeps its credential.
        omixa("accounts", "change", "norway", "--weight", "7")
        omixa("accounts", "change", "sweden", "--region", "swedencentral")
        eventually(lambda: "swedencentral" in omixa("routes", "show", "--server", server.url))
        known(sweden="disabled", norway="closed")
        omixa("accounts", "change", "sweden", "--api-key-env", "KEY_OF_SWEDEN")
        known(sweden="closed", norway="closed")
        assert make() == (200, f"sweden/{MODEL}")

        omixa("accounts", "disable", "sweden")
        known(norway="closed")
        assert make() == (200, f"norway/{MODEL}")
        omixa("accounts", "enable", "sweden")
        known(sweden="closed", norway="closed")
        assert omixa("routes", "test", MODEL, "--route", "sweden").count("ok") == 1
        printed = [omixa("accounts", "list"), omixa("accounts", "show", "sweden"), omixa("config", "check")]
        omixa("accounts", "remove", "sweden")
        omixa("accounts", "remove", "norway")
        known()
        assert make()[0] == 503
        assert server.stop() == 0
    told = [*printed, server.log]
    assert [text for text in told if SIMULATOR_API_KEY in text or "a-key-of-somebody-else" in text] == []
    assert "accounts.changed" in server.log
    assert omixa("ledger", "verify")


def test_keys_are_typed_and_never_an_argument(omixa: Omixa, first: Simulator) -> None:
    told = omixa.run("accounts", "add", "sweden", "--endpoint", first.url, typed=f"{SIMULATOR_API_KEY}\n")
    assert (told.returncode, SIMULATOR_API_KEY in told.stdout + told.stderr) == (0, False)
    key = omixa.directory / "data" / "credentials.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert len(key.read_text().strip()) == 64
    (shown,) = omixa.json("accounts", "list")
    assert (shown["name"], shown["fingerprint"], shown["enabled"], shown["problem"]) == (
        "sweden",
        "72f0f2ce",
        True,
        None,
    )
    moved = omixa.run("accounts", "change", "sweden", "--endpoint", "https://elsewhere.example")
    assert (moved.returncode, "give the key again" in moved.stderr) == (1, True)
    moved = omixa.run(
        "accounts", "change", "sweden", "--endpoint", "https://elsewhere.example", "--new-key", typed="k\n"
    )
    assert moved.returncode == 0
    for wrong in (
        ("add", "norway", "--endpoint", first.url, "--api-key", "k"),
        ("add", "norway", "--endpoint", first.url, "--api-key-env", "NOT_THERE"),
        ("add", "norway", "--endpoint", first.url),
        ("add", "norway", "--endpoint", "x", "--api-key-env", "KEY_OF_SWEDEN"),
        ("change", "sweden"),
        ("show", "nobody"),
        ("rewrap",),
        ("rewrap", "--old-key-file", str(omixa.directory / "nowhere")),
    ):
        refused = omixa.run("accounts", *wrong)
        assert refused.returncode in (1, 2), wrong
        assert len(refused.stderr) > 20
        assert "Traceback" not in refused.stderr
    assert [row["name"] for row in omixa.json("accounts", "list")] == ["sweden"]


@contextlib.contextmanager
def rows(omixa: Omixa) -> Iterator[sqlite3.Connection]:
    """Open the database behind everybody's back."""
    with contextlib.closing(sqlite3.connect(omixa.directory / "data" / "omixa.db")) as connection, connection:
        yield connection


def test_a_server_starts_with_a_row_that_was_changed_by_hand_and_does_not_use_it(
    omixa: Omixa, first: Simulator, second: Simulator
) -> None:
    add(omixa, "sweden", first)
    add(omixa, "norway", second, "--priority", "1")
    with rows(omixa) as connection:
        connection.execute("UPDATE provider_account SET endpoint = ? WHERE name = 'sweden'", (second.url,))
    calls = len(second.log())
    with omixa.serving("serve", "--port", "0") as server, server.client(buyer(omixa)) as client:
        assert health(omixa, server) == {"sweden": "disabled", "norway": "closed"}
        shown = {row["route"]: row for row in omixa.json("routes", "show", "--server", server.url)["data"]}
        assert shown[f"sweden/{MODEL}"]["reason"] == "credential_unreadable"
        # There is nothing that it could be enabled with.
        omixa("routes", "enable", "sweden", "--server", server.url)
        assert health(omixa, server)["sweden"] == "disabled"
        made = client.post("/api/v1/images/generations", json=BODY)
        assert (made.status_code, made.json()["omixa"]["route"]) == (200, f"norway/{MODEL}")
        assert len(second.log()) == calls + 1
        server.stop()
        assert server.log.count("account.unusable") == 1
    problems = {row["name"]: row["problem"] for row in omixa.json("accounts", "list")}
    assert problems["norway"] is None
    assert "changed after it was sealed" in problems["sweden"]


def test_another_master_key_opens_nothing_and_stops_no_server(omixa: Omixa, first: Simulator) -> None:
    add(omixa, "sweden", first)
    other = omixa.with_variables(OMIXA_CREDENTIALS_KEY=secrets.token_hex(32))
    with other.serving("serve", "--port", "0") as server:
        assert health(other, server) == {"sweden": "disabled"}
    assert "was sealed with the key" in other.json("accounts", "list")[0]["problem"]
    options = {option["name"]: option["value"] for option in other.json("config", "check")}
    assert options["credentials_key"] == "***"
    for text, named in (("short", "32 bytes"), ("é" * 44, "32 bytes")):
        refused = omixa.with_variables(OMIXA_CREDENTIALS_KEY=text).run("config", "check")
        assert (refused.returncode, named in refused.stderr, text in refused.stderr) == (EXIT_CONFIG, True, False)
    key = omixa.directory / "data" / "credentials.key"
    key.write_text("damaged")
    refused = omixa.run("serve", "--port", "0")
    assert (refused.returncode, "credentials.key" in refused.stderr, "Traceback" in refused.stderr) == (
        EXIT_CONFIG,
        True,
        False,
    )


# ------------------------------------------------------------------------------------------------------------- rewrapping

# Dies, as by kill -9, when it has wrapped so many keys again and has not yet committed.
_DIES = """
import os, signal, sys
from omixa.access import provider_accounts
from omixa.cli import main
wrap, left = provider_accounts.rewrap_account, [{0}]
def dying(*arguments):
    done = wrap(*arguments)
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    return done
provider_accounts.rewrap_account = dying
main()
"""


def fill(omixa: Omixa, count: int) -> None:
    async def main() -> None:
        async with open_back_office(Settings(data_dir=omixa.variables["OMIXA_DATA_DIR"])) as office:
            for number in range(count):
                account = ProviderAccount(
                    f"a{number}", endpoint="https://x.example", credential=Secret(f"key-{number}")
                )
                await office.accounts.add(account, actor="test")

    asyncio.run(main())


def key_ids(omixa: Omixa) -> set[str]:
    with rows(omixa) as connection:
        return {row[0] for row in connection.execute("SELECT key_id FROM provider_account")}


def test_rewrapping_that_is_cut_off_has_done_nothing_and_is_run_again(omixa: Omixa) -> None:
    fill(omixa, 5)
    before = key_ids(omixa)
    data = Path(omixa.variables["OMIXA_DATA_DIR"])
    old = data / "credentials.old"
    (data / "credentials.key").rename(old)
    command = ("accounts", "rewrap", "--old-key-file", str(old))
    for count in (1, 3, 5):
        done = subprocess.run(
            [sys.executable, "-c", _DIES.format(count), *command],
            cwd=omixa.directory,
            env=omixa._environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == SIGKILL_CODE, done
        assert key_ids(omixa) == before
    assert omixa(*command) == "5 stored keys are under the new master key."
    assert key_ids(omixa).isdisjoint(before)
    assert omixa(*command) == "0 stored keys are under the new master key."
    assert [row["problem"] for row in omixa.json("accounts", "list")] == [None] * 5
    old.unlink()
    # From the file to a variable, as when a store of secrets takes over.
    new = secrets.token_hex(32)
    moved = omixa.with_variables(OMIXA_CREDENTIALS_KEY=new)
    wrong = moved.with_variables(OLD=secrets.token_hex(32)).run("accounts", "rewrap", "--old-key-env", "OLD")
    assert (wrong.returncode, "Nothing was changed" in wrong.stderr) == (1, True)
    assert moved("accounts", "rewrap", "--old-key-file", str(data / "credentials.key")).startswith("5 ")
    assert [row["problem"] for row in moved.json("accounts", "list")] == [None] * 5
    assert new not in json.dumps(moved.json("config", "check"))


# ---------------------------------------------------------------------------------------------------------- Entra's tokens


@pytest.fixture
def identity() -> Iterator[IdentityEndpoint]:
    with running_identity_endpoint() as endpoint:
        endpoint.token = SIMULATOR_API_KEY
        yield endpoint


def balance(client: Any) -> tuple[str, str]:
    told = client.get("/api/v1/balance").json()
    return told["posted"], told["held"]


@pytest.mark.parametrize("where", ["omixa.toml", "foundry", "stored"])
def test_an_account_without_a_key_is_called_with_a_token(
    omixa: Omixa, first: Simulator, identity: IdentityEndpoint, where: str
) -> None:
    omixa = omixa.with_variables(**identity.variables, OMIXA_LOG_LEVEL="debug")
    name = "foundry" if where == "foundry" else "azure"
    if where == "stored":
        omixa("accounts", "add", name, "--endpoint", first.url, "--auth", "entra")
    else:
        table = "[foundry]" if where == "foundry" else "[[deployments]]\nname = 'azure'"
        (omixa.directory / "omixa.toml").write_text(f"{table}\nendpoint = '{first.url}'\nauth = 'entra'\n")
    first.play("")
    calls = len(first.log())
    with omixa.serving("serve", "--port", "0") as server, server.client(buyer(omixa)) as client:
        # While nobody gives tokens, nothing is sent, nothing is charged, and the route is not taken out of use.
        identity.status = 503
        refused = client.post("/api/v1/images/generations", json=BODY)
        assert (refused.status_code, refused.json()["error"]["code"]) == (502, "provider_unreachable")
        assert (len(first.log()), balance(client)) == (calls, ("25.000000", "0.000000"))
        assert health(omixa, server) == {name: "closed"}
        identity.status = 200
        made = client.post("/api/v1/images/generations", json={**BODY, "prompt": "two"})
        assert (made.status_code, made.json()["omixa"]["route"]) == (200, f"{name}/{MODEL}")
        made = client.post("/api/v1/images/generations", json={**BODY, "prompt": "three"})
        assert (made.status_code, len(first.log()), identity.given) == (200, calls + 2, 1)
        assert omixa("routes", "test", MODEL).count("ok") == 1
        server.stop()
    assert [secret for secret in (SIMULATOR_API_KEY, HEADER) if secret in server.log] == []


def test_an_identity_that_is_refused_takes_the_account_out_of_use(
    omixa: Omixa, first: Simulator, identity: IdentityEndpoint
) -> None:
    omixa = omixa.with_variables(**identity.variables)
    omixa("accounts", "add", "azure", "--endpoint", first.url, "--auth", "entra")
    identity.status = 400
    first.play("")
    calls = len(first.log())
    with omixa.serving("serve", "--port", "0") as server, server.client(buyer(omixa)) as client:
        refused = client.post("/api/v1/images/generations", json=BODY)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "provider_unavailable")
        assert (len(first.log()), balance(client)) == (calls, ("25.000000", "0.000000"))
        assert health(omixa, server) == {"azure": "disabled"}
        identity.status = 200
        omixa("routes", "enable", "azure", "--server", server.url)
        assert client.post("/api/v1/images/generations", json={**BODY, "prompt": "two"}).status_code == 200
        server.stop()
    assert "route.disabled" in server.log


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("endpoint = 'https://x.example'\nauth = 'entra'\napi_key = 'k'", 'auth = "entra" and none of them'),
        ("provider = 'openai'\nauth = 'entra'", "openai does not take tokens of Microsoft Entra"),
        ("endpoint = 'https://x.example'\nauth = 'kerberos'\napi_key = 'k'", "auth"),
    ],
)
def test_a_mistaken_kind_of_credential_is_named(omixa: Omixa, toml: str, message: str) -> None:
    (omixa.directory / "omixa.toml").write_text(f"[[deployments]]\nname = 'a'\n{toml}\n")
    refused = omixa.run("serve", "--port", "0")
    assert (refused.returncode, message in refused.stderr) == (EXIT_CONFIG, True), refused.stderr
