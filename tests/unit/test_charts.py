"""Charts as numbers: what is drawn is what was spent, whatever that is."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from omixa.web.console.charts import FULL, chart

NAMES = st.sampled_from(["a", "b", "c", "d", "e", "f", "g", ""])
AMOUNTS = st.dictionaries(
    st.dates().map(str),
    st.dictionaries(NAMES, st.integers(-(10**9), 10**12), max_size=8),
    min_size=1,
    max_size=12,
)


@given(amounts=AMOUNTS, expected=st.integers(0, 10**12))
def test_bars_stand_for_what_was_spent(amounts: dict[str, dict[str, int]], expected: int) -> None:
    totals: dict[str, int] = {}
    for parts in amounts.values():
        for name, amount in parts.items():
            totals[name] = totals.get(name, 0) + amount
    drawn = chart(amounts, {"later": expected}, totals)
    *bars, last = drawn.bars
    assert [bar.label for bar in bars] == list(amounts)
    assert [bar.amount_micro_usd for bar in bars] == [sum(parts.values()) for parts in amounts.values()]
    assert (last.is_expected, last.amount_micro_usd) == (True, expected)
    top = drawn.scale_micro_usd[0]
    steps = {high - low for high, low in zip(drawn.scale_micro_usd, drawn.scale_micro_usd[1:], strict=False)}
    assert len(steps) == 1
    assert drawn.scale_micro_usd[-1] == 0
    assert len(drawn.shades) <= 5
    for bar in drawn.bars:
        ground, below = FULL, 0
        for part in bar.parts:
            below += part.amount_micro_usd
            assert part.amount_micro_usd > 0
            assert below <= top
            assert part.height >= 1
            # Each piece stands on the one below it, a bar of next to nothing a little into the ground.
            assert abs(part.top + part.height - ground) <= 1
            assert abs((FULL - part.top) * top - below * FULL) <= top
            ground = part.top
        if not bar.is_expected:
            assert all(drawn.shades[part.shade] == part.name for part in bar.parts)


def test_the_smallest_are_one_together() -> None:
    parts = {name: amount for amount, name in enumerate("abcdefg", 1)}
    drawn = chart({"day": parts}, {}, parts)
    assert drawn.shades == ["g", "f", "e", "d", None]
    assert [part.amount_micro_usd for part in drawn.bars[0].parts] == [7, 6, 5, 4, 1 + 2 + 3]
    drawn = chart({"day": dict(list(parts.items())[:5])}, {}, dict(list(parts.items())[:5]))
    assert drawn.shades == ["e", "d", "c", "b", "a"]


def test_nothing_at_all_has_a_scale_too() -> None:
    drawn = chart({"day": {}}, {}, {})
    assert (drawn.bars[0].parts, list(drawn.shades), drawn.scale_micro_usd) == ([], [], [4, 3, 2, 1, 0])
