"""Small builders of statements whose parameters are named like their columns."""

from __future__ import annotations

from sqlalchemy import Insert, Table, bindparam, insert


def insert_into(table: Table, *columns: str) -> Insert:
    """Return an INSERT of the named columns, or of all of them; each takes a parameter of its own name."""
    names = columns or tuple(table.columns.keys())
    return insert(table).values({name: bindparam(name) for name in names})
