// Numbers as people write them, like `document/words.py`.

/** `3.1e-4`, `0.25`, `1,000`, `NaN`. */
export function number(value) {
  if (value == null) return "";
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "NaN" : value > 0 ? "+inf" : "-inf";
  if (Number.isInteger(value) && Math.abs(value) < 1e15) return value.toLocaleString("en");
  const size = Math.abs(value);
  if (size >= 0.01 && size < 1e4) return String(Number(value.toPrecision(3)));
  return value.toExponential(1).replace("e+", "e").replace(".0e", "e");
}

/** `93 %`. */
export function share(value) {
  return Number.isFinite(value) ? `${number(100 * value)} %` : number(value);
}

/** JSON has no NaN: documents have strings for what is not finite. */
export const plain = Number;
export const plains = (values) => values.map(Number);

/** `epoch 2.5`. */
export function epoch(value) {
  return `epoch ${number(Number(value))}`;
}

/** Smallest and largest of the finite values; `[0, 1]` without one. */
export function range(rows) {
  let low = Infinity;
  let high = -Infinity;
  for (const row of rows) {
    for (const value of row) {
      if (!Number.isFinite(value)) continue;
      if (value < low) low = value;
      if (value > high) high = value;
    }
  }
  if (low > high) return [0, 1];
  return low === high ? [low - 0.5, high + 0.5] : [low, high];
}
