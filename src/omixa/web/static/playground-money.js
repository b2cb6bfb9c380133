// Amounts are decimals with six digits; here they are whole millionths of a dollar, and never fractions that round by themselves.

export function micro(amount) {
  return BigInt(amount.replace(".", ""));
}

/** Return millionths as dollars, with as many digits as they need and at least two. */
export function dollars(millionths) {
  const digits = String(millionths < 0n ? -millionths : millionths).padStart(7, "0");
  const cents = digits.slice(-6).replace(/0{1,4}$/, "");
  return `${millionths < 0n ? "−" : ""}$${BigInt(digits.slice(0, -6)).toLocaleString("en")}.${cents}`;
}

/** Return an exact amount of twelve digits without the zeros that say nothing. */
export function exactly(amount) {
  return `$${amount.replace(/0{1,6}$/, "")}`;
}

/** Return by how many percent a number of anything differs from another, as words. */
export function difference(from, to) {
  if (from === 0n) return to === 0n ? "the same" : "not comparable";
  const percent = ((to - from) * 1000n) / from;
  const whole = (percent + (percent < 0n ? -5n : 5n)) / 10n;
  if (whole === 0n) return "the same";
  return whole < 0n ? `−${-whole} %` : `+${whole} %`;
}
