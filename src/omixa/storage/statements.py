"""Small builders of statements whose parameters are named like their columns."""

from __future__ import annotations

from sqlalchemy import Column, ColumnElement, Insert, Table, bindparam, insert, literal_column


def insert_into(table: Table, *columns: str) -> Insert:
    """Return an INSERT of the named columns, or of all of them; each takes a parameter of its own name."""
    names = columns or tuple(table.columns.keys())
    return insert(table).values({name: bindparam(name) for name in names})


def among(column: Column[str], *words: str) -> ColumnElement[bool]:
    """Return the condition that a column holds one of these words, which stand in the statement itself."""
    return column.in_([literal_column(f"'{word}'") for word in words])
