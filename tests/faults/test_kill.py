"""Killed at any moment: what was acknowledged is there, what was not is released, and every invariant holds."""

from __future__ import annotations

import logging
import random
from pathlib import Path

from sqlalchemy import bindparam, select
from tests.support import processes
from tests.support.ledger import disk_ledger

from omixa.storage.tables import request

log = logging.getLogger(__name__)

KILLS = 20
# A child is killed within this long after it has begun to work; the rest of the moment is the machine's.
MAX_DELAY_S = 0.03
_state = select(request.c.state).where(request.c.id == bindparam("request_id"))


def test_a_process_that_is_killed_at_any_moment_loses_no_acknowledged_charge(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(2**32)
    log.warning("seed %d", seed)
    chance = random.Random(seed)
    context = processes.context()
    with disk_ledger(tmp_path, credit=10**12) as disk:
        customer = disk.customer
        acknowledged: list[str] = []
        for _ in range(KILLS):
            disk.close_database()
            ours, theirs = context.Pipe(duplex=False)
            child = context.Process(target=processes.settle_until_killed, args=(tmp_path, customer, theirs))
            child.start()
            theirs.close()
            acknowledged.append(ours.recv())
            child.join(chance.random() * MAX_DELAY_S)
            child.kill()
            acknowledged += _rest(ours)
            child.join()
            disk.open()
            disk.restart()
            assert disk.verify(with_results=True).findings == ()
            assert disk.balance().held == 0
        states = {disk.read(lambda tx, name=name: tx.first(_state, request_id=name))["state"] for name in acknowledged}
        assert states == {"captured"}
        assert len(acknowledged) == len(set(acknowledged)) >= KILLS


def _rest(pipe: processes.Connection) -> list[str]:
    """Return what a killed process had said before it died."""
    said = []
    while True:
        try:
            said.append(pipe.recv())
        except (EOFError, OSError):
            return said
