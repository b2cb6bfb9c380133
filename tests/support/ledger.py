"""A ledger in a real database with a customer in it, and the steps of a request as plain functions."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from omixa.access import store
from omixa.billing import corrections, ledger, recovery
from omixa.billing.corrections import Adjustment, Refund
from omixa.billing.ledger import Balance, Capture, Hold, Release, StoredResult
from omixa.billing.prices import publish_prices
from omixa.billing.pricing import rate
from omixa.billing.verify import Verification, verify
from omixa.catalogue.loader import load_catalogue
from omixa.domain.access import Mode
from omixa.domain.ids import new_id
from omixa.domain.images import Usage
from omixa.gateway.settlement import NodeIdentity, Settlement
from omixa.jobs.sweeper import INTERRUPTED, SILENCE_MS, Sweeper
from omixa.storage.blobs import BlobStore
from omixa.storage.database import Backend, Database, Operation, Transaction
from omixa.storage.postgres import PostgresBackend
from omixa.usage import records
from omixa.usage.records import EndedAttempt, StartedAttempt, UsageRecord, new_attempt_id
from tests.support.places import Clock, Place, SqlitePlace

T = TypeVar("T")

CATALOGUE = load_catalogue()
MODEL = CATALOGUE.resolve("MAI-Image-2.5")
(PRICES,) = MODEL.price_lists
NODE = "node-a"
DEADLINE_MS = 60_000
HOUR_MS = 3_600_000
ONE_PICTURE = Usage(input_text_tokens=15, output_image_tokens=1024, images=1)


@dataclass(frozen=True)
class Customer:
    """A workspace with an account and a key in one mode."""

    workspace_id: str
    account_id: str
    key_id: str
    mode: Mode


def add_customer(tx: Transaction, *, credit: int = 0, name: str = "customer", mode: Mode = "live") -> Customer:
    """Create the system's accounts, the price lists and a workspace with credit, as far as they are missing."""
    ledger.open_system_accounts(tx)
    publish_prices(tx, CATALOGUE.models.values())
    workspace_id = store.insert_workspace(tx, name)
    account_id = ledger.open_workspace_account(tx, workspace_id, mode)
    key_id = store.insert_key(
        tx, workspace_id=workspace_id, mode=mode, name="", digest=new_id("digest"), last4="abcd", models=None
    )
    if credit:
        ledger.grant(tx, account_id=account_id, mode=mode, amount_micro_usd=credit, reason="test")
    return Customer(workspace_id, account_id, key_id, mode)


# ------------------------------------------------------------------------------------------------------ steps of a request


def a_hold(
    customer: Customer, request_id: str, amount: int, node: NodeIdentity, deadline_ms: int = DEADLINE_MS
) -> Hold:
    return Hold(
        request_id=request_id,
        workspace_id=customer.workspace_id,
        account_id=customer.account_id,
        key_id=customer.key_id,
        mode=customer.mode,
        model=MODEL.id,
        operation="generation",
        parameters_json='{"n":1}',
        amount_micro_usd=amount,
        price_version_id=PRICES.version,
        markup_ppm=0,
        owner_node=node.id,
        owner_epoch=node.epoch,
        deadline_ms=deadline_ms,
    )


def a_call(request_id: str, n: int = 1) -> StartedAttempt:
    return StartedAttempt(new_attempt_id(), request_id, n, 0, "foundry", "simulator/MAI-Image-2.5")


def succeeded(call: StartedAttempt, usage: Usage = ONE_PICTURE) -> EndedAttempt:
    return EndedAttempt(call.id, "ok", "up-1", 200, None, None, usage, 1_000_000, "reported")


def failed(call: StartedAttempt) -> EndedAttempt:
    return EndedAttempt(call.id, "failed_free", None, 429, "rate_limited", None, None, 0, "none")


def a_record(customer: Customer, request_id: str, usage: Usage, held: int) -> UsageRecord:
    """Return the record of a usage, charged at its price or, if lower, at the hold."""
    charge = rate([usage], PRICES)
    return UsageRecord(
        request_id=request_id,
        workspace_id=customer.workspace_id,
        key_id=customer.key_id,
        mode=customer.mode,
        model=MODEL.id,
        usages=(usage,),
        exact_pico_usd=charge.exact_pico_usd,
        amount_micro_usd=min(charge.amount_micro_usd, held),
        markup_ppm=charge.markup_ppm,
        price_version_id=PRICES.version,
        route="simulator/MAI-Image-2.5",
    )


def a_result(request_id: str, retention_ms: int = 72 * HOUR_MS) -> StoredResult:
    return StoredResult(f"20261123/{request_id}", "d" * 64, retention_ms)


def hold(tx: Transaction, wanted: Hold) -> None:
    """Hold money for one request. Raises why it may not start."""
    (refused,) = ledger.hold(tx, [wanted])
    if refused is not None:
        raise refused


def release(tx: Transaction, request_id: str, epoch: int, outcome: str) -> bool:
    """Release one request; tell whether it was still held."""
    (released,) = ledger.release(tx, [Release(request_id, epoch, outcome)])
    return released


def capture(tx: Transaction, record: UsageRecord, epoch: int, ended: Sequence[EndedAttempt] = ()) -> None:
    """Settle a request as the gateway does it, in one transaction."""
    wanted = Capture(record.request_id, epoch, record.amount_micro_usd, a_result(record.request_id))
    (refused,) = ledger.capture(tx, [wanted])
    if refused is not None:
        raise refused
    records.end_attempts(tx, ended)
    records.record_usage(tx, [record])


def refund(tx: Transaction, request_id: str, amount: int | None = None, key: str | None = None) -> Refund:
    """Refund as operators do it, in one transaction."""
    made = corrections.refund(tx, request_id, amount, reason="test", key=key)
    if not made.repeated:
        records.record_correction(tx, request_id, refunded=made.amount_micro_usd)
    return made


def adjust(tx: Transaction, request_id: str, new_amount: int, reference: str = "") -> Adjustment:
    """Make a request cost another amount, as a re-rating does it."""
    made = corrections.adjust(tx, request_id, new_amount, reference=reference or new_id("ref"), reason="test")
    if made.verdict == "posted":
        records.record_correction(tx, request_id, adjusted=made.difference_micro_usd)
    return made


# -------------------------------------------------------------------------------------------------------------- ledgers


@functools.cache
def _compiled(backend: type[Backend]) -> tuple[dict[Any, Any], dict[Any, Any]]:
    """Return the statements that all ledgers on a backend share, so that no test need compile them anew; and their arguments."""
    return {}, {}


def new_database(place: Place, clock: Clock | None, on_fatal: Callable[[str], None]) -> Database:
    """Return a database that is not open yet, with the time of a clock or else its own."""
    database = Database(place.backend(clock), on_fatal=on_fatal)
    database._compiled, arguments = _compiled(type(database.backend))
    if isinstance(database.backend, PostgresBackend):
        database.backend._arguments = arguments
    return database


class DiskLedger:
    """A database, a store of results and a sweeper over one directory, driven from plain tests.

    Without a place, the database is a SQLite file in the directory.
    """

    def __init__(self, directory: Path, place: Place | None = None, *, credit: int = 0) -> None:
        self.directory = directory
        self.place = place or SqlitePlace(directory / "omixa.db").create()
        self.clock = Clock()
        self.fatal: list[str] = []
        self._runner = asyncio.Runner()
        self.open()
        self.customer = self.write(lambda tx: add_customer(tx, credit=credit))
        self.node = self.restart()

    def open(self) -> None:
        self.database = new_database(self.place, self.clock, self.fatal.append)
        self.database.open()
        self.blobs = BlobStore(self.directory / "results", on_fatal=self.fatal.append)
        self.sweeper = Sweeper(self.database, self.blobs, node_id=NODE)

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end."""
        # Not by the runner itself, which takes over the signal of Ctrl-C and gives it back each time.
        return self._runner.get_loop().run_until_complete(work)

    def write(self, operation: Operation[T]) -> T:
        return self.call(self.database.write(operation))

    def read(self, operation: Operation[T]) -> T:
        return self.call(self.database.read(operation))

    attempt = write

    def restart(self) -> NodeIdentity:
        """Start a new epoch of the node, which releases what the last one held."""
        self.node = self.call(self.sweeper.recover())
        return self.node

    def sweep(self) -> None:
        self.call(self.sweeper.sweep())

    def reopen(self) -> None:
        self.close_database()
        self.open()
        self.restart()

    def balance(self) -> Balance:
        return self.read(lambda tx: ledger.balance(tx, self.customer.account_id))

    def verify(self, *, with_results: bool = False) -> Verification:
        exists = self.blobs.has if with_results else None
        return self.read(lambda tx: verify(tx, result_exists=exists))

    @property
    def settlement(self) -> Settlement:
        return Settlement(self.database, self.node)

    def hold(
        self, amount: int, *, request_id: str = "", node: NodeIdentity | None = None, deadline_ms: int = DEADLINE_MS
    ) -> tuple[str, StartedAttempt]:
        """Hold money for a new request and record its first call."""
        request_id = request_id or new_id("req")
        call = a_call(request_id)
        hold = a_hold(self.customer, request_id, amount, node or self.node, deadline_ms)
        self.call(Settlement(self.database, node or self.node).authorise(hold, [call]))
        return request_id, call

    def settle(self, amount: int = 50_000, usage: Usage = ONE_PICTURE, *, stored: bool = False) -> str:
        """Hold, store where asked to, and capture; return the request."""
        request_id, call = self.hold(amount)
        if stored:
            self.call(self.blobs.put(a_result(request_id).ref, lambda: [b"result of ", request_id.encode()]))
        record = a_record(self.customer, request_id, usage, amount)
        self.call(self.settlement.capture(record, a_result(request_id), [succeeded(call, usage)]))
        return request_id

    def tamper(self, *statements: str, without: Sequence[str] = ()) -> None:
        """Change rows behind the ledger's back, with some triggers or indexes dropped and without constraints."""
        self.place.tamper(statements, without)

    def close_database(self) -> None:
        self.database.close()
        self.blobs.close()

    def close(self) -> None:
        self.close_database()
        self._runner.close()


@contextlib.contextmanager
def disk_ledger(directory: Path, place: Place | None = None, *, credit: int = 0) -> Iterator[DiskLedger]:
    """Open a ledger with its results in a directory."""
    opened = DiskLedger(directory, place, credit=credit)
    try:
        yield opened
    finally:
        opened.close()


class DirectLedger:
    """The same tables without an event loop and without threads: one connection, one transaction for each operation."""

    def __init__(self, directory: Path, place: Place | None = None, *, credit: int = 0) -> None:
        self.clock = Clock()
        self._place = place or SqlitePlace(directory / "omixa.db", synchronous="NORMAL").create()
        self._connect()
        self.customer = self.write(lambda tx: add_customer(tx, credit=credit))
        self.node = self.restart()

    def _connect(self) -> None:
        self._database = new_database(self._place, self.clock, print)
        self._connection = self._database.backend.connect(read_only=False)

    def reopen(self) -> None:
        self.close()
        self._connect()
        self.restart()

    def write(self, operation: Operation[T]) -> T:
        self._database.backend.begin(self._connection, write=True)
        try:
            result = operation(Transaction(self._connection, self._database))
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._database.backend.commit(self._connection)
        return result

    attempt = write

    def read(self, operation: Operation[T]) -> T:
        return self.write(operation)

    def restart(self) -> NodeIdentity:
        self.node = NodeIdentity(NODE, self.write(lambda tx: recovery.register_node(tx, NODE)))
        self.sweep()
        return self.node

    def sweep(self) -> None:
        def operation(tx: Transaction) -> None:
            for lost in recovery.lost_holds(tx, silence_ms=SILENCE_MS, limit=10_000):
                assert ledger.release(tx, [Release(lost.id, lost.owner_epoch, INTERRUPTED)]) == [True]
                records.abandon_attempts(tx, lost.id, INTERRUPTED)

        self.write(operation)

    def balance(self) -> Balance:
        return self.read(lambda tx: ledger.balance(tx, self.customer.account_id))

    def verify(self) -> Verification:
        return self.read(lambda tx: verify(tx))

    def close(self) -> None:
        self._connection.close()
        self._database.close()


class BatchedLedger(DirectLedger):
    """The same with one transaction for many operations, which commits when it is told to: fast, for tests that crash nothing."""

    def _connect(self) -> None:
        super()._connect()
        self._begin()

    def _begin(self) -> None:
        self._database.backend.begin(self._connection, write=True)

    def commit(self) -> None:
        """Make all operations so far durable."""
        self._database.backend.commit(self._connection)
        self._begin()

    def write(self, operation: Operation[T]) -> T:
        # A new one for each operation, because it keeps the time.
        return operation(Transaction(self._connection, self._database))

    read = write

    def attempt(self, operation: Operation[T]) -> T:
        """Do what is expected to fail, and undo what it has written."""
        tx = Transaction(self._connection, self._database)
        tx.savepoint("attempt")
        try:
            return operation(tx)
        except BaseException:
            tx.rollback_to("attempt")
            raise
        finally:
            tx.release("attempt")

    def close(self) -> None:
        self._database.backend.commit(self._connection)
        super().close()
