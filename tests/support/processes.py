"""Processes of their own for tests that need two of them, or need one to die. Each function runs in a child."""

from __future__ import annotations

import asyncio
import multiprocessing
import resource
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path

from omixa.domain.ids import new_id
from omixa.errors import BudgetExceeded, InsufficientFunds, LedgerUnavailable
from omixa.gateway.settlement import NodeIdentity, Settlement
from omixa.storage.database import Database
from tests.support.ledger import NODE, Customer, a_call, a_hold
from tests.support.places import Place, SqlitePlace


def context() -> ForkServerContext:
    """Return a way to start processes that neither share this one's threads nor import everything anew."""
    started = multiprocessing.get_context("forkserver")
    started.set_forkserver_preload(["tests.support.processes"])
    return started


def _database(place: Place, fatal: list[str]) -> Database:
    database = Database(place.backend(), on_fatal=fatal.append)
    database.open()
    return database


def hold_many(place: Place, customer: Customer, count: int, amount: int, outcome: Connection) -> None:
    """Say that this process is ready, wait for the word, try `count` holds at once and send how many were admitted."""
    database = _database(place, [])
    settlement = Settlement(database, NodeIdentity(NODE, 1))

    async def one() -> int:
        request_id = new_id("req")
        try:
            await settlement.authorise(a_hold(customer, request_id, amount, settlement.node), [a_call(request_id)])
        except (InsufficientFunds, BudgetExceeded):
            return 0
        return 1

    async def all_of_them() -> int:
        return sum(await asyncio.gather(*(one() for _ in range(count))))

    outcome.send("ready")
    outcome.recv()
    outcome.send(asyncio.run(all_of_them()))
    database.close()


def hold_until_the_disk_fails(directory: Path, customer: Customer, spare_bytes: int, outcome: Connection) -> None:
    """Hold until no file may grow any more; send what was acknowledged, the reasons given, and how the next read went."""
    fatal: list[str] = []
    database = _database(SqlitePlace(directory / "omixa.db"), fatal)
    largest = max(path.stat().st_size for path in directory.iterdir() if path.is_file())
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest + spare_bytes, largest + spare_bytes))
    settlement = Settlement(database, NodeIdentity(NODE, 1))
    acknowledged: list[str] = []

    async def hold() -> None:
        while True:
            request_id = new_id("req")
            await settlement.authorise(a_hold(customer, request_id, 1, settlement.node), [])
            acknowledged.append(request_id)

    async def until_failure() -> tuple[str, str]:
        errors = []
        for _ in range(2):
            try:
                await hold()
            except LedgerUnavailable as error:
                errors.append(error.code)
        return errors[0], errors[1]

    errors = asyncio.run(until_failure())
    outcome.send((acknowledged, fatal, errors))
    database.close()
