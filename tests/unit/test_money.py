"""Amounts are exact integers, and no float gets near them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import omixa
from omixa.domain.money import MAX_AMOUNT_MICRO_USD, Rounding, format_usd, parse_unit_price, parse_usd

HUNDREDTH_OF_A_CENT = Rounding(unit_micro_usd=100, direction="up")
MICRO = Rounding(unit_micro_usd=1, direction="half_up")


@pytest.mark.parametrize(
    ("text", "micro"),
    [("0", 0), ("25", 25_000_000), ("25.00", 25_000_000), ("0.042", 42_000), ("0.000001", 1), ("1000000000", 10**15)],
)
def test_amounts_are_parsed(text: str, micro: int) -> None:
    assert parse_usd(text) == micro


@pytest.mark.parametrize(
    "text",
    ["", " 1", "-1", "+1", "1e3", "1.", ".5", "1,5", "1_000", "0.0000001", "NaN", "1000000000.000001", "١", "9" * 13],
)
def test_other_texts_are_not_amounts(text: str) -> None:
    with pytest.raises(ValueError, match="amount"):
        parse_usd(text)


@pytest.mark.parametrize(
    ("micro", "text"),
    [(0, "0.000000"), (1, "0.000001"), (39_000, "0.039000"), (-1, "-0.000001"), (-1_500_000, "-1.500000")],
)
def test_amounts_have_six_digits(micro: int, text: str) -> None:
    assert format_usd(micro) == text


def test_the_largest_amount_survives_a_round_trip() -> None:
    assert parse_usd(format_usd(MAX_AMOUNT_MICRO_USD)) == MAX_AMOUNT_MICRO_USD


@pytest.mark.parametrize(
    ("usd", "per", "pico"),
    [
        ("5.00", 10**6, 5_000_000),
        ("0.05", 10**6, 50_000),
        ("0.033", 1, 33_000_000_000),
        ("0.000000000001", 1, 1),
        ("0", 1, 0),
        ("0.048128", 1, 48_128_000_000),
    ],
)
def test_unit_prices_are_whole_pico_usd(usd: str, per: int, pico: int) -> None:
    assert parse_unit_price(usd, per) == pico


@pytest.mark.parametrize(
    ("usd", "per"), [("0.0000001", 10**6), ("1", 3), ("5,00", 1), ("-5", 1), ("0.0000000000001", 1), ("", 1)]
)
def test_a_price_that_is_not_exact_is_refused(usd: str, per: int) -> None:
    with pytest.raises(ValueError, match=r"price|pico"):
        parse_unit_price(usd, per)


@pytest.mark.parametrize(
    ("exact_pico_usd", "micro"),
    [
        (0, 0),
        (1, 100),
        (99_999_999, 100),
        (100_000_000, 100),
        (100_000_001, 200),
        (38_987_000_000, 39_000),
        (39_000_000_000, 39_000),
        (39_000_000_001, 39_100),
    ],
)
def test_rounding_up_to_a_multiple(exact_pico_usd: int, micro: int) -> None:
    assert HUNDREDTH_OF_A_CENT.charge(exact_pico_usd) == micro


@pytest.mark.parametrize(
    ("exact_pico_usd", "micro"),
    [
        (0, 0),
        (1, 1),
        (499_999, 1),
        (500_000, 1),
        (1_499_999, 1),
        (1_500_000, 2),
        (2_500_000, 3),
        (48_128_000_000, 48_128),
    ],
)
def test_rounding_half_up_makes_nothing_free(exact_pico_usd: int, micro: int) -> None:
    assert MICRO.charge(exact_pico_usd) == micro


def test_a_markup_is_applied_before_the_rounding() -> None:
    # 1 micro and 500,000 pico less a millionth of it: just below the half, which whole pico-USD could not tell.
    assert MICRO.charge(1_500_000, markup_ppm=-1) == 1
    assert MICRO.charge(1_500_000, markup_ppm=0) == 2
    assert HUNDREDTH_OF_A_CENT.charge(100_000_000, markup_ppm=1) == 200
    assert HUNDREDTH_OF_A_CENT.charge(100_000_000, markup_ppm=-(10**6)) == 0


def test_below_zero_is_no_price() -> None:
    with pytest.raises(ValueError, match="negative"):
        MICRO.charge(-1)
    with pytest.raises(ValueError, match="negative"):
        MICRO.charge(1, markup_ppm=-(10**6) - 1)


# Where amounts and counts are computed, stored, read or written.
MONEY_CODE = (
    *("domain/money.py", "billing/*.py", "usage/*.py", "storage/tables.py", "storage/chain.py"),
    *("gateway/settlement.py", "gateway/quotes.py", "gateway/receipt.py", "gateway/reconciliation.py"),
    *("gateway/workspaces.py", "api/account.py", "api/estimates.py", "api/receipts.py", "api/receipt_[cst]*.py"),
    *("cli/budgets.py", "cli/credits.py", "cli/ledger.py", "cli/prices.py", "cli/receipts.py", "cli/reconcile.py"),
    *("cli/refunds.py", "cli/usage.py"),
)


def _money_files() -> list[Path]:
    root = Path(omixa.__path__[0])
    found = {pattern: sorted(root.glob(pattern)) for pattern in MONEY_CODE}
    assert all(found.values()), f"no file is named like {[pattern for pattern, files in found.items() if not files]}"
    return [path for files in found.values() for path in files]


def _floats(source: str) -> list[str]:
    """Return what could make a float: literals, float, true division, and JSON read without naming what a number becomes."""
    return [
        f"line {node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(ast.parse(source))
        if (isinstance(node, ast.Constant) and isinstance(node.value, float))
        or (isinstance(node, ast.Name) and node.id == "float")
        or (isinstance(node, (ast.BinOp, ast.AugAssign)) and isinstance(node.op, ast.Div))
        or (isinstance(node, ast.Call) and _reads_floats(node))
    ]


def _reads_floats(call: ast.Call) -> bool:
    function, named = ast.unparse(call.func), {keyword.arg for keyword in call.keywords}
    if function in {"json.loads", "json.load"}:
        return "parse_float" not in named
    # Without a type a number with a point becomes a float. What a caller asked for is no money and goes back as it came.
    return (
        function == "msgspec.json.decode" and "type" not in named and "parameters_json" not in ast.unparse(call.args[0])
    )


@pytest.mark.parametrize("path", _money_files(), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_no_float_touches_money(path: Path) -> None:
    assert _floats(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "bad", ["x = 1.0", "x = float(y)", "x = a / b", "x /= 2", "x: float = y", "json.loads(x)", "msgspec.json.decode(x)"]
)
def test_the_scan_for_floats_finds_them(bad: str) -> None:
    assert _floats(bad)
