"""People by the command line: the first link in the terminal, invitations, and keys that end."""

from __future__ import annotations

import re
from pathlib import Path

import httpx2 as httpx
import pytest

from tests.support.commands import Omixa, Server
from tests.support.console import PASSWORD, Browser, text_of

WELCOME = re.compile(r"(http://127\.0\.0\.1:\d+)(/welcome/[\w-]{43})\n")


@pytest.fixture
def omixa(tmp_path: Path) -> Omixa:
    return Omixa(tmp_path, {"OMIXA_DATA_DIR": str(tmp_path / "data")})


def way_in(text: str) -> str:
    """Return the way of the only link in a text."""
    ((_, way),) = WELCOME.findall(text)
    return str(way)


def use(server: Server, way: str, client: httpx.Client) -> httpx.Response:
    return Browser(client, server.url).post(way, way, password=PASSWORD, again=PASSWORD)


def test_the_first_start_prints_a_link_and_a_start_with_an_owner_prints_none(omixa: Omixa) -> None:
    with omixa.serving("serve", "--port", "0") as server, server.client(None) as client:
        # The link is written with the last lines of the start, so wait for the server to answer and then to stop.
        assert client.get("/readyz").status_code == 200
        made = way_in(omixa("users", "link") + "\n")
        assert use(server, made, client).status_code == 303
        assert client.get("/console/default/live").status_code == 200
        assert client.get(made).status_code == 403
        assert server.stop() == 0
        first = way_in(server.log)
        assert server.log.index("the owner sets a password here") < server.log.index(first)
    with omixa.serving("serve", "--port", "0") as server, server.client(None) as client:
        # Setting a password has made the other link useless.
        assert client.get(first).status_code == 403
        signed_in = Browser(client, server.url).post("/sign-in", "/sign-in", name="owner", password=PASSWORD)
        assert signed_in.status_code == 303
        server.stop()
        assert not WELCOME.search(server.log)
        assert f"console     {server.url}/console" in server.log
        assert PASSWORD not in server.log


def test_people_are_invited_listed_and_removed(omixa: Omixa) -> None:
    assert omixa.run("users", "invite", "ada", "--workspace", "nowhere").returncode == 1
    way = way_in(omixa("users", "invite", "Ada@Example.org", "--role", "billing") + "\n")
    (listed,) = omixa.json("users", "list")
    del listed["since"]
    waits = {
        "name": "ada@example.org",
        "workspace": "default",
        "role": "billing",
        "operator": "no",
        "password": "waits",
        "sessions": 0,
    }
    assert listed == waits
    with omixa.serving("serve", "--port", "0") as server, server.client(None) as client:
        # An owner is still missing, so there is a link for one too.
        assert use(server, way, client).status_code == 303
        page = client.get("/console/default/live")
        assert "ada@example.org, billing" in text_of(page.text)
        changed = omixa("users", "invite", "ada@example.org", "--role", "viewer")
        assert changed == "ada@example.org is viewer of default and signs in as before."
        assert "ada@example.org, viewer" in text_of(client.get("/console/default/live").text)
        assert {row["name"]: row["password"] for row in omixa.json("users", "list")} == {
            "ada@example.org": "set",
            "owner": "waits",
        }
        removed = omixa("users", "remove", "ada@example.org")
        assert removed == "ada@example.org does not belong to default any more."
        assert client.get("/console/default/live").status_code == 303
    assert [row["name"] for row in omixa.json("users", "list")] == ["owner"]
    assert omixa.run("users", "remove", "ada@example.org").returncode == 1
    assert omixa.run("users", "link", "nobody").returncode == 1


def test_who_runs_the_gateway_is_said_where_it_runs(omixa: Omixa) -> None:
    assert omixa.run("users", "operator", "ada@example.org").returncode == 1
    omixa("users", "link")
    omixa("users", "invite", "ada@example.org", "--role", "viewer")
    assert {row["name"]: row["operator"] for row in omixa.json("users", "list")} == {
        "ada@example.org": "no",
        "owner": "yes",
    }
    last = omixa.run("users", "operator", "owner", "--remove")
    assert (last.returncode, "the only operator" in last.stderr) == (1, True)
    assert omixa("users", "operator", "Ada@example.org") == "ada@example.org runs this gateway."
    assert omixa("users", "operator", "owner", "--remove") == "owner does not run this gateway any more."
    removed = omixa.run("users", "remove", "ada@example.org")
    assert (removed.returncode, "the only operator" in removed.stderr) == (1, True)
    with omixa.serving("serve", "--port", "0") as server, server.client(omixa("users", "token")) as client:
        entries = client.get("/api/v1/operator/audit?action=operator.made").json()["data"]
        assert [entry["details"]["name"] for entry in entries] == ["ada@example.org", "owner"]
        assert client.get("/api/v1/balance").status_code == 401


def test_keys_have_a_last_day_and_are_rolled(omixa: Omixa) -> None:
    made = omixa.json("keys", "create", "--mode", "test", "--name", "site", "--expires", "2999-12-31")
    (listed,) = omixa.json("keys", "list")
    assert listed["expires"] == "3000-01-01T00:00:00.000Z"
    past = omixa.run("keys", "create", "--mode", "test", "--expires", "2020-01-01")
    assert (past.returncode, "Choose a later day" in past.stderr) == (1, True)
    with omixa.serving("serve", "--port", "0") as server:
        new = omixa("keys", "roll", made["id"])
        for key in (made["key"], new):
            with server.client(key) as client:
                assert client.get("/api/v1/balance").status_code == 200
        newest = omixa("keys", "roll", omixa.json("keys", "list")[-1]["id"], "--overlap-hours", "0")
        statuses = []
        for key in (made["key"], new, newest):
            with server.client(key) as client:
                statuses.append(client.get("/api/v1/balance").status_code)
        assert statuses == [200, 401, 200]
    assert {row["name"] for row in omixa.json("keys", "list")} == {"site"}


def test_a_key_that_manages_is_made_for_somebody_who_may_give_it(omixa: Omixa) -> None:
    omixa("users", "invite", "ada@example.org", "--role", "admin")
    omixa("users", "invite", "bob@example.org", "--role", "developer")
    create = ("keys", "create", "--mode", "live")
    for wrong, told in (
        (("--scope", "manage_keys"), "go together"),
        (("--for", "ada@example.org"), "go together"),
        (("--scope", "everything", "--for", "ada@example.org"), "manage_members"),
        (("--scope", "manage_keys", "--for", "bob@example.org"), "acts for an owner or an admin"),
        (("--scope", "manage_keys", "--for", "nobody"), "acts for an owner or an admin"),
        (("--scope", "manage_keys", "--for", "ada@example.org", "--budget-day", "5"), "makes no pictures"),
    ):
        answer = omixa.run(*create, *wrong)
        assert (answer.returncode != 0, told in answer.stderr) == (True, True), answer.stderr
    assert omixa.json("keys", "list") == []
    omixa(*create, "--scope", "manage_keys", "--scope", "manage_alerts", "--for", "Ada@Example.org")
    omixa(*create)
    assert sorted(row["scopes"] for row in omixa.json("keys", "list")) == ["", "manage_keys manage_alerts"]
    # Whoever leaves takes it along.
    omixa("users", "remove", "ada@example.org")
    assert [bool(row["revoked"]) for row in omixa.json("keys", "list") if row["scopes"]] == [True]
