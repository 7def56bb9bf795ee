// What is drawn in each column of pixels: the hottest cell that has a byte there, so that a small tensor is never lost
// beside a great one.
import type { Window } from './axis';
import { cellAt, type Cells } from './cells';

/** For each column its cell, or -1. `into` is used again if it is as long as wanted. */
export function columns(cells: Cells, window: Window, width: number, into?: Int32Array): Int32Array {
  const best = into?.length === width ? into : new Int32Array(width);
  best.fill(-1);
  const scale = width / window.bytes;
  for (let i = cellAt(cells, window.from); i < cells.length; i++) {
    const first = Math.floor((cells.from[i] - window.from) * scale);
    if (first >= width) break;
    const end = Math.max(first + 1, Math.ceil((cells.to[i] - window.from) * scale));
    for (let column = Math.max(0, first); column < end && column < width; column++) {
      const was = best[column];
      if (was < 0 || hotter(cells, i, was)) best[column] = i;
    }
  }
  return best;
}

/** Cells of the selected layer go first, then what was read more. */
function hotter(cells: Cells, a: number, b: number): boolean {
  if (cells.lit[a] !== cells.lit[b]) return cells.lit[a] > cells.lit[b];
  return cells.value[a] > cells.value[b];
}

/** Calls `run` for neighbours that have the same value, but not for -1. */
export function runs(values: Int32Array, run: (value: number, first: number, end: number) => void) {
  for (let first = 0; first < values.length;) {
    let end = first + 1;
    while (end < values.length && values[end] === values[first]) end++;
    if (values[first] >= 0) run(values[first], first, end);
    first = end;
  }
}

/** The bytes of the column of pixels at `x`, at least the byte there. */
export function columnBytes(window: Window, width: number, x: number): [number, number] {
  const column = Math.floor(Math.min(Math.max(x, 0), width - 1));
  const from = window.from + (column * window.bytes) / width;
  const to = window.from + ((column + 1) * window.bytes) / width;
  if (to - from >= 1) return [from, to];
  const byte = Math.floor(window.from + (x * window.bytes) / width);
  return [byte, byte + 1];
}
