"""Amounts of money as integers: micro-USD for what is charged, pico-USD for unit prices. No float touches money.

Source of the rules: docs/money.md.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

MICRO_PER_USD = 10**6
PPM = 10**6
PICO_PER_MICRO = 10**6
PICO_PER_USD = 10**12

# Amounts are stored as signed 64-bit integers; this bound leaves room to add many of them.
MAX_AMOUNT_MICRO_USD = 10**15

_DECIMAL = re.compile(r"([0-9]{1,12})(?:\.([0-9]{1,12}))?")


def parse_usd(text: str) -> int:
    """Return the micro-USD of a plain decimal such as "25" or "0.042".

    Raises ValueError for a sign, an exponent, blanks, more than six digits after the point, or an amount over 10^9 USD.
    """
    match = _DECIMAL.fullmatch(text)
    if match is None or len(match[2] or "") > 6:
        raise ValueError(f'"{text}" is not an amount: write digits with at most six after the point, for example 25.00')
    micro = int(match[1]) * MICRO_PER_USD + int((match[2] or "").ljust(6, "0"))
    if micro > MAX_AMOUNT_MICRO_USD:
        raise ValueError(f'"{text}" is over the largest amount, {format_usd(MAX_AMOUNT_MICRO_USD)}')
    return micro


def format_usd(micro: int) -> str:
    """Return micro-USD as a decimal string with exactly six digits after the point."""
    sign = "-" if micro < 0 else ""
    whole, rest = divmod(abs(micro), MICRO_PER_USD)
    return f"{sign}{whole}.{rest:06d}"


def format_percent(part: int, whole: int) -> str | None:
    """Return the share of a part in percent with two digits, halves away from zero; None where the whole is zero."""
    if not whole:
        return None
    sign = "-" if (part < 0) != (whole < 0) and part else ""
    hundredths = (abs(part) * 20_000 + abs(whole)) // (2 * abs(whole))
    return f"{sign}{hundredths // 100}.{hundredths % 100:02d}"


def parse_unit_price(text: str, per: int) -> int:
    """Return the pico-USD of one unit for a decimal USD price of `per` units, such as ("5.00", per=1_000_000).

    Raises ValueError when the price is not a plain decimal or one unit is not a whole number of pico-USD.
    """
    match = _DECIMAL.fullmatch(text)
    if match is None:
        raise ValueError(f'"{text}" is not a price: write a plain decimal such as "5.00"')
    pico, remainder = divmod(int(match[1]) * PICO_PER_USD + int((match[2] or "").ljust(12, "0")), per)
    if remainder:
        raise ValueError(f'"{text}" per {per} is not a whole number of pico-USD for one unit')
    return pico


@dataclass(frozen=True, slots=True)
class Rounding:
    """How an exact price becomes a charge: to a multiple of `unit_micro_usd`, once, at the end."""

    unit_micro_usd: int
    direction: Literal["up", "half_up"]

    def charge(self, exact_pico_usd: int, *, markup_ppm: int = 0) -> int:
        """Return the charge in micro-USD for a price and a markup (a discount below zero) in parts per million.

        The marked-up price need not be a whole number of pico-USD, so it is kept in millionths of one and rounded once. A
        price above zero is at least one unit: nothing becomes free by rounding. Raises ValueError below zero.
        """
        exact = exact_pico_usd * (PPM + markup_ppm)
        if exact_pico_usd < 0 or exact < 0:
            raise ValueError("a price cannot be negative")
        unit = self.unit_micro_usd * PICO_PER_MICRO * PPM
        bias = unit - 1 if self.direction == "up" else unit // 2
        units = (exact + bias) // unit
        if exact and not units:
            units = 1
        return units * self.unit_micro_usd
