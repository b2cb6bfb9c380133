"""What providers bill against the calls that were made: matching, what follows for each call, and what does not agree.

A line belongs to the call whose id at the provider it names. Calls whose answer was cut have no such id: they take the nearest
line of their model and deployment within an hour that no other call claims. A call is explained when what the provider bills for
it is what is recorded as its cost; until then it is open. Test keys are the simulator's and are left out.
"""

from __future__ import annotations

import bisect
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from sqlalchemy import Integer, bindparam, exists, func, literal_column, null, or_, select, update

from omixa.billing import margins
from omixa.domain.ids import new_id
from omixa.errors import Conflict, FindingNotFound, InvalidRequest
from omixa.storage.database import Row, Transaction
from omixa.storage.statements import among, insert_into
from omixa.storage.tables import attempt, provider_file, provider_statement, recon_finding, request

FindingKind = Literal["no_attempt", "unknown_billed", "unknown_free", "price_differs", "not_billed"]
FindingState = Literal["open", "explained"]

# How far a line's time may be from its call's: exports often give the hour.
HOUR_MS = 3_600_000
# Exports round: half a micro-USD is no difference.
TOLERANCE_PICO_USD = 500_000
# Calls without an id at the provider that are matched by time; more than this at once means that files should be shorter.
MAX_CANDIDATES = 200_000
# An open call that is older is an alert.
ALERT_AFTER_MS = 35 * 86_400_000
# Findings that a report names one by one; further ones are counted.
MAX_FINDINGS = 1000

# ---------------------------------------------------------------------------------------------------------- matching by id

_pairs_by_request = (
    select(provider_statement.c.id.label("line_id"), attempt.c.id.label("attempt_id"))
    .join(
        attempt,
        (attempt.c.provider == provider_statement.c.provider)
        & (attempt.c.provider_request_id == provider_statement.c.provider_request_id),
    )
    .join(request, request.c.id == attempt.c.request_id)
    .where(
        provider_statement.c.provider == bindparam("provider"),
        provider_statement.c.attempt_id.is_(None),
        request.c.mode == "live",
    )
    .limit(bindparam("limit", type_=Integer))
)


@dataclass(frozen=True, slots=True)
class Pair:
    """A line and the call that it bills."""

    line_id: str
    attempt_id: str


def pair_by_request(tx: Transaction, provider: str, limit: int) -> list[Pair]:
    """Return up to `limit` lines that no call has yet, each with the call whose id at the provider it names."""
    rows = tx.all(_pairs_by_request, provider=provider, limit=limit)
    return [Pair(row["line_id"], row["attempt_id"]) for row in rows]


# -------------------------------------------------------------------------------------------------------- matching by hour

_is_matched = exists().where(provider_statement.c.attempt_id == attempt.c.id)
_was_unknown = exists().where(
    recon_finding.c.attempt_id == attempt.c.id, recon_finding.c.kind == literal_column("'unknown_free'")
)
_candidates = (
    select(attempt.c.id, attempt.c.deployment, attempt.c.sent_at_ms, request.c.model)
    .join(request, request.c.id == attempt.c.request_id)
    .where(
        attempt.c.provider == bindparam("provider"),
        attempt.c.provider_request_id.is_(None),
        # What cost nothing because nothing was sent is not billed under another name. What no file billed so far may be.
        or_(
            attempt.c.explained_at_ms.is_(None)
            & among(attempt.c.state, "unknown", "ok", "failed_billed", "superseded"),
            _was_unknown,
        ),
        request.c.mode == "live",
        ~_is_matched,
    )
    .order_by(attempt.c.sent_at_ms, attempt.c.id)
    .limit(bindparam("limit", type_=Integer))
)
_unmatched_lines = (
    select(provider_statement)
    .where(provider_statement.c.provider == bindparam("provider"), provider_statement.c.attempt_id.is_(None))
    .order_by(provider_statement.c.at_ms, provider_statement.c.id)
)


class _Candidates:
    """Calls without an id at the provider, by model, in the order of their time; each can be taken once."""

    def __init__(self, calls: Sequence[Row], deployments: Mapping[str, str]) -> None:
        self._calls: defaultdict[str, list[tuple[int, str, str | None]]] = defaultdict(list)
        for call in calls:
            name = deployments.get(call["deployment"])
            self._calls[call["model"].lower()].append((call["sent_at_ms"], call["id"], name))

    def take_nearest(self, line: Row) -> str | None:
        """Return the nearest call that the line can bill and keep it from further lines."""
        calls, at_ms = self._calls[line["model"].lower()], line["at_ms"]
        low = bisect.bisect_left(calls, (at_ms - HOUR_MS,))
        high = bisect.bisect_right(calls, (at_ms + HOUR_MS + 1,))
        fitting = [
            (abs(sent_at_ms - at_ms), position)
            for position, (sent_at_ms, _, name) in enumerate(calls[low:high], low)
            if None in {name, line["deployment"]} or name == line["deployment"]
        ]
        if not fitting:
            return None
        _, position = min(fitting)
        return calls.pop(position)[1]


def pair_by_hour(tx: Transaction, provider: str, deployments: Mapping[str, str]) -> Iterator[Pair]:
    """Give lines that name no known call, each with the nearest call that has no id at the provider.

    `deployments` are the provider's names of the deployments that calls were routed to; where that or the line's is not known,
    the model alone decides. Raises InvalidRequest when too many calls have no id.
    """
    calls = tx.all(_candidates, provider=provider, limit=MAX_CANDIDATES + 1)
    if len(calls) > MAX_CANDIDATES:
        raise InvalidRequest(f"More than {MAX_CANDIDATES} calls have no id at the provider: they cannot be told apart.")
    candidates = _Candidates(calls, deployments)
    for line in tx.each(_unmatched_lines, provider=provider) if calls else ():
        if (attempt_id := candidates.take_nearest(line)) is not None:
            yield Pair(line["id"], attempt_id)


_match = (
    update(provider_statement)
    .where(provider_statement.c.id == bindparam("line_id"), provider_statement.c.attempt_id.is_(None))
    .values(attempt_id=bindparam("of_attempt"), matched_by=bindparam("how"))
)
_open_again = (
    update(attempt)
    .where(attempt.c.id == bindparam("attempt_id"), attempt.c.explained_at_ms.is_not(None))
    .values(explained_at_ms=null())
)


def match(tx: Transaction, pairs: Sequence[Pair], how: Literal["request", "hour"]) -> None:
    """Write down which call each line bills. A call that was explained without the line is open again."""
    tx.execute_many(_match, [{"line_id": pair.line_id, "of_attempt": pair.attempt_id, "how": how} for pair in pairs])
    tx.execute_many(_open_again, [{"attempt_id": pair.attempt_id} for pair in pairs])


# --------------------------------------------------------------------------------------------------------------- verdicts

_open_attempts = (
    select(attempt, request.c.model)
    .join(request, request.c.id == attempt.c.request_id)
    .where(
        attempt.c.id > bindparam("after"),
        attempt.c.provider == bindparam("provider"),
        attempt.c.state != "sent",
        attempt.c.explained_at_ms.is_(None),
        request.c.mode == "live",
    )
    .order_by(attempt.c.id)
    .limit(bindparam("limit", type_=Integer))
)


def open_attempts(tx: Transaction, provider: str, after: str, limit: int) -> Sequence[Row]:
    """Return up to `limit` calls of a provider that are not explained yet, from behind one of them on."""
    return tx.all(_open_attempts, provider=provider, after=after, limit=limit)


_billed = select(
    func.count().label("line_count"), func.coalesce(func.sum(provider_statement.c.amount_pico_usd), 0).label("amount")
).where(provider_statement.c.attempt_id == bindparam("attempt_id"))
_is_covered = select(provider_file.c.id).where(
    provider_file.c.provider == bindparam("provider"),
    provider_file.c.completed_at_ms.is_not(None),
    provider_file.c.covers_from_ms <= bindparam("at_ms"),
    provider_file.c.covers_until_ms > bindparam("at_ms"),
)
_explain = (
    update(attempt)
    .where(attempt.c.id == bindparam("attempt_id"))
    .values(
        state=bindparam("new_state"),
        cost_pico_usd=bindparam("cost"),
        cost_basis=bindparam("basis"),
        explained_at_ms=bindparam("now"),
    )
)
_insert_finding = insert_into(recon_finding)
_finding_of_attempt = select(recon_finding.c.id).where(
    recon_finding.c.kind == bindparam("kind"), recon_finding.c.attempt_id == bindparam("attempt_id")
)
_reopen = (
    update(recon_finding)
    .where(recon_finding.c.id == bindparam("finding_id"))
    .values(
        expected_pico_usd=bindparam("expected"),
        billed_pico_usd=bindparam("billed"),
        state=bindparam("new_state"),
        closed_at_ms=bindparam("closed"),
    )
)
_close_others = (
    update(recon_finding)
    .where(
        recon_finding.c.attempt_id == bindparam("of_attempt"),
        recon_finding.c.kind != bindparam("but_kind"),
        recon_finding.c.state == "open",
    )
    .values(state="explained", note="a later file tells otherwise", closed_at_ms=bindparam("now"))
)


def judge(tx: Transaction, call: Row) -> bool:
    """Compare a call with what is billed for it; return whether it is explained from now on.

    What is not known of its cost is taken from the provider. Where the provider says something else than what is known, a finding
    stays open. That nothing is billed counts only where a file covers the call's time.
    """
    found = tx.first(_billed, attempt_id=call["id"])
    assert found is not None, "an aggregate has a row"
    lines, billed = int(found["line_count"]), int(found["amount"])
    if not lines and tx.first(_is_covered, provider=call["provider"], at_ms=call["sent_at_ms"]) is None:
        return False
    presumed = call["state"] == "failed_billed" and call["cost_basis"] == "estimated"
    if call["state"] == "unknown" or presumed or _seemed_free(tx, call):
        kind: FindingKind = "unknown_billed" if billed else "unknown_free"
        _find(tx, call, kind, billed, state="explained")
        state, basis = ("failed_billed", "reported") if billed else ("failed_free", "none")
        return _explained(tx, call, state, billed, basis)
    if lines and call["cost_basis"] == "estimated":
        _close(tx, call)
        return _explained(tx, call, call["state"], max(billed, 0), "reported")
    if abs(billed - call["cost_pico_usd"]) <= TOLERANCE_PICO_USD:
        _close(tx, call)
        return _explained(tx, call, call["state"], call["cost_pico_usd"], call["cost_basis"])
    _find(tx, call, "price_differs" if lines else "not_billed", billed, state="open")
    return False


def _seemed_free(tx: Transaction, call: Row) -> bool:
    """Tell whether a call was unknown and was then found not to be billed."""
    found = tx.first(_finding_of_attempt, kind="unknown_free", attempt_id=call["id"])
    return call["state"] == "failed_free" and found is not None


def _explained(tx: Transaction, call: Row, state: str, cost_pico_usd: int, basis: str) -> bool:
    with margins.changing_cost(tx, call["id"]):
        tx.execute(_explain, attempt_id=call["id"], new_state=state, cost=cost_pico_usd, basis=basis, now=tx.now_ms())
    return True


def _close(tx: Transaction, call: Row, but_kind: str = "") -> None:
    tx.execute(_close_others, of_attempt=call["id"], but_kind=but_kind, now=tx.now_ms())


def _find(tx: Transaction, call: Row, kind: FindingKind, billed_pico_usd: int, *, state: FindingState) -> None:
    """Write down a finding about a call, or what is new about it."""
    _close(tx, call, kind)
    closed = tx.now_ms() if state == "explained" else None
    known = tx.first(_finding_of_attempt, kind=kind, attempt_id=call["id"])
    if known is None:
        _insert(
            tx,
            call["provider"],
            kind,
            billed_pico_usd,
            attempt_id=call["id"],
            expected=call["cost_pico_usd"],
            state=state,
        )
        return
    tx.execute(
        _reopen,
        finding_id=known["id"],
        expected=call["cost_pico_usd"],
        billed=billed_pico_usd,
        new_state=state,
        closed=closed,
    )


def _insert(
    tx: Transaction,
    provider: str,
    kind: FindingKind,
    billed_pico_usd: int,
    *,
    attempt_id: str | None = None,
    statement_id: str | None = None,
    expected: int | None = None,
    state: FindingState = "open",
) -> None:
    tx.execute(
        _insert_finding,
        id=new_id("find"),
        provider=provider,
        kind=kind,
        attempt_id=attempt_id,
        statement_id=statement_id,
        expected_pico_usd=expected,
        billed_pico_usd=billed_pico_usd,
        state=state,
        note="",
        created_at_ms=tx.now_ms(),
        closed_at_ms=tx.now_ms() if state == "explained" else None,
    )


_has_finding = exists().where(recon_finding.c.statement_id == provider_statement.c.id)
_new_strays = (
    select(provider_statement.c.id, provider_statement.c.provider, provider_statement.c.amount_pico_usd)
    .where(
        provider_statement.c.provider == bindparam("provider"),
        provider_statement.c.attempt_id.is_(None),
        ~_has_finding,
    )
    .limit(bindparam("limit", type_=Integer))
)
_close_strays = (
    update(recon_finding)
    .where(
        recon_finding.c.provider == bindparam("of_provider"),
        recon_finding.c.state == "open",
        recon_finding.c.statement_id.in_(
            select(provider_statement.c.id).where(provider_statement.c.attempt_id.is_not(None))
        ),
    )
    .values(state="explained", note="a call was found for it", closed_at_ms=bindparam("now"))
)


def find_strays(tx: Transaction, provider: str, limit: int) -> int:
    """Write down findings for up to `limit` lines that bill no call of ours, and return how many."""
    strays = tx.all(_new_strays, provider=provider, limit=limit)
    for line in strays:
        _insert(tx, line["provider"], "no_attempt", line["amount_pico_usd"], statement_id=line["id"])
    return len(strays)


def close_strays(tx: Transaction, provider: str) -> None:
    """Close the findings about lines for which a call was found after all."""
    tx.execute(_close_strays, of_provider=provider, now=tx.now_ms())


# -------------------------------------------------------------------------------------------------------------- resolving

_finding = select(recon_finding).where(recon_finding.c.id == bindparam("finding_id"))
_accept = (
    update(recon_finding)
    .where(recon_finding.c.id == bindparam("finding_id"), recon_finding.c.state == "open")
    .values(state="explained", note=bindparam("why"), closed_at_ms=bindparam("now"))
)
_attempt = select(attempt).where(attempt.c.id == bindparam("attempt_id"))


def accept(tx: Transaction, finding_id: str, note: str) -> Row:
    """Explain a finding: what the provider says is taken over. Returns the finding. Raises NotFound or Conflict."""
    found = tx.first(_finding, finding_id=finding_id)
    if found is None:
        raise FindingNotFound(f"There is no finding {finding_id[:80]}.")
    if not tx.execute(_accept, finding_id=finding_id, why=note, now=tx.now_ms()):
        raise Conflict(f"{finding_id} is explained already.")
    if found["attempt_id"] is not None:
        call = tx.first(_attempt, attempt_id=found["attempt_id"])
        assert call is not None, "a finding refers to its call"
        cost = max(found["billed_pico_usd"], 0)
        state = "failed_billed" if call["state"] == "failed_free" and cost else call["state"]
        _explained(tx, call, state, cost, "reported")
    return found


# ----------------------------------------------------------------------------------------------------------------- report


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding. `subject` is the call or the line; amounts are pico-USD, times Unix milliseconds."""

    id: str
    provider: str
    kind: FindingKind
    state: FindingState
    attempt_id: str | None
    request_id: str | None
    statement_id: str | None
    provider_request_id: str | None
    expected_pico_usd: int | None
    billed_pico_usd: int
    note: str
    created_at_ms: int


@dataclass(slots=True)
class Lines:
    """How many lines, and what they bill together."""

    count: int = 0
    amount_pico_usd: int = 0


@dataclass(slots=True)
class Report:
    """Where reconciliation stands. `lines` are by how they were matched, `calls` by state; overdue ones are open for too long."""

    files: int = 0
    lines: dict[str, Lines] = field(default_factory=dict)
    calls: dict[FindingState, int] = field(default_factory=lambda: {"explained": 0, "open": 0})
    overdue: int = 0
    findings: dict[tuple[FindingKind, FindingState], int] = field(default_factory=dict)
    listed: list[Finding] = field(default_factory=list)


_file_count = select(func.count().label("files")).where(
    provider_file.c.provider == bindparam("provider"), provider_file.c.completed_at_ms.is_not(None)
)
_line_amounts = select(provider_statement.c.matched_by, provider_statement.c.amount_pico_usd).where(
    provider_statement.c.provider == bindparam("provider")
)
_call_states = (
    select(
        func.count().label("total"),
        func.count(attempt.c.explained_at_ms).label("explained"),
    )
    .select_from(attempt)
    .join(request, request.c.id == attempt.c.request_id)
    .where(attempt.c.provider == bindparam("provider"), attempt.c.state != "sent", request.c.mode == "live")
)
_overdue = _call_states.where(attempt.c.explained_at_ms.is_(None), attempt.c.ended_at_ms < bindparam("before"))
_finding_counts = (
    select(recon_finding.c.kind, recon_finding.c.state, func.count().label("found"))
    .where(recon_finding.c.provider == bindparam("provider"))
    .group_by(recon_finding.c.kind, recon_finding.c.state)
)
_found = (
    select(
        recon_finding,
        attempt.c.request_id,
        func.coalesce(provider_statement.c.provider_request_id, attempt.c.provider_request_id).label(
            "provider_request_id"
        ),
    )
    .outerjoin(attempt, attempt.c.id == recon_finding.c.attempt_id)
    .outerjoin(provider_statement, provider_statement.c.id == recon_finding.c.statement_id)
)
_listed = (
    _found.where(recon_finding.c.provider == bindparam("provider"), recon_finding.c.state == literal_column("'open'"))
    .order_by(recon_finding.c.id)
    .limit(bindparam("limit", type_=Integer))
)


_open_counts = (
    select(recon_finding.c.provider, recon_finding.c.kind, func.count().label("found"))
    .where(recon_finding.c.state == literal_column("'open'"))
    .group_by(recon_finding.c.provider, recon_finding.c.kind)
    .order_by(recon_finding.c.provider, recon_finding.c.kind)
)
_open_page = (
    _found.where(recon_finding.c.state == literal_column("'open'"), recon_finding.c.id > bindparam("after"))
    .order_by(recon_finding.c.id)
    .limit(bindparam("limit", type_=Integer))
)


def count_open(tx: Transaction) -> dict[tuple[str, FindingKind], int]:
    """Return how many findings wait to be explained, by provider and kind."""
    return {(row["provider"], row["kind"]): row["found"] for row in tx.all(_open_counts)}


def open_findings(tx: Transaction, *, limit: int, after: str = "") -> tuple[list[Finding], str | None]:
    """Return up to `limit` findings of all providers that wait to be explained, behind one of them, and the next cursor."""
    # One more than asked for tells whether there is a next page.
    rows = tx.all(_open_page, limit=limit + 1, after=after)
    found = [_as_finding(row) for row in rows[:limit]]
    return found, found[-1].id if found and len(rows) > limit else None


def report(tx: Transaction, provider: str) -> Report:
    """Return where the reconciliation with a provider stands, with up to MAX_FINDINGS open findings."""
    made = Report()
    files, calls = tx.first(_file_count, provider=provider), tx.first(_call_states, provider=provider)
    overdue = tx.first(_overdue, provider=provider, before=tx.now_ms() - ALERT_AFTER_MS)
    assert files is not None, "an aggregate has a row"
    assert calls is not None, "an aggregate has a row"
    assert overdue is not None, "an aggregate has a row"
    made.files = files["files"]
    made.calls = {"explained": calls["explained"], "open": calls["total"] - calls["explained"]}
    made.overdue = overdue["total"]
    # Added up here, because a sum of pico-USD can be larger than the database's integers.
    for row in tx.each(_line_amounts, provider=provider):
        lines = made.lines.setdefault(row["matched_by"] or "none", Lines())
        lines.count += 1
        lines.amount_pico_usd += row["amount_pico_usd"]
    made.findings = {(row["kind"], row["state"]): row["found"] for row in tx.all(_finding_counts, provider=provider)}
    made.listed = [_as_finding(row) for row in tx.all(_listed, provider=provider, limit=MAX_FINDINGS)]
    return made


def _as_finding(row: Row) -> Finding:
    return Finding(**{name: row[name] for name in Finding.__dataclass_fields__})
