"""PostgreSQL that fails: connections killed, a server that stops at once, answers to commits that are lost.

In every case a caller is told the truth, nothing is done twice, and every invariant holds afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import bindparam, func, select

from omixa.billing import ledger
from omixa.billing.ledger import Balance
from omixa.domain.ids import new_id
from omixa.errors import LedgerUnavailable, OmixaError, SettlementUnavailable
from omixa.gateway.settlement import NodeIdentity
from omixa.storage.database import Database, Transaction
from omixa.storage.postgres import PostgresBackend
from omixa.storage.statements import insert_into
from omixa.storage.tables import node, request
from tests.support.ledger import (
    ONE_PICTURE,
    DiskLedger,
    a_call,
    a_hold,
    a_record,
    a_result,
    disk_ledger,
    succeeded,
)
from tests.support.places import PostgresPlace, postgres_place
from tests.support.postgres import Cluster, running_cluster, why_not
from tests.support.relay import Relay, running_relay

CREDIT = 10**9
PRICE = 33_900
HOLD = 50_000
_state = select(request.c.state).where(request.c.id == bindparam("request_id"))
_captured = select(func.count().label("n")).where(request.c.state == "captured")

_KILL_OTHERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


@pytest.fixture
def on_postgres(cluster: Cluster) -> Iterator[PostgresPlace]:
    with postgres_place(cluster) as place:
        yield place


@pytest.fixture
def relay(cluster: Cluster) -> Iterator[Relay]:
    with running_relay(cluster.port) as running:
        yield running


@pytest.fixture
def disk(tmp_path: Path, on_postgres: PostgresPlace, relay: Relay, cluster: Cluster) -> Iterator[DiskLedger]:
    """A ledger that reaches its database through the relay."""
    database = on_postgres.address.rpartition("/")[2].partition("?")[0]
    with disk_ledger(tmp_path, PostgresPlace(cluster.address(database, relay.port)), credit=CREDIT) as opened:
        yield opened
        eventually(lambda: opened.verify().findings == (), LedgerUnavailable)
        assert opened.fatal == []


def eventually(check: Callable[[], object], *errors: type[Exception], timeout_s: float = 60) -> None:
    """Ask again until it is so; these errors count as no."""
    end = time.monotonic() + timeout_s
    while True:
        with contextlib.suppress(*errors):
            if check():
                return
        assert time.monotonic() < end
        time.sleep(0.01)


def state(disk: DiskLedger, request_id: str) -> str | None:
    row = disk.read(lambda tx: tx.first(_state, request_id=request_id))
    return None if row is None else str(row["state"])


def hold(disk: DiskLedger) -> str:
    return disk.hold(HOLD)[0]


# ------------------------------------------------------------------------------------------------- the answer to a commit


def test_a_commit_whose_answer_is_lost_is_told_as_what_it_is(disk: DiskLedger, relay: Relay) -> None:
    relay.faults.append("unanswered")
    assert state(disk, hold(disk)) == "held"
    assert not relay.faults


def test_a_commit_that_never_arrives_is_told_as_a_failure(disk: DiskLedger, relay: Relay) -> None:
    request_id = new_id("req")
    relay.faults.append("lost")
    with pytest.raises(LedgerUnavailable, match="Nothing was charged"):
        disk.hold(HOLD, request_id=request_id)
    assert state(disk, request_id) is None
    assert disk.balance().held == 0
    assert state(disk, hold(disk)) == "held"


def test_a_commit_that_arrives_late_is_waited_for(disk: DiskLedger, relay: Relay, cluster: Cluster) -> None:
    """Who asks too early must not hear "no": the commit is still on its way."""
    relay.faults.append("late")
    request_id = new_id("req")

    async def race() -> None:
        holding = asyncio.ensure_future(
            disk.settlement.authorise(a_hold(disk.customer, request_id, HOLD, disk.node), [a_call(request_id)])
        )
        await asyncio.to_thread(eventually, lambda: _waits_for_a_lock(cluster))
        assert not holding.done()
        relay.let_arrive.set()
        await holding

    disk.call(race())
    assert state(disk, request_id) == "held"


def _waits_for_a_lock(cluster: Cluster) -> bool:
    rows = cluster.execute("SELECT count(*) AS n FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
    return bool(rows[0]["n"])


def test_a_capture_whose_answer_is_lost_is_charged_once_and_told(disk: DiskLedger, relay: Relay) -> None:
    request_id, call = disk.hold(HOLD)
    relay.faults.append("unanswered")
    record = a_record(disk.customer, request_id, ONE_PICTURE, HOLD)
    disk.call(disk.settlement.capture(record, a_result(request_id), [succeeded(call)]))
    assert state(disk, request_id) == "captured"
    with pytest.raises(SettlementUnavailable):
        disk.call(disk.settlement.capture(record, a_result(request_id), [succeeded(call)]))
    assert disk.balance().posted == CREDIT - record.amount_micro_usd


def test_while_an_outcome_is_unknown_nobody_else_waits_for_it(disk: DiskLedger, relay: Relay) -> None:
    async def race() -> tuple[str | None, str]:
        relay.faults.append("unanswered")
        relay.refuses = True
        first = asyncio.ensure_future(one_hold(disk))
        await asyncio.to_thread(eventually, lambda: not relay.faults)
        second = await one_hold(disk)
        assert not first.done()
        relay.refuses = False
        return await first, str(second)

    assert disk.call(race()) == (None, "ledger_unavailable")


async def one_hold(disk: DiskLedger) -> str | None:
    """Try to hold; return None or the error's code."""
    request_id = new_id("req")
    try:
        await disk.settlement.authorise(a_hold(disk.customer, request_id, HOLD, disk.node), [a_call(request_id)])
    except OmixaError as error:
        return error.code
    return None


def test_a_database_that_closes_with_an_outcome_unknown_says_so(disk: DiskLedger, relay: Relay) -> None:
    async def race() -> None:
        relay.faults.append("lost")
        relay.refuses = True
        holding = asyncio.ensure_future(
            disk.settlement.authorise(a_hold(disk.customer, new_id("req"), HOLD, disk.node), [])
        )
        await asyncio.to_thread(eventually, lambda: not relay.faults)
        await asyncio.to_thread(disk.database.close)
        with pytest.raises(LedgerUnavailable, match="not known yet"):
            await holding

    disk.call(race())
    relay.refuses = False
    disk.reopen()


@pytest.mark.parametrize("fault", ["lost", "unanswered"])
def test_many_commits_are_lost_and_every_answer_is_true(disk: DiskLedger, relay: Relay, fault: str) -> None:
    told: dict[str, bool] = {}

    async def one() -> None:
        request_id = new_id("req")
        call = a_call(request_id)
        try:
            await disk.settlement.authorise(a_hold(disk.customer, request_id, HOLD, disk.node), [call])
            record = a_record(disk.customer, request_id, ONE_PICTURE, HOLD)
            await disk.settlement.capture(record, a_result(request_id), [succeeded(call)])
        except OmixaError:
            told[request_id] = False
        else:
            told[request_id] = True

    for number in range(20):
        relay.faults.extend([fault] * (number % 3))  # type: ignore[list-item]
        disk.call(_together(one, 8))
        relay.faults.clear()
    charged = {request_id for request_id in told if state(disk, request_id) == "captured"}
    assert charged == {request_id for request_id, succeeded in told.items() if succeeded}
    assert len(charged) == 20 * 8 if fault == "unanswered" else 0 < len(charged) < 20 * 8


async def _together(work: Callable[[], object], times: int) -> None:
    await asyncio.gather(*(work() for _ in range(times)))  # type: ignore[call-overload]


# ---------------------------------------------------------------------------------------------------- lost connections


def test_killed_connections_come_back(disk: DiskLedger, cluster: Cluster, on_postgres: PostgresPlace) -> None:
    database = on_postgres.address.rpartition("/")[2].partition("?")[0]
    for _ in range(3):
        hold(disk)
        held = disk.balance().held
        cluster.execute(_KILL_OTHERS, database)
        # Nothing was under way on them, so nobody notices.
        hold(disk)
        assert disk.balance().held == held + HOLD


def test_a_connection_whose_driver_has_lost_its_place_is_replaced(
    disk: DiskLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a server that has said goodbye between two statements and has not closed the connection yet."""
    execute, broken = asyncpg.Connection.execute, [True]

    async def execute_once_broken(connection: asyncpg.Connection, *arguments: object, **options: object) -> str:
        if broken:
            broken.clear()
            raise asyncpg.InternalClientError("cannot switch to state 15; another operation (2) is in progress")
        return await execute(connection, *arguments, **options)

    hold(disk)
    monkeypatch.setattr(asyncpg.Connection, "execute", execute_once_broken)
    hold(disk)
    assert not broken


def test_a_connection_killed_inside_a_group_fails_the_group_and_nothing_is_run_twice(
    disk: DiskLedger, cluster: Cluster, on_postgres: PostgresPlace
) -> None:
    database = on_postgres.address.rpartition("/")[2].partition("?")[0]
    runs = 0

    def interrupted(tx: Transaction) -> None:
        nonlocal runs
        runs += 1
        tx.execute(insert_into(node), id="n", epoch=1, heartbeat_at_ms=0)
        cluster.execute(_KILL_OTHERS, database)
        tx.first(_captured)

    with pytest.raises(LedgerUnavailable):
        disk.write(interrupted)
    assert runs == 1
    assert disk.read(lambda tx: tx.all(select(node.c.id).where(node.c.id == "n"))) == []


def test_a_lock_that_another_process_keeps_is_not_waited_for_for_ever(
    disk: DiskLedger, on_postgres: PostgresPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("omixa.storage.postgres.LOCK_TIMEOUT_MS", 200)
    disk.reopen()
    other = Database(PostgresBackend(on_postgres.address), on_fatal=print)
    other.open()
    connection = other.backend.connect(read_only=False)
    other.backend.begin(connection, write=True)
    connection.execute("LOCK TABLE account IN EXCLUSIVE MODE")
    with pytest.raises(LedgerUnavailable):
        disk.hold(HOLD)
    connection.execute("ROLLBACK")
    connection.close()
    other.close()
    hold(disk)


def test_a_transaction_that_is_left_open_loses_its_locks(
    tmp_path: Path, on_postgres: PostgresPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a process that was paused: others go on, and nothing of what it wanted has happened when it wakes up."""
    monkeypatch.setattr("omixa.storage.postgres.IDLE_IN_TRANSACTION_TIMEOUT_MS", 300)
    with disk_ledger(tmp_path, on_postgres, credit=CREDIT) as disk:
        account = disk.customer.account_id
        paused = Database(on_postgres.backend(), on_fatal=print)
        paused.open()

        def pause(tx: Transaction) -> None:
            ledger.grant(tx, account_id=account, mode="live", amount_micro_usd=1, reason="test")
            assert asyncio.run(one_hold(disk)) is None

        with pytest.raises(LedgerUnavailable):
            asyncio.run(paused.write(pause))
        assert disk.balance() == Balance(CREDIT, HOLD)
        assert asyncio.run(paused.write(lambda tx: ledger.balance(tx, account))) == Balance(CREDIT, HOLD)
        paused.close()


def test_the_sweeper_leaves_alone_what_somebody_works_on(disk: DiskLedger, on_postgres: PostgresPlace) -> None:
    lost, other = (disk.hold(HOLD, node=NodeIdentity("nobody", 1))[0] for _ in range(2))
    lock = select(request.c.id).where(request.c.id == lost).with_for_update()
    working, done = threading.Event(), threading.Event()

    def work(tx: Transaction) -> None:
        tx.first(lock)
        working.set()
        done.wait()

    worker = Database(on_postgres.backend(), on_fatal=print)
    worker.open()
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(lambda: asyncio.run(worker.write(work)))
        working.wait()
        disk.sweep()
        assert (state(disk, lost), state(disk, other)) == ("held", "released")
        done.set()
        held.result()
    worker.close()
    disk.sweep()
    assert state(disk, lost) == "released"


# -------------------------------------------------------------------------------------------------------- lost servers


@pytest.fixture
def fragile(tmp_path: Path) -> Iterator[tuple[Cluster, DiskLedger]]:
    """A server of its own that may be stopped, and a ledger in it."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with running_cluster() as cluster:
        cluster.execute("CREATE DATABASE fragile TEMPLATE omixa_empty")
        with disk_ledger(tmp_path, PostgresPlace(cluster.address("fragile")), credit=CREDIT) as disk:
            yield cluster, disk


def test_a_server_that_stops_at_once_loses_nothing_that_was_acknowledged(fragile: tuple[Cluster, DiskLedger]) -> None:
    cluster, disk = fragile
    captured: list[str] = []

    async def one() -> None:
        request_id = new_id("req")
        call = a_call(request_id)
        await disk.settlement.authorise(a_hold(disk.customer, request_id, HOLD, disk.node), [call])
        record = a_record(disk.customer, request_id, ONE_PICTURE, HOLD)
        await disk.settlement.capture(record, a_result(request_id), [succeeded(call)])
        captured.append(request_id)

    async def until_the_server_stops() -> list[str]:
        async def client() -> str:
            try:
                while True:
                    await one()
            except OmixaError as error:
                return error.code

        clients = [asyncio.ensure_future(client()) for _ in range(8)]
        enough = len(captured) + 50
        await asyncio.to_thread(eventually, lambda: len(captured) >= enough)
        await asyncio.to_thread(cluster.stop)
        # An outcome that is unknown is known when the server is back.
        await asyncio.to_thread(cluster.start)
        return await asyncio.gather(*clients)

    for _ in range(3):
        codes = disk.call(until_the_server_stops())
        assert set(codes) <= {"ledger_unavailable", "settlement_unavailable"}
        eventually(disk.balance, LedgerUnavailable)
        assert {state(disk, request_id) for request_id in captured} == {"captured"}
        charges = CREDIT - disk.balance().posted
        assert charges == len(captured) * PRICE
        eventually(disk.restart, LedgerUnavailable)
        assert disk.verify().findings == ()
        assert disk.balance().held == 0
    assert disk.fatal == []


def test_without_a_server_nothing_is_admitted_and_nothing_stops(fragile: tuple[Cluster, DiskLedger]) -> None:
    cluster, disk = fragile
    cluster.stop("fast")
    for _ in range(3):
        assert disk.call(one_hold(disk)) == "ledger_unavailable"
        with pytest.raises(LedgerUnavailable):
            disk.balance()
    cluster.start()
    eventually(lambda: disk.call(one_hold(disk)) is None)
    eventually(lambda: disk.balance().held == HOLD, LedgerUnavailable)
    assert disk.fatal == []


def test_a_server_that_comes_back_unsafe_stops_the_process(fragile: tuple[Cluster, DiskLedger]) -> None:
    cluster, disk = fragile
    cluster.stop("fast")
    cluster.start("fsync=off")
    eventually(lambda: disk.call(one_hold(disk)) and disk.fatal)
    assert "fsync=off" in disk.fatal[0]
