// Lines between tokens: which are drawn, and how strongly.
import type { Picture } from './matrix';

export interface Line {
  /** Places of the query and of the key among all keys, from top to bottom. */
  from: number;
  to: number;
  head: number;
  weight: number;
}

/** Weights below this are no line: of one token, and of many, whose lines would cover each other. */
const LEAST_ALONE = 0.004;
const LEAST = 0.03;
/** Lines in one picture, at most: the heaviest. */
export const MOST = 6000;

/** Lines of some heads from these rows, the faint ones first. */
export function linesOf(picture: Picture, rows: readonly number[], heads: readonly number[]): Line[] {
  const least = rows.length > 1 ? LEAST : LEAST_ALONE;
  const weights = new Float32Array(picture.keys.length);
  const lines: Line[] = [];
  for (const row of rows) {
    const from = picture.column(picture.rows[row].token) ?? row;
    for (const head of heads) {
      if (!picture.line(row, head, weights)) continue;
      weights.forEach((weight, to) => {
        if (weight >= least) lines.push({ from, to, head, weight });
      });
    }
  }
  lines.sort((a, b) => a.weight - b.weight);
  return lines.length > MOST ? lines.slice(-MOST) : lines;
}

/** A colour for each head, far from its neighbours'. */
export function headColor(head: number, theme: 'dark' | 'light'): string {
  return `hsl(${(head * 137.5 + 200) % 360} 75% ${theme === 'dark' ? 66 : 40}%)`;
}
