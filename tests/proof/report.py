"""The page that tells what the last full run has proved: docs/proof.md."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.machine import facts
from tests.proof.part import Part, Result

_FACTS = ("system", "processor", "memory", "python", "sqlite", "commit")


@dataclass(frozen=True)
class Row:
    """What was done of a part in how many seconds of its processes."""

    part: Part
    size: int
    seconds: float
    seeds: tuple[int, ...]
    result: Result

    @classmethod
    def of(cls, part: Part, shares: Sequence[tuple[int, dict[str, Any]]]) -> Row:
        """Return the row of a part's shares: the size of each, and what is kept of it."""
        return cls(
            part,
            sum(size for size, _ in shares),
            sum(entry["seconds"] for _, entry in shares),
            tuple(entry["seed"] for _, entry in shares),
            Result.sum([Result(entry["figures"]) for _, entry in shares]),
        )


def page(rows: Sequence[Row], left_out: Sequence[Part], seed: int, seconds: float, root: Path) -> str:
    """Return the page."""
    today = datetime.datetime.now(datetime.UTC).date()
    lines = [
        "# What was proved of the ledger",
        "",
        f"`make prove` wrote this page on {today} after {seconds / 60:.0f} minutes, with seed {seed}. A run goes",
        "on when something fails, but writes no page: every line here has passed. `python -m tests.proof NAME --size N --seed S`",
        "runs a part alone; each of its processes had a seed of its own, the first of which is shown. The seconds are those of",
        "all its processes together, some of which ran side by side.",
        "",
        "| part | size | first seed | s | what happened in it |",
        "| --- | --: | --: | --: | --- |",
        *(_row(row) for row in rows),
        "",
        "| part | passes when |",
        "| --- | --- |",
        *(f"| `{row.part.name}` {row.part.title} | {row.part.passes_when} |" for row in rows),
        "",
        "| machine | |",
        "| --- | --- |",
        *(f"| {name} | {value} |" for name, value in facts(root).items() if name in _FACTS),
        "",
    ]
    lines += [f"Left out: `{part.name}`, {part.why_not()}." for part in left_out]
    return "\n".join(lines)


def _row(row: Row) -> str:
    told = ", ".join(f"{value:,} {name}" for name, value in row.result.figures.items() if name != row.part.unit)
    size = f"{row.size:,} {row.part.unit}"
    return f"| `{row.part.name}` | {size} | {row.seeds[0]} | {row.seconds:,.0f} | {told} |"
