"""Power cuts under SQLite: what was acknowledged is there, and the same test fails where SQLite is told to sync less."""

from __future__ import annotations

import contextlib
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import apsw
from sqlalchemy import bindparam, select

from omixa.billing.pricing import rate
from omixa.domain.ids import new_id
from omixa.storage.database import Transaction
from omixa.storage.tables import request
from omixa.usage import records
from omixa.usage.records import StartedAttempt
from tests.proof.part import Part, Result, Task
from tests.support.ledger import (
    ONE_PICTURE,
    PRICES,
    DirectLedger,
    a_call,
    a_hold,
    a_record,
    capture,
    failed,
    hold,
    release,
    succeeded,
)
from tests.support.places import SqlitePlace
from tests.support.powercut import CutPlace, Disk, DiskVfs

CREDIT = 10**12
HOLD = 50_000
# A ledger that has seen so many cuts is given up for a new one.
CUTS_OF_A_LEDGER = 50
CUTS_BETWEEN_VERIFICATIONS = 10
# The machine dies at one of so many calls of the disk from its start.
MAX_CALLS = 300
# Steps that share a commit, as in the writer.
MAX_GROUP = 3
# How many cuts of each share are done again with synchronous=NORMAL.
NORMAL_EACH = 50

MIN_NORMAL = 20
PRICE = rate([ONE_PICTURE], PRICES).amount_micro_usd
WEIGHTS = (5, 4, 1)

_requests = select(request.c.id, request.c.state, request.c.charge_amount).where(
    request.c.account_id == bindparam("account_id")
)
# A request's state and its charge; None for a request that is not there.
State = tuple[str, int | None] | None
Step = Callable[[Transaction, "AttachedLedger", str], None]


class AttachedLedger(DirectLedger):
    """A ledger that is on its disk already."""

    def __init__(self, place: CutPlace, made: DirectLedger) -> None:
        self.clock = made.clock
        self.customer = made.customer
        self.node = made.node
        self._place = place
        self._connect()

    def lose_power(self) -> None:
        """Leave the connection as a machine does that is switched off."""
        with contextlib.suppress(apsw.Error):
            self._connection.close()
        self._database.close()

    def power_up(self) -> None:
        """Open the database again; SQLite recovers it."""
        self._connect()

    def findings(self) -> list[str]:
        """Return what SQLite and the invariants say."""
        rows = self._connection.execute("PRAGMA integrity_check").fetchall()
        damage = [str(row[0]) for row in rows if row[0] != "ok"]  # type: ignore[index]
        return damage or list(map(str, self.verify().findings))


@dataclass
class Truth:
    """What was acknowledged of every request, and what the transaction would have done that was under way at the cut."""

    states: dict[str, State] = field(default_factory=dict)
    doubtful: dict[str, State] = field(default_factory=dict)

    @contextlib.contextmanager
    def expecting(self, changes: Mapping[str, State]) -> Iterator[None]:
        """Do something durable; the changes are acknowledged when the block ends, and in doubt when it fails."""
        self.doubtful = dict(changes)
        yield
        self.states |= changes
        self.doubtful = {}

    def held(self) -> list[str]:
        return [name for name, state in self.states.items() if state == ("held", None)]

    def faults(self, found: Mapping[str, State]) -> list[str]:
        """Return what is not as it was acknowledged. What was in doubt has happened as a whole or not at all."""
        undone = {name: found.get(name) == self.states.get(name) for name in self.doubtful}
        done = {name: found.get(name) == state for name, state in self.doubtful.items()}
        faults = [
            f"{name} is {found.get(name)} and was acknowledged as {state}"
            for name, state in self.states.items()
            if name not in self.doubtful and found.get(name) != state
        ]
        faults += [f"{name} was never asked for" for name in found.keys() - self.states.keys() - self.doubtful.keys()]
        if not all(done.values()) and not all(undone.values()):
            faults.append(f"half of a transaction: {self.doubtful}")
        return faults

    def settle(self, found: Mapping[str, State]) -> None:
        """Take what is there for what has happened."""
        self.states = dict(found)
        self.doubtful = {}


class Machine:
    """A ledger on a disk whose power is cut again and again."""

    def __init__(self, made: DirectLedger, image: bytes, chance: random.Random, settings: Mapping[str, str]) -> None:
        self._chance = chance
        self._disk = Disk(chance, {"omixa.db": image})
        self._vfs = DiskVfs(self._disk)
        self._ledger = AttachedLedger(CutPlace(self._vfs, settings), made)
        self._truth = Truth()
        self.commits = 0

    def close(self) -> None:
        """Give the disk up."""
        self._ledger.lose_power()
        self._vfs.close()

    def cut(self, *, verify: bool) -> list[str]:
        """Work until the power is cut, start again, and return what is wrong then."""
        self._disk.cut_after(self._chance.randrange(MAX_CALLS))
        try:
            self._restart()
            while True:
                self._step()
        except apsw.Error:
            if not self._disk.dead:
                raise
        self._ledger.lose_power()
        self._disk.restore_power()
        self._ledger.power_up()
        found = self._found()
        faults = self._truth.faults(found) + self._drift(found)
        if verify:
            faults += self._ledger.findings()
        self._truth.settle(found)
        return faults

    def _restart(self) -> None:
        """Begin a new epoch; what the last one held is released."""
        with self._truth.expecting(dict.fromkeys(self._truth.held(), ("released", None))):
            self._ledger.restart()

    def _step(self) -> None:
        """Hold, capture or release a few requests in one transaction."""
        changes: dict[str, State] = {}
        operations: list[tuple[Step, str]] = []
        held = self._truth.held()
        self._chance.shuffle(held)
        for _ in range(self._chance.randint(1, MAX_GROUP)):
            kind = self._chance.choices(("hold", "capture", "release"), WEIGHTS)[0] if held else "hold"
            name = held.pop() if kind != "hold" else new_id("req")
            operation, changes[name] = STEPS[kind]
            operations.append((operation, name))

        def together(tx: Transaction) -> None:
            for operation, name in operations:
                operation(tx, self._ledger, name)

        with self._truth.expecting(changes):
            self._ledger.write(together)
        self.commits += 1

    def _found(self) -> dict[str, State]:
        rows = self._ledger.read(lambda tx: tx.all(_requests, account_id=self._ledger.customer.account_id))
        return {row["id"]: (row["state"], row["charge_amount"]) for row in rows}

    def _drift(self, found: Mapping[str, State]) -> list[str]:
        states = Counter(state for state in found.values() if state is not None)
        expected = (CREDIT - PRICE * states["captured", PRICE], HOLD * states["held", None])
        balance = self._ledger.balance()
        actual = (balance.posted, balance.held)
        return [] if actual == expected else [f"posted and held are {actual}, the requests say {expected}"]


def _hold(tx: Transaction, on: AttachedLedger, name: str) -> None:
    hold(tx, a_hold(on.customer, name, HOLD, on.node))
    records.start_attempts(tx, [_call(name)])


def _capture(tx: Transaction, on: AttachedLedger, name: str) -> None:
    capture(tx, a_record(on.customer, name, ONE_PICTURE, HOLD), on.node.epoch, [succeeded(_call(name))])


def _release(tx: Transaction, on: AttachedLedger, name: str) -> None:
    assert release(tx, name, on.node.epoch, "provider_error")
    records.end_attempts(tx, [failed(_call(name))])


def _call(name: str) -> StartedAttempt:
    """Return the one call of a request."""
    return replace(a_call(name), id=f"att_{name}")


STEPS: Mapping[str, tuple[Step, State]] = {
    "hold": (_hold, ("held", None)),
    "capture": (_capture, ("captured", PRICE)),
    "release": (_release, ("released", None)),
}


def run(task: Task) -> Result:
    """Cut the power again and again: nothing acknowledged is lost. Then do some of it with less syncing: something is."""
    chance = task.chance()
    commits = done = 0
    with tempfile.TemporaryDirectory(dir=task.directory) as directory:
        place = SqlitePlace(Path(directory) / "omixa.db").create()
        made = DirectLedger(Path(directory), place, credit=CREDIT)
        made.close()
        image = place.path.read_bytes()
    while done < task.size:
        cuts = min(CUTS_OF_A_LEDGER, task.size - done)
        with closing(Machine(made, image, chance, {})) as machine:
            for number in range(1, cuts + 1):
                verify = number % CUTS_BETWEEN_VERIFICATIONS == 0 or number == cuts
                faults = machine.cut(verify=verify)
                assert not faults, faults
        commits += machine.commits
        done += cuts
        task.progress(done)
    normal = max(task.size // NORMAL_EACH, MIN_NORMAL)
    lost = sum(_loses(made, image, chance) for _ in range(normal))
    assert lost, "with synchronous=NORMAL nothing is lost either, so this test shows nothing"
    return Result(
        {
            "cuts": done,
            "acknowledged transactions": commits,
            "cuts with NORMAL": normal,
            "of which lost something": lost,
        }
    )


def _loses(made: DirectLedger, image: bytes, chance: random.Random) -> bool:
    """Tell whether one cut loses something when SQLite syncs its log only now and then."""
    with closing(Machine(made, image, chance, {"synchronous": "NORMAL"})) as machine:
        try:
            return bool(machine.cut(verify=False))
        except apsw.CorruptError:
            return True


PART = Part(
    name="power-cuts",
    title="Simulated power cuts under SQLite: unsynced sectors are lost or torn",
    passes_when="nothing acknowledged is lost, no transaction is half there, drift 0; and with synchronous=NORMAL it fails",
    run=run,
    unit="cuts",
    size=100_000,
    share=10_000,
    small=150,
)
