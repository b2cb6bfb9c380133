"""The writer shares commits without mixing fates, settings are read back, and a failing disk ends all writing."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, MetaData, Table, bindparam, create_engine, inspect, select

from omixa.errors import LedgerUnavailable, Overloaded
from omixa.storage import database as database_module
from omixa.storage import migrations
from omixa.storage import sqlite as sqlite_module
from omixa.storage.database import Backend, Database, Transaction, UnsafeStorage
from omixa.storage.sqlite import SqliteBackend, refuse_network_filesystem
from omixa.storage.statements import insert_into
from omixa.storage.tables import metadata, node
from tests.support import processes
from tests.support.ledger import disk_ledger
from tests.support.places import REFUSED, Clock, Place, SqlitePlace

insert_node = insert_into(node)
all_nodes = select(node.c.id).order_by(node.c.id)
one_node = select(node).where(node.c.id == bindparam("id"))


class Opened:
    """A database with its fatal reasons."""

    def __init__(self, backend: Backend) -> None:
        self.fatal: list[str] = []
        self.database = Database(backend, on_fatal=self.fatal.append)
        self.database.open()


@pytest.fixture
def opened(place: Place) -> Iterator[Opened]:
    found = Opened(place.backend())
    yield found
    found.database.close()


def add(identifier: str) -> Callable[[Transaction], int]:
    return lambda tx: tx.execute(insert_node, id=identifier, epoch=1, heartbeat_at_ms=0)


def names(tx: Transaction) -> list[str]:
    return [row["id"] for row in tx.all(all_nodes)]


# ----------------------------------------------------------------------------------------------------------------- groups


class Busy:
    """An operation that keeps the writer busy until it is let go."""

    def __init__(self) -> None:
        self._started, self._gate = threading.Event(), threading.Event()

    def __call__(self, _: Transaction) -> None:
        self._started.set()
        self._gate.wait()

    async def started(self) -> None:
        await asyncio.to_thread(self._started.wait)

    def let_go(self) -> None:
        self._gate.set()


async def in_one_group(database: Database, *operations: Callable[[Transaction], object]) -> list[object]:
    """Queue operations while the writer is busy, so that they share a commit; return results and errors."""
    busy = Busy()
    working = asyncio.ensure_future(database.write(busy))
    await busy.started()
    waiting = [asyncio.ensure_future(database.write(operation)) for operation in operations]
    await asyncio.sleep(0)
    busy.let_go()
    await working
    return await asyncio.gather(*waiting, return_exceptions=True)


class Ticking(Clock):
    """A clock that has moved each time it is looked at."""

    def __call__(self) -> int:
        self.now_ms += 1
        return super().__call__()


def test_operations_that_wait_share_a_commit_and_its_time(place: Place) -> None:
    found = Opened(place.backend(Ticking()))
    times = asyncio.run(in_one_group(found.database, *[lambda tx: tx.now_ms() for _ in range(20)]))
    assert len(set(times)) == 1
    found.database.close()


def test_a_failing_operation_leaves_its_neighbours_alone(opened: Opened) -> None:
    def fail(tx: Transaction) -> None:
        add("b")(tx)
        raise ValueError("changed my mind")

    def clash(tx: Transaction) -> None:
        add("c")(tx)
        add("a")(tx)

    outcomes = asyncio.run(in_one_group(opened.database, add("a"), fail, clash, add("d")))
    first, failed, clashed, last = outcomes
    assert (first, type(failed), last) == (1, ValueError, 1)
    assert isinstance(clashed, REFUSED)
    assert asyncio.run(opened.database.read(names)) == ["a", "d"]
    assert opened.fatal == []


def test_items_of_one_operation_run_as_one_call_and_have_outcomes_of_their_own(opened: Opened) -> None:
    calls: list[list[str]] = []

    def add_all(tx: Transaction, identifiers: Sequence[str]) -> list[str | Exception]:
        calls.append(list(identifiers))
        good = [identifier for identifier in identifiers if identifier != "bad"]
        tx.execute_many(insert_node, [{"id": name, "epoch": 1, "heartbeat_at_ms": 0} for name in good])
        return [ValueError("refused") if identifier == "bad" else identifier for identifier in identifiers]

    async def add_together(*identifiers: str) -> list[object]:
        busy = Busy()
        working = asyncio.ensure_future(opened.database.write(busy))
        await busy.started()
        waiting = [asyncio.ensure_future(opened.database.write_together(add_all, name)) for name in identifiers]
        await asyncio.sleep(0)
        busy.let_go()
        await working
        return await asyncio.gather(*waiting, return_exceptions=True)

    first, refused, last = asyncio.run(add_together("a", "bad", "b"))
    assert (first, type(refused), last) == ("a", ValueError, "b")
    assert calls == [["a", "bad", "b"]]
    # "a" is there already, so the call for all of them fails and each is tried alone.
    clash, added = asyncio.run(add_together("a", "c"))
    assert isinstance(clash, REFUSED)
    assert added == "c"
    # On PostgreSQL another writer could have been in between, so that the item is run once more.
    assert [call for call, _ in itertools.groupby(calls[1:])] == [["a", "c"], ["a"], ["c"]]
    assert asyncio.run(opened.database.read(names)) == ["a", "b", "c"]


def test_a_broken_disk_fails_the_whole_group_and_everything_after(tmp_path: Path) -> None:
    opened = Opened(SqlitePlace(tmp_path / "omixa.db").create().backend())

    def break_disk(_: Transaction) -> None:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
        raise error

    outcomes = asyncio.run(in_one_group(opened.database, add("a"), break_disk, add("b")))
    assert all(isinstance(outcome, LedgerUnavailable) for outcome in outcomes)
    assert len(opened.fatal) == 1
    with pytest.raises(LedgerUnavailable):
        asyncio.run(opened.database.write(add("c")))
    assert asyncio.run(opened.database.read(names)) == []
    assert len(opened.fatal) == 1
    opened.database.close()


def test_a_full_disk_ends_the_writing_and_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    context = processes.context()
    with disk_ledger(tmp_path, credit=10**9) as disk:
        customer = disk.customer
    ours, theirs = context.Pipe()
    child = context.Process(target=processes.hold_until_the_disk_fails, args=(tmp_path, customer, 200_000, theirs))
    child.start()
    theirs.close()
    acknowledged, fatal, errors = ours.recv()
    child.join()
    assert len(acknowledged) > 10
    assert len(fatal) == 1
    assert errors == ("ledger_unavailable", "ledger_unavailable")
    found = Opened(SqliteBackend(tmp_path / "omixa.db"))
    requests = metadata.tables["request"]
    stored = asyncio.run(found.database.read(lambda tx: {row["id"] for row in tx.all(select(requests.c.id))}))
    found.database.close()
    assert set(acknowledged) == stored


def test_a_caller_that_leaves_does_not_stop_its_operation(opened: Opened) -> None:
    async def leave() -> list[str]:
        busy = Busy()
        working = asyncio.ensure_future(opened.database.write(busy))
        await busy.started()
        leaving = asyncio.ensure_future(opened.database.write(add("a")))
        await asyncio.sleep(0)
        leaving.cancel()
        busy.let_go()
        await working
        await opened.database.write(add("b"))
        return await opened.database.read(names)

    assert asyncio.run(leave()) == ["a", "b"]


def test_too_many_waiting_operations_are_refused(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "MAX_QUEUED_WRITES", 3)

    outcomes = asyncio.run(in_one_group(opened.database, *[add(str(number)) for number in range(5)]))
    assert [type(outcome) for outcome in outcomes] == [int] * 3 + [Overloaded] * 2


# ---------------------------------------------------------------------------------------------------------------- reading


def test_a_read_sees_one_snapshot_while_others_write(opened: Opened) -> None:
    async def look() -> tuple[list[str], list[str], list[str]]:
        looked, written = threading.Event(), threading.Event()

        def look_twice(tx: Transaction) -> tuple[list[str], list[str]]:
            first = names(tx)
            looked.set()
            written.wait()
            return first, names(tx)

        reading = asyncio.ensure_future(opened.database.read(look_twice))
        await asyncio.to_thread(looked.wait)
        await opened.database.write(add("a"))
        written.set()
        return *(await reading), await opened.database.read(names)

    assert asyncio.run(look()) == ([], [], ["a"])


def test_a_read_cannot_write(opened: Opened) -> None:
    with pytest.raises(LedgerUnavailable):
        asyncio.run(opened.database.read(add("a")))


def test_rows_can_be_streamed_while_other_queries_run(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "ROWS_AT_A_TIME", 3)
    expected = [f"{number:02}" for number in range(20)]

    def write_all(tx: Transaction) -> None:
        tx.execute_many(insert_node, [{"id": name, "epoch": 1, "heartbeat_at_ms": 0} for name in expected])
        tx.execute_many(insert_node, [])

    def stream(tx: Transaction) -> list[str]:
        rows = (tx.first(one_node, id=row["id"]) for row in tx.each(all_nodes))
        return [row["id"] for row in rows if row is not None]

    asyncio.run(opened.database.write(write_all))
    assert asyncio.run(opened.database.read(stream)) == expected


# ---------------------------------------------------------------------------------------------------------------- closing


def test_a_closed_database_refuses_and_can_be_closed_again(opened: Opened) -> None:
    opened.database.close()
    with pytest.raises(LedgerUnavailable):
        asyncio.run(opened.database.write(add("a")))
    with pytest.raises(LedgerUnavailable):
        asyncio.run(opened.database.read(names))
    opened.database.close()


def test_a_database_that_was_never_opened_refuses(place: Place) -> None:
    database = Database(place.backend(), on_fatal=print)
    with pytest.raises(LedgerUnavailable):
        asyncio.run(database.write(add("a")))
    database.close()


def test_closing_finishes_what_is_queued(place: Place) -> None:
    found = Opened(place.backend())

    async def close_behind() -> list[object]:
        waiting = [asyncio.ensure_future(found.database.write(add(str(number)))) for number in range(50)]
        await asyncio.sleep(0)
        found.database.close()
        return await asyncio.gather(*waiting)

    assert asyncio.run(close_behind()) == [1] * 50


def test_no_write_is_left_without_an_answer_when_the_database_closes(place: Place) -> None:
    found = Opened(place.backend())

    async def write_until_refused() -> None:
        while True:
            await found.database.write(names)

    async def race() -> list[object]:
        writing = [asyncio.ensure_future(write_until_refused()) for _ in range(3)]
        await asyncio.to_thread(found.database.close)
        return await asyncio.wait_for(asyncio.gather(*writing, return_exceptions=True), 30)

    assert [type(outcome) for outcome in asyncio.run(race())] == [LedgerUnavailable] * 3


# --------------------------------------------------------------------------------------------------------------- settings


def test_every_connection_is_durable(tmp_path: Path) -> None:
    backend = SqliteBackend(tmp_path / "omixa.db")
    backend.migrate()
    for read_only in (False, True):
        with contextlib.closing(backend.connect(read_only=read_only)) as connection:
            for name, expected in {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}.items():
                row = connection.execute(f"PRAGMA {name}").fetchone()
                assert row is not None
                assert tuple(row) == (expected,)  # type: ignore[arg-type]


@pytest.mark.parametrize("setting", ["journal_mode", "synchronous", "foreign_keys"])
def test_a_setting_that_does_not_read_back_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    class Deaf(sqlite3.Connection):
        def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
            ignored = sql.startswith(f"PRAGMA {setting}=")
            return super().execute("PRAGMA user_version" if ignored else sql, *parameters)

    connect = sqlite3.connect

    def connect_deaf(path: Path, **options: Any) -> sqlite3.Connection:
        connection = connect(path, factory=Deaf, **options)
        # What a file without settings has, but for synchronous, whose default is already FULL.
        sqlite3.Connection.execute(connection, "PRAGMA synchronous=NORMAL")
        return connection

    monkeypatch.setattr(sqlite_module.sqlite3, "connect", connect_deaf)
    with pytest.raises(UnsafeStorage, match=f"did not accept {setting}"):
        SqliteBackend(tmp_path / "omixa.db").connect(read_only=False)


def test_a_directory_that_is_gone_is_an_error_at_once(tmp_path: Path) -> None:
    database = Database(SqliteBackend(tmp_path / "gone" / "omixa.db"), on_fatal=print)
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        database.open()
    database.close()


def test_network_filesystems_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_network_filesystem(tmp_path)
    mounts = f"/dev/sda1 / ext4 rw 0 0\nserver:/export {tmp_path} nfs4 rw 0 0\n"
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: mounts)
    monkeypatch.setattr(sqlite_module.sys, "platform", "linux")
    with pytest.raises(UnsafeStorage, match="nfs4"):
        refuse_network_filesystem(tmp_path / "data")


def test_the_clock_gives_milliseconds(place: Place) -> None:
    found = Opened(place.backend(Clock(1_234_567)))
    assert asyncio.run(found.database.read(lambda tx: tx.now_ms())) == 1_234_567
    found.database.close()


# -------------------------------------------------------------------------------------------------------------- migrations


@pytest.fixture
def migrated(tmp_path: Path) -> Iterator[Engine]:
    SqliteBackend(tmp_path / "omixa.db").migrate()
    engine = create_engine(f"sqlite:///{tmp_path / 'omixa.db'}")
    yield engine
    engine.dispose()


def test_migrations_make_the_tables_of_the_page(migrated: Engine) -> None:
    with migrated.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []


def test_migrations_make_the_same_constraints_and_indexes(migrated: Engine, tmp_path: Path) -> None:
    described = create_engine(f"sqlite:///{tmp_path / 'described.db'}")
    metadata.create_all(described)
    for name in metadata.tables:
        assert _rules(migrated, name) == _rules(described, name), name
    described.dispose()


def _rules(engine: Engine, table: str) -> dict[str, object]:
    found = inspect(engine)
    rules = {
        "checks": [" ".join(check["sqltext"].split()) for check in found.get_check_constraints(table)],
        "indexes": [
            (index["name"], index["column_names"], index["unique"], str(index["dialect_options"].get("sqlite_where")))
            for index in found.get_indexes(table)
        ],
        "unique": [unique["column_names"] for unique in found.get_unique_constraints(table)],
        "foreign": [
            (key["constrained_columns"], key["referred_table"], key["referred_columns"])
            for key in found.get_foreign_keys(table)
        ],
        "primary": [found.get_pk_constraint(table)["constrained_columns"]],
    }
    return {kind: sorted(values, key=str) for kind, values in rules.items()}


def test_migrating_again_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "omixa.db"
    SqliteBackend(path).migrate()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        before = connection.execute("SELECT type, name, sql FROM sqlite_master ORDER BY name").fetchall()
        versions = connection.execute("SELECT * FROM alembic_version").fetchall()
        connection.execute("INSERT INTO node VALUES ('n', 7, 0)")
        connection.commit()
    SqliteBackend(path).migrate()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT type, name, sql FROM sqlite_master ORDER BY name").fetchall() == before
        assert connection.execute("SELECT * FROM alembic_version").fetchall() == versions
        assert connection.execute("SELECT epoch FROM node").fetchall() == [(7,)]


def test_a_database_of_an_older_version_is_upgraded(tmp_path: Path) -> None:
    path = tmp_path / "omixa.db"
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        command.upgrade(_alembic(connection), "0024")
    engine.dispose()
    assert _versions(path) != [_newest_version()]
    SqliteBackend(path).migrate()
    assert _versions(path) == [_newest_version()]


def test_opening_a_database_of_the_newest_version_does_not_wait_for_alembic(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from omixa.storage.sqlite import SqliteBackend;"
        "SqliteBackend(Path(sys.argv[1])).migrate(); print('alembic' in sys.modules)"
    )
    told = [
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "omixa.db")], capture_output=True, text=True, check=True
        ).stdout.strip()
        for _ in range(2)
    ]
    assert told == ["True", "False"]


def _alembic(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def _versions(path: Path) -> list[str]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return [version for (version,) in connection.execute("SELECT version_num FROM alembic_version")]


def _newest_version() -> str:
    newest = ScriptDirectory(str(Path(migrations.__file__).parent)).get_current_head()
    assert newest is not None
    return newest


def test_orders_of_credit_outlive_the_table_that_was_replaced(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'omixa.db'}")
    order = {"id": "top_1", "workspace_id": "ws_1", "account_id": "acc_1", "key_id": "key_1", "amount": 5_000_000}
    state = {"reversed_amount": 1_000_000, "payment_id": "pi_1", "created_at_ms": 1, "paid_at_ms": 2}
    with engine.begin() as connection:
        config = _alembic(connection)
        command.upgrade(config, "0016")
        before = Table("topup", MetaData(), autoload_with=connection)
        connection.execute(before.insert().values(**order, **state))
        command.upgrade(config, "0017")
        (row,) = connection.execute(select(metadata.tables["topup"])).mappings()
    assert dict(row) == {**order, **state, "person_id": None, "transfer_id": None}
    engine.dispose()
