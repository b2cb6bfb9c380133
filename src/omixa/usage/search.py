"""Requests found by words of their prompts, where those are kept: newest first, and a bounded stretch of them at a time.

A word is found anywhere in a prompt, without regard to upper and lower case or to how an accent is written. What is looked
through is read in the order of the log and compared here, because neither database folds more than what its own rules know.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

from sqlalchemy import BigInteger, Integer, Text, and_, bindparam, case, select

from omixa.domain.access import Mode
from omixa.storage.database import Transaction
from omixa.storage.tables import prompt, request
from omixa.usage.analytics import NEVER_MS, RequestFilter, RequestPage, RequestSummary, summarise

# Prompts that one page looks through at most, and characters of them: folding many takes longer than reading them.
MAX_LOOKED_THROUGH = 5_000
MAX_CHARS_LOOKED_THROUGH = 1_000_000
# Those that are in memory at a time.
_CHUNK = 250


def _optional(name: str) -> Any:
    """Return a condition that holds for every row when the parameter is None."""
    value = bindparam(name, type_=Text)
    return value.is_(None) | (request.c[name] == value)


_stretch = (
    select(prompt.c.request_id, prompt.c.text)
    .where(
        prompt.c.workspace_id == bindparam("of_workspace"),
        prompt.c.mode == bindparam("of_mode"),
        prompt.c.request_id < bindparam("before"),
        prompt.c.request_id >= bindparam("first"),
    )
    .order_by(prompt.c.request_id.desc())
    .limit(bindparam("limit", type_=Integer))
    .subquery("stretch")
)
_meant = and_(
    *(_optional(name) for name in ("model", "state", "outcome", "key_id")),
    request.c.created_at_ms >= bindparam("since_ms", type_=BigInteger),
    request.c.created_at_ms < bindparam("until_ms", type_=BigInteger),
    request.c.result_expires_at_ms > bindparam("now_ms", type_=BigInteger),
)
# Of a request that is not meant no more than its id is read, which tells how far the search has come.
_older = (
    select(_stretch.c.request_id, case((_meant, _stretch.c.text)).label("text"))
    .join(request, request.c.id == _stretch.c.request_id)
    .order_by(_stretch.c.request_id.desc())
)


def words_of(text: str) -> tuple[str, ...]:
    """Return the words of a question, folded, each once."""
    return tuple(dict.fromkeys(_folded(text).split()))


def search_requests(
    tx: Transaction,
    workspace_id: str,
    mode: Mode,
    words: Sequence[str],
    *,
    limit: int,
    after: str | None = None,
    only: RequestFilter,
) -> RequestPage:
    """Return up to `limit` requests whose pictures and prompt are kept, with all words in the prompt, as `list_requests` does.

    The words are those of `words_of`. The caller has found that the workspace keeps its prompts.
    """
    first, before = only.ids(after)
    given: dict[str, object] = {
        "of_workspace": workspace_id,
        "of_mode": mode,
        "first": first,
        "model": only.model,
        "state": only.state,
        "outcome": only.outcome,
        "key_id": only.key_id,
        "since_ms": only.since_ms or 0,
        "until_ms": NEVER_MS if only.until_ms is None else only.until_ms,
        "now_ms": tx.now_ms(),
    }
    found: list[RequestSummary] = []
    looked_through = chars = 0
    while looked_through < MAX_LOOKED_THROUGH and chars < MAX_CHARS_LOOKED_THROUGH:
        read = tx.all(_older, before=before, limit=_CHUNK, **given)
        texts = [(row["request_id"], row["text"]) for row in read if row["text"] is not None]
        matching = [request_id for request_id, text in texts if _has_all(text, words)]
        # One more than the page has room for tells that there is a next one.
        found += summarise(tx, workspace_id, mode, matching[: limit + 1 - len(found)])
        if len(found) > limit:
            return RequestPage(tuple(found[:limit]), found[limit - 1].id)
        if len(read) < _CHUNK:
            return RequestPage(tuple(found), None)
        before = read[-1]["request_id"]
        looked_through += len(read)
        chars += sum(len(text) for _, text in texts)
    return RequestPage(tuple(found), before, cut_after=looked_through)


def _has_all(text: str, words: Sequence[str]) -> bool:
    folded = _folded(text)
    return all(word in folded for word in words)


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text.casefold())
