"""Reconciliation with a provider: a usage file comes in, its lines find their calls, and what does not agree is written down."""

from __future__ import annotations

import asyncio
import datetime
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from omixa.access import store
from omixa.billing import reconciliation, statements
from omixa.billing.reconciliation import Pair, Report
from omixa.billing.statements import FileSummary, StatementError, StatementLine
from omixa.domain.times import start_of
from omixa.errors import InvalidRequest
from omixa.gateway.workspaces import require_reason
from omixa.storage.database import Database, Transaction

# Lines or calls in one transaction.
BATCH = 200
# Lines and calls that are matched from one snapshot.
PAIRS_AT_A_TIME = 20_000


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import brought. `new_lines` are those that no earlier file had; `repeated` says that the whole file was in."""

    file_id: str
    summary: FileSummary
    new_lines: int
    repeated: bool


class Reconciliation:
    """Works on one provider's files. `deployments` are the provider's names of the deployments that calls are routed to."""

    def __init__(self, database: Database, provider: str, deployments: Mapping[str, str]) -> None:
        self._database = database
        self._provider = provider
        self._deployments = deployments

    async def import_file(
        self, path: Path, *, since: datetime.date | None, until: datetime.date | None, actor: str
    ) -> Imported:
        """Import a usage file and compare it with the calls. The same file, or the same line of another one, counts once.

        `since` and `until` are the UTC days that the file covers as a whole, by default the time from its first to its last
        line: only there can it be told that a call was not billed. Raises InvalidRequest for a file with a fault; then nothing
        is written.
        """
        try:
            summary = await asyncio.to_thread(statements.summarize, path)
        except StatementError as error:
            raise InvalidRequest(f"{path.name}: {error}", param="file") from error
        covers_from_ms = summary.first_at_ms if since is None else start_of(since)
        covers_until_ms = summary.last_at_ms + 1 if until is None else start_of(until + datetime.timedelta(days=1))
        if covers_from_ms >= covers_until_ms:
            raise InvalidRequest("The first day is after the last one.", param="from")
        provider = self._provider

        def begin(tx: Transaction) -> tuple[str, bool]:
            return statements.begin_file(
                tx, provider, summary, covers_from_ms=covers_from_ms, covers_until_ms=covers_until_ms
            )

        file_id, repeated = await self._database.write(begin)
        new_lines = 0 if repeated else await self._insert(path, file_id, summary, actor)
        await self.reconcile()
        return Imported(file_id, summary, new_lines, repeated)

    async def _insert(self, path: Path, file_id: str, summary: FileSummary, actor: str) -> int:
        new_lines = 0
        lines = statements.read_lines(path)
        while batch := await asyncio.to_thread(lambda: list(itertools.islice(lines, BATCH))):

            def insert(tx: Transaction, batch: Sequence[StatementLine] = batch) -> int:
                return statements.insert_lines(tx, self._provider, file_id, batch)

            new_lines += await self._database.write(insert)

        def complete(tx: Transaction) -> None:
            statements.complete_file(tx, file_id)
            details = {
                "provider": self._provider,
                "name": summary.name,
                "digest": summary.digest,
                "lines": summary.line_count,
                "new_lines": new_lines,
            }
            store.audit(tx, actor=actor, action="statement.imported", target=file_id, details=details)

        await self._database.write(complete)
        return new_lines

    async def reconcile(self) -> None:
        """Match lines and calls, and judge every call that is open. What was found before is found again, once."""
        await self._match_by_request()
        await self._match_by_hour()
        await self._judge_open_calls()
        await self._database.write(lambda tx: reconciliation.close_strays(tx, self._provider))
        while await self._database.write(lambda tx: reconciliation.find_strays(tx, self._provider, BATCH)) == BATCH:
            pass

    async def _match_by_request(self) -> None:
        def find(tx: Transaction) -> list[Pair]:
            return reconciliation.pair_by_request(tx, self._provider, PAIRS_AT_A_TIME)

        while pairs := await self._database.read(find):
            await self._match(pairs, "request")

    async def _match_by_hour(self) -> None:
        def find(tx: Transaction) -> list[Pair]:
            return list(reconciliation.pair_by_hour(tx, self._provider, self._deployments))

        await self._match(await self._database.read(find), "hour")

    async def _match(self, pairs: Sequence[Pair], how: Literal["request", "hour"]) -> None:
        for start in range(0, len(pairs), BATCH):
            batch = pairs[start : start + BATCH]

            def operation(tx: Transaction, batch: Sequence[Pair] = batch) -> None:
                reconciliation.match(tx, batch, how)

            await self._database.write(operation)

    async def _judge_open_calls(self) -> None:
        last: str | None = ""
        while last is not None:

            def operation(tx: Transaction, after: str = last) -> str | None:
                calls = reconciliation.open_attempts(tx, self._provider, after, BATCH)
                for call in calls:
                    reconciliation.judge(tx, call)
                return calls[-1]["id"] if calls else None

            last = await self._database.write(operation)

    async def accept(self, finding_id: str, *, note: str, actor: str) -> None:
        """Explain a finding by taking over what the provider says. Raises NotFound, Conflict or InvalidRequest."""
        require_reason(note)

        def operation(tx: Transaction) -> None:
            found = reconciliation.accept(tx, finding_id, note)
            details = {"kind": found["kind"], "call": found["attempt_id"], "line": found["statement_id"], "note": note}
            store.audit(tx, actor=actor, action="finding.accepted", target=finding_id, details=details)

        await self._database.write(operation)

    async def report(self) -> Report:
        """Return where the reconciliation stands."""
        return await self._database.read(lambda tx: reconciliation.report(tx, self._provider))
