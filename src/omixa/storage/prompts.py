"""Prompts of workspaces that want them kept: each beside the pictures that were made of it, and no longer than those.

Whether one is wanted is asked of the workspace by the statement that writes it, so that a request that began before the
workspace has changed its mind leaves nothing. Functions of a transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Integer, Text, and_, bindparam, delete, func, insert, literal_column, not_, select

from omixa.storage.database import Transaction
from omixa.storage.tables import prompt, request, workspace

# What is kept of one. A few pages of text are more than people search by.
MAX_CHARS = 10_000

_wanted = and_(
    workspace.c.keep_prompts == literal_column("1"),
    func.coalesce(workspace.c.result_retention_ms, literal_column("1")) != literal_column("0"),
)
_insert = insert(prompt).from_select(
    ["request_id", "workspace_id", "mode", "text"],
    select(request.c.id, request.c.workspace_id, request.c.mode, bindparam("words", type_=Text))
    .select_from(request.join(workspace, workspace.c.id == request.c.workspace_id))
    .where(request.c.id == bindparam("of_request"), _wanted),
)
_one = select(prompt.c.request_id, prompt.c.text).where(prompt.c.request_id == bindparam("of_request"))
_unwanted = (
    select(prompt.c.request_id)
    .join(workspace, workspace.c.id == prompt.c.workspace_id)
    .where(prompt.c.workspace_id == bindparam("of_workspace"), not_(_wanted))
    .limit(bindparam("limit", type_=Integer))
)
_delete = delete(prompt).where(prompt.c.request_id == bindparam("of_request"))


def keep(tx: Transaction, texts: Mapping[str, str]) -> None:
    """Keep prompts by request id, as far as the workspaces of those requests want that. One without words is none."""
    tx.execute_many(
        _insert,
        [{"of_request": request_id, "words": text[:MAX_CHARS]} for request_id, text in texts.items() if text.strip()],
    )


def find(tx: Transaction, request_ids: Sequence[str]) -> Mapping[str, str]:
    """Return the prompts that are kept of requests, which the caller knows to be of one workspace, by request id."""
    rows = tx.first_of_each(_one, [{"of_request": request_id} for request_id in request_ids])
    return {row["request_id"]: row["text"] for row in rows if row is not None}


def forget(tx: Transaction, request_ids: Sequence[str]) -> None:
    """Delete what is kept of requests."""
    tx.execute_many(_delete, [{"of_request": request_id} for request_id in request_ids])


def forget_unwanted(tx: Transaction, workspace_id: str, *, limit: int) -> int:
    """Delete up to `limit` prompts of a workspace that keeps none now, and return how many those were."""
    found = [row["request_id"] for row in tx.all(_unwanted, of_workspace=workspace_id, limit=limit)]
    forget(tx, found)
    return len(found)
