"""Rows that continue a chain of hashes, so that a row that was changed, added or taken away shows."""

from __future__ import annotations

import hashlib

import msgspec

from omixa.storage.database import Row
from omixa.storage.tables import audit_log, transfer

# What the first row of a chain continues.
GENESIS_HASH = "0" * 64

TRANSFER_COLUMNS = tuple(column.name for column in transfer.columns if column.name != "hash")
# The database numbers the rows of the audit log; their order is in the chain itself.
AUDIT_COLUMNS = tuple(column.name for column in audit_log.columns if column.name not in {"hash", "seq"})


def row_hash(row: Row, columns: tuple[str, ...]) -> str:
    """Return the SHA-256 over these columns of a row, the hash before it among them, in hexadecimal."""
    fields = [row[name] for name in columns]
    return hashlib.sha256(msgspec.json.encode(fields)).hexdigest()
