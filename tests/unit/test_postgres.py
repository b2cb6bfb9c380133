"""PostgreSQL's own part: settings that keep the promise, migrations by several at once, types, and races that are run again."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, bindparam, func, select, update
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from omixa.access import store
from omixa.billing import ledger
from omixa.billing.verify import verify
from omixa.storage import postgres as postgres_module
from omixa.storage.database import Database, Transaction, UnsafeStorage
from omixa.storage.postgres import ConnectionLost, PostgresBackend
from omixa.storage.statements import insert_into
from omixa.storage.tables import IMMUTABLE, account, metadata, node, workspace
from tests.support.ledger import add_customer
from tests.support.places import PostgresPlace, postgres_place
from tests.support.postgres import Cluster, running_cluster

insert_node = insert_into(node)
one_node = select(node).where(node.c.id == bindparam("id"))


@pytest.fixture
def place(cluster: Cluster) -> Iterator[PostgresPlace]:
    with postgres_place(cluster) as found:
        yield found


@pytest.fixture
def database(place: PostgresPlace) -> Iterator[Database]:
    with opened(place) as found:
        yield found


@contextlib.contextmanager
def opened(place: PostgresPlace) -> Iterator[Database]:
    fatal: list[str] = []
    found = Database(place.backend(), on_fatal=fatal.append)
    found.open()
    yield found
    found.close()
    assert fatal == []


def setting(backend: PostgresBackend, name: str, *, read_only: bool) -> str:
    connection = backend.connect(read_only=read_only)
    try:
        backend.begin(connection, write=not read_only)
        statement = backend.sql(select(func.current_setting(name).label("value")).compile(dialect=backend.dialect))
        row = connection.execute(statement, {"current_setting_1": name}).fetchone()
        assert row is not None
        return str(row["value"])
    finally:
        connection.close()


# --------------------------------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("name", "writer", "reader"),
    [
        ("synchronous_commit", "on", "on"),
        ("transaction_isolation", "read committed", "repeatable read"),
        ("transaction_read_only", "off", "on"),
        ("lock_timeout", "10s", "10s"),
        ("statement_timeout", "30s", "10min"),
        ("idle_in_transaction_session_timeout", "5s", "0"),
        ("application_name", "omixa", "omixa"),
    ],
)
def test_every_connection_has_the_settings_that_the_promise_needs(
    place: PostgresPlace, name: str, writer: str, reader: str
) -> None:
    backend = PostgresBackend(place.address)
    assert setting(backend, name, read_only=False) == writer
    assert setting(backend, name, read_only=True) == reader


@pytest.mark.parametrize("weak", ["off", "local", "remote_write"])
def test_commits_are_synchronous_whatever_the_server_says(cluster: Cluster, weak: str) -> None:
    with cluster.database() as name:
        cluster.execute(f"ALTER DATABASE {name} SET synchronous_commit = {weak}")
        backend = PostgresBackend(cluster.address(name))
        assert setting(backend, "synchronous_commit", read_only=False) == "on"


@pytest.mark.parametrize("unsafe", ["fsync=off", "full_page_writes=off", "data_sync_retry=on"])
def test_a_server_that_can_lose_what_was_acknowledged_is_refused(cluster: Cluster, unsafe: str) -> None:
    with running_cluster() as fragile:
        fragile.stop("fast")
        fragile.start(unsafe)
        with pytest.raises(UnsafeStorage, match=unsafe):
            PostgresBackend(fragile.address("postgres")).migrate()


def test_a_database_that_cannot_hold_all_text_is_refused(cluster: Cluster) -> None:
    cluster.execute("CREATE DATABASE narrow TEMPLATE template0 ENCODING 'SQL_ASCII'")
    with pytest.raises(UnsafeStorage, match="server_encoding=SQL_ASCII"):
        PostgresBackend(cluster.address("narrow")).migrate()


def test_a_server_that_is_too_old_is_refused(place: PostgresPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_module, "MIN_VERSION", 99)
    with pytest.raises(UnsafeStorage, match="too old; Omixa needs 99"):
        PostgresBackend(place.address).migrate()


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("postgresql://omixa:{0}@127.0.0.1:{1}/nothing", "does not exist"),
        ("postgresql://nobody:{0}@127.0.0.1:{1}/postgres", "does not exist"),
        ("postgresql://omixa:{0}@127.0.0.1:1/postgres", "refused"),
        ("postgresql://omixa:{0}@127.0.0.1:{1}/postgres?sslmode=require", "SSL"),
    ],
    ids=["database", "user", "server", "encryption"],
)
def test_a_database_that_cannot_be_reached_is_told_without_its_password(
    cluster: Cluster, address: str, told: str
) -> None:
    with pytest.raises(ConnectionLost, match=told) as caught:
        PostgresBackend(address.format("ne-quid-nimis", cluster.port)).migrate()
    assert "ne-quid-nimis" not in f"{caught.value!r} {caught.value.__cause__!r}"


# -------------------------------------------------------------------------------------------------------------- migrations


def inspected(address: str, look: object) -> object:
    async def run() -> object:
        engine = create_async_engine(
            "postgresql+asyncpg://", async_creator=lambda: asyncpg.connect(address), poolclass=NullPool
        )
        async with engine.connect() as connection:
            found = await connection.run_sync(look)  # type: ignore[arg-type]
        await engine.dispose()
        return found

    return asyncio.run(run())


def _difference(connection: Connection) -> list[object]:
    context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
    return list(compare_metadata(context, metadata))


def test_many_that_start_at_once_migrate_once(cluster: Cluster) -> None:
    with cluster.database(empty=True) as name:
        backends = [PostgresBackend(cluster.address(name)) for _ in range(4)]
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda backend: backend.migrate(), backends))
        assert inspected(cluster.address(name), _difference) == []
        assert cluster.execute("SELECT count(*) AS n FROM alembic_version", name) == [{"n": 1}]


_CHECKS = """
SELECT conrelid::regclass::text AS "table", conname, pg_get_constraintdef(oid) AS rule FROM pg_constraint
WHERE connamespace = 'public'::regnamespace AND conrelid <> 'alembic_version'::regclass ORDER BY 1, 3
"""


def test_migrations_make_the_constraints_of_the_page(cluster: Cluster, place: PostgresPlace) -> None:
    def create(connection: Connection) -> None:
        metadata.create_all(connection)
        connection.exec_driver_sql("CREATE TABLE alembic_version (version_num text)")
        connection.commit()

    with cluster.database(empty=True) as name:
        inspected(cluster.address(name), create)
        described = cluster.execute(_CHECKS, name)
    migrated = cluster.execute(_CHECKS, place.address.rpartition("/")[2].partition("?")[0])
    assert [(row["table"], row["rule"]) for row in migrated] == [(row["table"], row["rule"]) for row in described]


def test_every_immutable_table_has_its_triggers(cluster: Cluster, place: PostgresPlace) -> None:
    rows = cluster.execute(
        "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal", place.address.rpartition("/")[2].partition("?")[0]
    )
    expected = {f"{table.name}_no_{verb}" for table in IMMUTABLE for verb in ("update", "delete")}
    assert {row["tgname"] for row in rows} == expected


# -------------------------------------------------------------------------------------------------------------- statements


def test_each_run_of_a_statement_has_its_own_first_row(database: Database) -> None:
    grow = (
        update(node)
        .where(node.c.id == bindparam("node_id"))
        .values(epoch=node.c.epoch + bindparam("by"))
        .returning(node.c.epoch, node.c.id)
    )

    def operation(tx: Transaction) -> list[tuple[str, int] | None]:
        tx.execute_many(insert_node, [{"id": name, "epoch": 1, "heartbeat_at_ms": 0} for name in "abc"])
        wanted = [{"node_id": name, "by": by} for by, name in enumerate(["c", "none", "a", "c", ""], 1)]
        return [None if row is None else (row["id"], row["epoch"]) for row in tx.first_of_each(grow, wanted)]

    assert asyncio.run(database.write(operation)) == [("c", 2), None, ("a", 4), ("c", 6), None]
    assert asyncio.run(database.read(lambda tx: tx.first_of_each(one_node, []))) == []


def test_sums_are_whole_numbers(database: Database) -> None:
    total = select(func.sum(node.c.epoch).label("total"))

    def operation(tx: Transaction) -> object:
        tx.execute_many(insert_node, [{"id": name, "epoch": 2**62, "heartbeat_at_ms": 0} for name in "abc"])
        row = tx.first(total)
        return row and row["total"]

    found = asyncio.run(database.write(operation))
    assert (type(found), found) == (int, 3 * 2**62)


def test_text_keeps_everything_but_nul(database: Database) -> None:
    names = ["Zürich 🪁", "a\0b", "'; DROP TABLE node; --", "$1", "%s", ""]

    def operation(tx: Transaction) -> list[str]:
        tx.execute_many(insert_node, [{"id": name, "epoch": 1, "heartbeat_at_ms": 0} for name in names])
        return [row["id"] for row in map(lambda name: tx.first(one_node, id=name), names) if row is not None]  # noqa: C417

    assert asyncio.run(database.write(operation)) == [name.replace("\0", "\N{REPLACEMENT CHARACTER}") for name in names]


def test_the_clock_is_the_servers(database: Database, cluster: Cluster) -> None:
    (before,) = cluster.execute("SELECT extract(epoch FROM clock_timestamp()) * 1000 AS ms")
    found = asyncio.run(database.write(lambda tx: tx.now_ms())), asyncio.run(database.read(lambda tx: tx.now_ms()))
    (after,) = cluster.execute("SELECT extract(epoch FROM clock_timestamp()) * 1000 AS ms")
    assert int(before["ms"]) <= found[0] <= found[1] <= after["ms"]


# ------------------------------------------------------------------------------------------------------- several writers


def test_several_processes_continue_one_audit_log_and_one_chain(place: PostgresPlace) -> None:
    with opened(place) as first, opened(place) as second:
        customer = asyncio.run(first.write(lambda tx: add_customer(tx, credit=1)))

        def entry(tx: Transaction) -> None:
            store.audit(tx, actor="a", action="b", target="c", details={})
            ledger.grant(tx, account_id=customer.account_id, mode="live", amount_micro_usd=1, reason="test")

        async def many(database: Database) -> None:
            for _ in range(10):
                await asyncio.gather(*(database.write(entry) for _ in range(3)))

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda database: asyncio.run(many(database)), [first, second]))
        found = asyncio.run(first.read(lambda tx: verify(tx)))
        assert found.findings == ()
        assert found.checked["I6 audit"] == 60
        assert asyncio.run(first.read(lambda tx: ledger.balance(tx, customer.account_id))).posted == 61


def test_two_that_create_the_same_at_once_agree(place: PostgresPlace) -> None:
    """As two servers that start on an empty ledger do: the second waits for the first and finds what that has made."""
    by_name = select(workspace.c.id).where(workspace.c.name == "shared")
    both_looked = threading.Barrier(2)

    def operation(tx: Transaction) -> str:
        found = tx.first(by_name)
        with contextlib.suppress(threading.BrokenBarrierError):
            both_looked.wait(timeout=5)
        both_looked.abort()
        return str(found["id"]) if found is not None else store.insert_workspace(tx, "shared")

    with opened(place) as first, opened(place) as second, ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda database: asyncio.run(database.write(operation)), [first, second]))
    assert made[0] == made[1]


def test_a_deadlock_is_run_again(place: PostgresPlace) -> None:
    lock = select(account.c.id).where(account.c.id == bindparam("account_id")).with_for_update()
    with opened(place) as first, opened(place) as second, ThreadPoolExecutor(2) as pool:
        a = asyncio.run(first.write(lambda tx: add_customer(tx, name="a"))).account_id
        b = asyncio.run(first.write(lambda tx: add_customer(tx, name="b"))).account_id
        both_have_one = threading.Barrier(2)

        def cross(database: Database, mine: str, theirs: str) -> None:
            def operation(tx: Transaction) -> None:
                tx.first(lock, account_id=mine)
                with contextlib.suppress(threading.BrokenBarrierError):
                    both_have_one.wait(timeout=5)
                both_have_one.abort()
                tx.first(lock, account_id=theirs)
                ledger.grant(tx, account_id=theirs, mode="live", amount_micro_usd=1, reason="test")

            asyncio.run(database.write(operation))

        list(pool.map(cross, [first, second], [a, b], [b, a]))
        for identifier in (a, b):
            assert asyncio.run(first.read(lambda tx, i=identifier: ledger.balance(tx, i))).posted == 1


def test_an_item_that_meets_another_writer_twice_is_run_again_alone(place: PostgresPlace) -> None:
    """As with keys of which another gateway takes one after the other while a group of them waits."""
    insert = insert_into(node)
    with opened(place) as database, opened(place) as other:
        runs: list[int] = []

        def unlucky(tx: Transaction) -> str:
            runs.append(len(runs))
            if len(runs) <= 2:
                asyncio.run(other.write(lambda tx: tx.execute(insert, id=f"n{len(runs)}", epoch=1, heartbeat_at_ms=0)))
                tx.execute(insert, id=f"n{len(runs)}", epoch=1, heartbeat_at_ms=0)
            return "done"

        async def both() -> list[object]:
            neighbour = database.write(lambda tx: tx.execute(insert, id="neighbour", epoch=1, heartbeat_at_ms=0))
            return await asyncio.gather(database.write(unlucky), neighbour)

        assert asyncio.run(both()) == ["done", 1]
        assert len(runs) == 3
