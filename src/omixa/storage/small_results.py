"""Results that are too small for a file of their own: they are stored in the transaction that charges for them.

A file costs a name, two syncs and two changes of threads, however small it is; a row in a transaction that is synced anyway
costs its bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import bindparam, delete, select

from omixa.storage.database import Transaction
from omixa.storage.statements import insert_into
from omixa.storage.tables import small_result

# What a request says instead of a file's name. Names of files have a slash.
IN_DATABASE = "database"

_insert = insert_into(small_result)
_one = select(small_result.c.data).where(small_result.c.request_id == bindparam("of_request"))
_delete = delete(small_result).where(small_result.c.request_id == bindparam("of_request"))


def keep(tx: Transaction, results: Mapping[str, bytes]) -> None:
    """Store results by request id."""
    tx.execute_many(_insert, [{"request_id": request_id, "data": data} for request_id, data in results.items()])


def find(tx: Transaction, request_id: str) -> bytes | None:
    """Return what is stored for a request, or None."""
    row = tx.first(_one, of_request=request_id)
    return None if row is None else bytes(row["data"])


def forget(tx: Transaction, request_ids: Sequence[str]) -> None:
    """Delete what is stored for requests."""
    tx.execute_many(_delete, [{"of_request": request_id} for request_id in request_ids])
