"""What a repeated request gets: the rules of Idempotency-Key, of retries that carry none, and of results never charged.

Everything is decided in the transaction that would hold the money, so that of two that race, in one process or in several,
only one holds. `decide` looks before the hold, `claim` writes after it and raises when somebody else was in between, and both
raise when requests of one group concern each other: then the group is run again one by one, and the loser finds the winner.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from omixa.billing.ledger import Hold, StoredResult
from omixa.domain.money import format_usd
from omixa.errors import (
    Gone,
    IdempotencyInProgress,
    IdempotencyMismatch,
    OmixaError,
    SettlementUnavailable,
    UpstreamRefused,
)
from omixa.storage import repeats, retention
from omixa.storage.database import Transaction
from omixa.storage.repeats import EarlierRequest, KeyHolder, ParkedResult, Scope

KEY_HEADER = "Idempotency-Key"
# A retry without a key joins a request up to so long after its end. Clients wait at most a minute between tries.
JOIN_WINDOW_MS = 600_000
# How long a result that was never charged waits for a repeat.
PARKED_RETENTION_MS = 24 * 3_600_000
# When to ask again for an answer that is still being made.
RUNNING_RETRY_AFTER_S = 2


@dataclass(frozen=True, slots=True)
class RequestIdentity:
    """By what a repeat of a request is recognised.

    `fingerprint` is a SHA-256 over what was asked. `key` is the client's own, kept for `retention_ms`. `is_retry` says that the
    client has sent the same before.
    """

    endpoint: str
    fingerprint: str
    key: str | None
    is_retry: bool
    retention_ms: int


class KeptRefusal(msgspec.Struct, frozen=True):
    """A refusal of content as it was told."""

    message: str
    code: str
    param: str | None

    def error(self) -> OmixaError:
        """Return the refusal as it was raised."""
        return UpstreamRefused(self.message, code=self.code, param=self.param)


@dataclass(frozen=True, slots=True)
class Earlier:
    """An earlier request answers this one: with its stored answer, its refusal, or, with neither, when it has ended.

    The answer is kept until `kept_until_ms`. `joined` says that a retry without a key found it.
    """

    request_id: str
    ref: str | None = None
    digest: str | None = None
    kept_until_ms: int = 0
    refusal: KeptRefusal | None = None
    joined: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a request that asks for a hold.

    It goes on with `hold`, with `parked` in the place of a provider's answer where that is given, or it ends with `earlier`
    or with `error`. `replaces` is the request that had its key before.
    """

    hold: Hold
    identity: RequestIdentity | None
    parked: ParkedResult | None = None
    earlier: Earlier | None = None
    error: OmixaError | None = None
    replaces: str | None = None

    @property
    def goes_on(self) -> bool:
        """Tell whether money is to be held."""
        return self.earlier is None and self.error is None


@dataclass(frozen=True, slots=True)
class Remains:
    """What is kept of a request that is released: a refusal for repeats, or a result that was made and not charged."""

    refusal: OmixaError | None = None
    refusal_retention_ms: int = 0
    parked: StoredResult | None = None


def decide(tx: Transaction, asked: Sequence[tuple[Hold, RequestIdentity | None]]) -> list[Decision]:
    """Look at what earlier requests brought, before anything is held. Raises IdempotencyInProgress when two are the same."""
    _require_strangers(asked)
    keyed = [_scope(hold, identity) for hold, identity in asked if identity is not None and identity.key is not None]
    holders = iter(repeats.holders(tx, keyed))
    decisions = []
    for hold, identity in asked:
        if identity is None or not (identity.key or identity.is_retry):
            decisions.append(Decision(hold, identity))
        elif identity.key is not None:
            decisions.append(_under_key(hold, identity, next(holders)))
        else:
            decisions.append(_as_retry(tx, hold, identity))
    return decisions


def claim(tx: Transaction, decisions: Iterable[Decision]) -> None:
    """Put requests that hold money under their keys. Raises IdempotencyInProgress when another one was in between."""
    for decision in decisions:
        identity = decision.identity
        if identity is not None and not _is_first(tx, decision, identity):
            raise _overtaken()


def _is_first(tx: Transaction, decision: Decision, identity: RequestIdentity) -> bool:
    hold = decision.hold
    if identity.key is None:
        asks_anew = identity.is_retry and decision.parked is None
        return not asks_anew or _original(tx, hold, identity, besides=hold.request_id) is None
    holder = (_scope(hold, identity), identity.fingerprint, hold.request_id, identity.retention_ms)
    if decision.replaces is not None:
        return repeats.take_over_key(tx, *holder, from_request_id=decision.replaces)
    repeats.take_key(tx, *holder)
    return True


def use_parked(tx: Transaction, request_ids: Iterable[str]) -> None:
    """Take parked results away in the transaction that charges for them. Raises SettlementUnavailable when one is gone."""
    for request_id in request_ids:
        if not repeats.unpark(tx, request_id):
            raise SettlementUnavailable(
                "The result that was to be charged has been charged already. Nothing was charged. Try again.",
                retry_after_s=1,
            )


def keep(tx: Transaction, request_id: str, remains: Remains) -> None:
    """Keep what is left of a request that was released."""
    if remains.refusal is not None:
        kept = KeptRefusal(remains.refusal.message, remains.refusal.code, remains.refusal.param)
        repeats.keep_refusal(tx, request_id, msgspec.json.encode(kept).decode(), remains.refusal_retention_ms)
    # A result that was parked before, for another request, is still there under that.
    if remains.parked is not None and not repeats.is_reissue(tx, request_id):
        parked = ParkedResult(request_id, remains.parked.ref, remains.parked.digest)
        repeats.park(tx, parked, _parked_retention_ms(tx, request_id))


def _parked_retention_ms(tx: Transaction, request_id: str) -> int:
    """Return how long a result that was never charged waits: no longer than others of its workspace are kept."""
    own = retention.of_request(tx, request_id)
    return PARKED_RETENTION_MS if own is None else min(own or JOIN_WINDOW_MS, PARKED_RETENTION_MS)


def outcome(tx: Transaction, request_id: str) -> Earlier | EarlierRequest | None:
    """Return how a request that a retry has joined answers it, the request while it runs, or None when it failed."""
    found = repeats.find(tx, request_id)
    if found is None or found.state == "held":
        return found
    return _answer(found, joined=True)


def _require_strangers(asked: Sequence[tuple[Hold, RequestIdentity | None]]) -> None:
    """Raise IdempotencyInProgress when one of a group would have to see what another one of it writes."""
    if len(asked) == 1:
        return
    seen: set[object] = set()
    for hold, identity in asked:
        if identity is None:
            continue
        name = (hold.key_id, identity.fingerprint) if identity.key is None else _scope(hold, identity)
        if name in seen and (identity.key is not None or identity.is_retry):
            raise _overtaken()
        seen.add(name)


def _scope(hold: Hold, identity: RequestIdentity) -> Scope:
    assert identity.key is not None
    return Scope(hold.workspace_id, hold.mode, identity.endpoint, identity.key)


def _under_key(hold: Hold, identity: RequestIdentity, holder: KeyHolder | None) -> Decision:
    if holder is None:
        return Decision(hold, identity)
    found = holder.request
    if holder.expired and found.parked is None:
        return Decision(hold, identity, replaces=found.id)
    if holder.fingerprint != identity.fingerprint:
        return Decision(hold, identity, error=_mismatch())
    if found.state == "held":
        return Decision(hold, identity, error=_in_progress(found.id))
    if (gone := _gone(found)) is not None:
        return Decision(hold, identity, error=gone)
    answer = _answer(found, joined=False)
    if answer is not None:
        return Decision(hold, identity, earlier=answer)
    return dataclasses.replace(_with_parked(hold, identity, found), replaces=found.id)


def _as_retry(tx: Transaction, hold: Hold, identity: RequestIdentity) -> Decision:
    found = _original(tx, hold, identity)
    if found is None:
        return Decision(hold, identity)
    if found.parked is not None:
        return _with_parked(hold, identity, found)
    if (gone := _gone(found)) is not None:
        return Decision(hold, identity, error=gone)
    repeats.join(tx, found.id)
    if found.state == "held":
        return Decision(hold, identity, earlier=Earlier(found.id, joined=True))
    return Decision(hold, identity, earlier=_answer(found, joined=True))


def _original(
    tx: Transaction, hold: Hold, identity: RequestIdentity, *, besides: str | None = None
) -> EarlierRequest | None:
    """Return the request of which this one is a retry, or None.

    It is the oldest whose client has left or else the latest; where that one failed, this one takes its place.
    """
    since_ms = tx.now_ms() - JOIN_WINDOW_MS
    same = [one for one in repeats.with_fingerprint(tx, hold.key_id, identity.fingerprint) if one.id != besides]
    left = [one for one in same if one.left_at_ms is not None and _can_answer(one, since_ms)]
    latest = max(same, key=_lateness, default=None)
    if left or latest is None:
        return left[-1] if left else None
    return latest if _can_answer(latest, since_ms) else None


def _lateness(found: EarlierRequest) -> tuple[bool, int, bool, str]:
    """Return by what requests are ordered: those that run come last, before them the one that ended last.

    Not by their ids: of retries that race, one that came first may be held only after another one has failed.
    """
    answers = found.state == "captured" or found.error_json is not None or found.parked is not None
    return found.ended_at_ms is None, found.ended_at_ms or 0, answers, found.id


def _can_answer(found: EarlierRequest, since_ms: int) -> bool:
    if found.state == "held" or found.ended_at_ms is None:
        return True
    recent = found.ended_at_ms >= since_ms
    # One whose result is gone answers that it is: making it again would charge for it again.
    return found.parked is not None or (recent and (found.state == "captured" or found.error_json is not None))


def _answer(found: EarlierRequest, *, joined: bool) -> Earlier | None:
    """Return how a request that has ended answers a repeat; None where it failed for a time."""
    if found.state == "captured":
        if found.ref is None:
            return None
        return Earlier(found.id, found.ref, found.digest, found.kept_until_ms, joined=joined)
    if found.error_json is None:
        return None
    return Earlier(found.id, refusal=msgspec.json.decode(found.error_json, type=KeptRefusal), joined=joined)


def _with_parked(hold: Hold, identity: RequestIdentity, found: EarlierRequest) -> Decision:
    if found.parked is None:
        return Decision(hold, identity)
    return Decision(dataclasses.replace(hold, parked_from=found.parked.request_id), identity, parked=found.parked)


def _gone(found: EarlierRequest) -> Gone | None:
    """Return what is told of a request that was charged and whose answer is not there any more."""
    if found.state != "captured" or found.ref is not None:
        return None
    return gone(found.id, found.charged_micro_usd, deleted=found.deleted)


def gone(request_id: str, charged_micro_usd: int, *, deleted: bool) -> Gone:
    """Return what is told of an answer whose time has passed, or that was deleted before."""
    why, code = ("was deleted", "result_deleted") if deleted else ("is no longer kept", "result_expired")
    return Gone(
        f"The result of {request_id} {why}. It was billed {format_usd(charged_micro_usd)} USD.",
        code=code,
        billed_micro_usd=charged_micro_usd,
    )


def _mismatch() -> IdempotencyMismatch:
    return IdempotencyMismatch(
        f"This {KEY_HEADER} was used for another request. Nothing was charged. Use a new key for a new request,"
        " and the same body with the same key.",
        param=KEY_HEADER,
    )


def _overtaken() -> IdempotencyInProgress:
    return IdempotencyInProgress(
        "The same request was sent twice at the same moment. Send it again later for its answer.",
        param=KEY_HEADER,
        retry_after_s=RUNNING_RETRY_AFTER_S,
    )


def _in_progress(request_id: str) -> IdempotencyInProgress:
    return IdempotencyInProgress(
        f"{request_id}, the request with this {KEY_HEADER}, is still in progress. Send it again later for its answer.",
        param=KEY_HEADER,
        retry_after_s=RUNNING_RETRY_AFTER_S,
    )
