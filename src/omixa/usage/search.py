"""Requests found by words of their prompts, where those are kept: newest first, and a bounded stretch of them at a time.

A word is found anywhere in a prompt, without regard to upper and lower case or to how an accent is written. What is looked
through is read in the order of the log and compared here, because neither database folds more than what its own rules know.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from omixa.domain.access import Mode
from omixa.storage import prompts
from omixa.storage.database import Transaction
from omixa.usage.analytics import RequestFilter, RequestPage, RequestSummary, summarise

# Prompts that one page looks through at most.
MAX_LOOKED_THROUGH = 5_000
# Those that are in memory at a time.
_CHUNK = 500


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
    found: list[RequestSummary] = []
    for _ in range(0, MAX_LOOKED_THROUGH, _CHUNK):
        read = prompts.older(tx, workspace_id, mode, before=before, first=first, limit=_CHUNK)
        matching = [request_id for request_id, text in read if _has_all(text, words)]
        # Rarely are more needed than fill the page.
        for start in range(0, len(matching), limit + 1):
            for one in summarise(tx, workspace_id, mode, matching[start : start + limit + 1]):
                if not only.takes(one) or (one.result_expires_at_ms or 0) <= tx.now_ms():
                    continue
                if len(found) == limit:
                    return RequestPage(tuple(found), found[-1].id)
                found.append(one)
        if len(read) < _CHUNK:
            return RequestPage(tuple(found), None)
        before = read[-1][0]
    return RequestPage(tuple(found), before, is_cut=True)


def _has_all(text: str, words: Sequence[str]) -> bool:
    folded = _folded(text)
    return all(word in folded for word in words)


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text.casefold())
