"""Which tests play which row of the fault matrix, in which form, for which operation; and the page that says so.

    python -m tests.support.matrix           writes docs/fault-matrix.md
    python -m tests.support.matrix --check   fails where that page is stale, or a row is not played in all four ways

A test says with the marker `matrix` which rows it plays; without names, its parameter `fault` or `row` says so. Its parameters
`edit` and `stream` tell the operation and the form.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "fault-matrix.md"
WAYS = tuple((edit, stream) for edit in (False, True) for stream in (False, True))
ROWS: Mapping[int, tuple[str, str]] = {
    1: ("429 with Retry-After", "429 with the shortest wait; nothing"),
    2: ("429, the account's quota is used up", "503; nothing"),
    3: ("401, 403", "503; nothing"),
    4: ("404 of a model, 400 of a parameter", "400, or 503 where the operator is at fault; nothing"),
    5: ("content refused", "400, at no other key; nothing"),
    6: ("500, 502, 504", "502; nothing"),
    7: ("503", "503; nothing"),
    8: ("connection refused, no such name, no TLS", "502; nothing"),
    9: ("nobody accepts the connection", "504; nothing"),
    10: ("no first byte", "504; nothing"),
    11: ("slow drip, or past the deadline", "504; nothing"),
    12: ("connection broken in the body, wrong length", "502; nothing"),
    13: ("200 with HTML, or not HTTP at all", "502; nothing"),
    14: ("200 with JSON that is broken or lacks fields", "502; nothing"),
    15: ("200 with what is no picture, or another one", "502; nothing"),
    16: ("200 with no picture in it", "502; nothing"),
    17: ("fewer pictures than asked for", "200; those that came"),
    18: ("no usage, or an impossible one", "200; the flat price"),
    19: ("more usage than was held", "200; the hold"),
    20: ("the picture lies nowhere, or inwards", "502; nothing"),
    21: ("the API redirects", "502; nothing"),
    22: ("too large a body", "502; nothing"),
    23: ("an answer that comes too late", "as decided before; once"),
    24: ("the client leaves before or after the request is sent", "nothing; the picture, which is kept"),
    25: ("the client's body is slow, cut short or too large", "408, 400, 413; nothing"),
    26: ("no ledger before the hold", "503, no provider called; nothing"),
    27: ("no ledger at the charge", "503, the result waits; nothing"),
    28: ("a commit whose outcome is not known", "the reply after it was looked up; once"),
    29: ("a disk that is full or fails", "503, the process ends; nothing"),
    30: ("the server is killed", "nothing, or once and again the same"),
    31: ("somebody else has taken the hold over", "503; nothing"),
    32: ("no cache beside the ledger", "as ever: there is none"),
    33: ("the clock jumps", "as ever; as ever"),
    34: ("all keys are left alone for a while", "503 with the shortest wait; nothing"),
    35: ("no retry is left", "the first failure; nothing"),
}


def rows_of(item: pytest.Item) -> Iterator[int]:
    """Yield the rows that a test plays."""
    marker = item.get_closest_marker("matrix")
    if marker is None:
        return
    parameters = item.callspec.params  # type: ignore[attr-defined]
    named = marker.args or (getattr(parameters.get("fault"), "row", parameters.get("row")),)
    for name in named:
        number = re.match(r"\d+", str(name))
        assert number is not None, f"{item.nodeid} does not say which row it plays"
        yield int(number[0])


def played(items: Iterable[pytest.Item]) -> Mapping[int, Mapping[tuple[bool, bool], Sequence[str]]]:
    """Return the tests of each row, by whether they edit and stream."""
    found: dict[int, dict[tuple[bool, bool], list[str]]] = defaultdict(lambda: defaultdict(list))
    for item in items:
        for row in rows_of(item):
            parameters = item.callspec.params  # type: ignore[attr-defined]
            found[row][parameters["edit"], parameters["stream"]].append(item.nodeid)
    return found


def gaps(found: Mapping[int, Mapping[tuple[bool, bool], Sequence[str]]]) -> list[str]:
    """Return what is not played."""
    return [
        f"row {row} is not played for {'an edit' if edit else 'a generation'} as {'a stream' if stream else 'JSON'}"
        for row in ROWS
        for edit, stream in WAYS
        if not found.get(row, {}).get((edit, stream))
    ]


def page(found: Mapping[int, Mapping[tuple[bool, bool], Sequence[str]]]) -> str:
    """Return the page."""
    lines = [
        "# Every fault, and the tests that play it",
        "",
        "Made by `python -m tests.support.matrix` from the tests themselves; a test fails where it is stale or a cell is",
        "empty. The numbers say how many tests play a row for a generation and an edit, each as JSON and as a stream, through",
        "HTTP. What the client is billed stands behind the semicolon.",
        "",
        "| # | fault | the client gets; is billed | generation, JSON | generation, stream | edit, JSON | edit, stream | in |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row, (fault, told) in ROWS.items():
        ways = found.get(row, {})
        files = sorted({node.partition("::")[0].rpartition("/")[2] for nodes in ways.values() for node in nodes})
        counts = " | ".join(str(len(ways.get(way, ()))) for way in WAYS)
        lines.append(f"| {row} | {fault} | {told} | {counts} | {', '.join(f'`{name}`' for name in files)} |")
    return "\n".join(lines) + "\n"


class _Collector:
    """Remembers what pytest has collected."""

    items: Sequence[pytest.Item] = ()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.items = session.items


def collected() -> Sequence[pytest.Item]:
    """Return the fault tests without running them."""
    collector = _Collector()
    code = pytest.main(
        ["--collect-only", "-qq", "--no-header", "-m", "matrix", str(ROOT / "tests" / "faults")], plugins=[collector]
    )
    assert code == 0, code
    return collector.items


def main(arguments: Sequence[str]) -> int:
    """Write or check the page; return the exit code."""
    found = played(collected())
    problems = gaps(found)
    if "--check" not in arguments:
        PAGE.write_text(page(found))
    elif not PAGE.exists() or PAGE.read_text() != page(found):
        problems.append("docs/fault-matrix.md is stale: run python -m tests.support.matrix")
    sys.stderr.write("".join(f"{problem}\n" for problem in problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
