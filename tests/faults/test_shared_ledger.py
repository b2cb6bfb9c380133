"""Several gateways on one PostgreSQL: one ledger, one directory of results, and none of them needs the others."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import httpx2 as httpx
import pytest

from omixa.config import DatabaseAddress
from tests.support.faults import CREATE, MODEL, eventually
from tests.support.postgres import Cluster
from tests.support.relay import running_relay
from tests.support.servers import Simulator, running_gateway
from tests.support.serving import ServerProcess, findings, open_account, run_omixa, serving

CEILING = 34_900
PASSWORD = "ne-quid-nimis"


@dataclass
class Shared:
    """Where several gateways meet."""

    data_dir: Path
    cluster: Cluster
    name: str

    @property
    def database(self) -> str:
        """Return the address with a password, which a cluster that trusts everybody does not look at."""
        return self.cluster.address(self.name).replace("@", f":{PASSWORD}@")

    def omixa(self, *arguments: str) -> str:
        done = run_omixa(*arguments, data_dir=self.data_dir, database=self.database)
        assert done.returncode == 0, done
        assert PASSWORD not in done.stdout + done.stderr
        return done.stdout

    def nodes(self) -> dict[str, int]:
        return {row["id"]: row["epoch"] for row in self.cluster.execute("SELECT * FROM node", self.name)}


@pytest.fixture
def shared(cluster: Cluster, tmp_path: Path) -> Iterator[Shared]:
    with cluster.database(empty=True) as name:
        found = Shared(tmp_path / "data", cluster, name)
        yield found
        assert findings(found.data_dir, database=found.database) == ()


@contextlib.contextmanager
def gateways(shared: Shared, provider: Simulator, number: int) -> Iterator[Sequence[ServerProcess]]:
    """Run several at a time; they find an empty database and migrate it."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(serving(shared.data_dir, provider.url, database=shared.database)) for _ in range(number)
        ]


async def ask(server: ServerProcess, key: str, prompt: str = "a red kite") -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(
        base_url=server.url, headers=headers, timeout=60, trust_env=False, verify=False
    ) as client:
        return await client.post(CREATE, json={"model": MODEL, "prompt": prompt})


async def ask_many(servers: Sequence[ServerProcess], key: str, number: int) -> Sequence[httpx.Response]:
    return await asyncio.gather(*(ask(servers[n % len(servers)], key, f"a red kite {n}") for n in range(number)))


def test_a_ledger_on_postgresql_from_the_first_command_to_the_verification(shared: Shared, foundry: Simulator) -> None:
    key = shared.omixa("keys", "create", "--mode", "test").strip()
    assert PASSWORD not in shared.omixa("config", "check")
    assert f"postgresql://omixa@127.0.0.1:{shared.cluster.port}/{shared.name}" in shared.omixa("config", "check")
    with gateways(shared, foundry, 1) as (server,):
        answer = asyncio.run(ask(server, key)).json()
        request_id = answer["omixa"]["request_id"]
        headers = {"authorization": f"Bearer {key}"}
        with httpx.Client(base_url=f"{server.url}/api/v1", headers=headers, trust_env=False, verify=False) as client:
            assert client.get(f"/requests/{request_id}/result").json() == answer
            assert client.get(f"/requests/{request_id}").json()["billed_amount"] == "0.033900"
            assert client.get("/balance").json()["available"] == "999.966100"
            (row,) = client.get("/usage/requests", params={"model": MODEL}).json()["data"]
            assert row["id"] == request_id
            (day,) = client.get("/usage/rollups", params={"group_by": "model"}).json()["data"]
            assert (day["requests"], day["billed_amount"]) == (1, "0.033900")
            # PostgreSQL's text knows no NUL; what is asked for is not there, and that is all.
            assert client.get("/usage/requests", params={"model": "\0"}).json()["data"] == []
    assert f"ledger      postgresql://omixa@127.0.0.1:{shared.cluster.port}/{shared.name}" in server.log
    assert PASSWORD not in server.log
    assert json.loads(shared.omixa("ledger", "verify", "--json"))["clean"]
    assert request_id in shared.omixa("usage", "list", "--mode", "test")
    assert request_id in shared.omixa("usage", "show", request_id)


@pytest.mark.parametrize("covered", [0, 5])
def test_of_many_requests_to_two_gateways_exactly_those_are_served_that_the_credit_covers(
    shared: Shared, foundry: Simulator, covered: int
) -> None:
    foundry.play("")
    # A little more than the highest price of each, and less than that of one more.
    credit = covered * 36_000 + 1
    key = open_account(shared.data_dir, credit, database=shared.database)
    with gateways(shared, foundry, 2) as servers:
        answers = asyncio.run(ask_many(servers, key, 16))
    assert sorted(answer.status_code for answer in answers) == [200] * covered + [402] * (16 - covered)
    billed = [Decimal(answer.json()["usage"]["billed_amount"]) for answer in answers if answer.status_code == 200]
    assert _live_account(shared) == (credit - sum(billed) * 10**6, 0)


def test_a_key_that_one_process_revokes_spends_nothing_at_another(shared: Shared, foundry: Simulator) -> None:
    key = shared.omixa("keys", "create", "--mode", "test").strip()
    with gateways(shared, foundry, 1) as (server,):
        assert asyncio.run(ask(server, key)).status_code == 200
        (row,) = json.loads(shared.omixa("keys", "list", "--json"))
        shared.omixa("keys", "revoke", row["id"])
        refused = asyncio.run(ask(server, key))
        assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")


def test_each_gateway_has_a_name_and_takes_it_again_after_it_was_killed(shared: Shared, foundry: Simulator) -> None:
    foundry.play("slow=5")
    key = open_account(shared.data_dir, 10**7, database=shared.database)
    host = socket.gethostname()
    with gateways(shared, foundry, 2) as (first, second):
        assert shared.nodes() == {host: 1, f"{host}-2": 1}

        async def kill_while_it_works() -> None:
            before = len(foundry.log())
            asking = asyncio.ensure_future(ask(first, key))
            await asyncio.to_thread(eventually, lambda: len(foundry.log()) > before)
            first.kill()
            with pytest.raises(httpx.HTTPError):
                await asking

        asyncio.run(kill_while_it_works())
        foundry.play("")
        # The other one goes on, and leaves the hold of the dead one alone until that has been silent for long.
        assert asyncio.run(ask(second, key)).status_code == 200
        assert _live_account(shared)[1] == CEILING
        with gateways(shared, foundry, 1) as (again,):
            assert shared.nodes() == {host: 2, f"{host}-2": 1}
            assert _live_account(shared)[1] == 0
            assert asyncio.run(ask(again, key)).status_code == 200


def _live_account(shared: Shared) -> tuple[int, int]:
    """Return what is posted and held of the one workspace."""
    (row,) = shared.cluster.execute(
        "SELECT posted, held FROM account WHERE mode = 'live' AND kind = 'workspace'", shared.name
    )
    return row["posted"], row["held"]


def test_a_directory_with_another_ledgers_results_is_refused(shared: Shared) -> None:
    shared.omixa("keys", "list")
    other = run_omixa("keys", "list", data_dir=shared.data_dir)
    assert other.returncode == 78
    assert "another ledger" in other.stderr


def test_without_its_database_a_gateway_admits_nothing_and_asks_no_provider(shared: Shared, foundry: Simulator) -> None:
    foundry.play("")
    key = open_account(shared.data_dir, 10**7, database=shared.database)
    with running_relay(shared.cluster.port) as relay:
        address = DatabaseAddress(shared.cluster.address(shared.name, relay.port))
        with running_gateway(shared.data_dir, foundry, database=address) as gateway, gateway.client(key) as client:
            body = {"model": MODEL, "prompt": "a red kite"}
            assert client.post(CREATE, json=body).status_code == 200
            calls = len(foundry.log())
            relay.refuses = True
            shared.cluster.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()",
                shared.name,
            )
            refused = client.post(CREATE, json=body)
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "ledger_unavailable")
            assert "retry-after" in refused.headers
            ready = client.get("/readyz")
            assert (ready.status_code, ready.json()["status"]) == (503, "failed")
            assert client.get("/healthz").status_code == 200
            assert len(foundry.log()) == calls
            relay.refuses = False
            eventually(lambda: client.get("/readyz").status_code == 200)
            eventually(lambda: client.post(CREATE, json=body).status_code == 200)


@pytest.mark.parametrize("address", ["postgresql://omixa:ne-quid-nimis@127.0.0.1:1/none", "postgresql:nowhere"])
def test_a_database_that_is_not_there_ends_a_command_with_a_message(tmp_path: Path, address: str) -> None:
    done = run_omixa("keys", "list", data_dir=tmp_path, database=address)
    assert done.returncode in {os.EX_IOERR, os.EX_CONFIG}
    assert "Traceback" not in done.stderr
    assert PASSWORD not in done.stderr
