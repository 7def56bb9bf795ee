import { expect, it } from 'vitest';
import { headColor, linesOf } from './lines';
import { Matrix } from './matrix';

const picture = Matrix.from(
  {
    layer: 0,
    n_head: 2,
    n_head_kv: 2,
    keys: [4, 5, 6].map((token) => ({ token, cell: null, pos: null, text: null })),
    rows: [5, 6].map((token) => ({ token, eval: 0, pos: null, text: null, spans: [{ first: 0, n: token - 3 }] })),
    heads: [
      {
        head: 0,
        kv_head: 0,
        weights: [
          [0.9, 0.1],
          [0.01, 0.29, 0.7],
        ],
        sinks: [],
      },
      {
        head: 1,
        kv_head: 1,
        weights: [
          [1, 0],
          [null, null, null],
        ],
        sinks: [],
      },
    ],
    refused: [],
  },
  [0, 9],
).picture(0, 9, 6);

it('lines go from the token to the keys that it looked at, the strongest on top', () => {
  const lines = linesOf(picture, [1], [0]);
  expect(lines.map(({ from, to }) => [from, to])).toEqual([
    [2, 0],
    [2, 1],
    [2, 2],
  ]);
  expect(lines[2].weight).toBeCloseTo(0.7);
});

it('of many tokens only what stands out is drawn, and NaN never', () => {
  const lines = linesOf(picture, [0, 1], [0, 1]);
  expect(lines.map(({ from, to, head }) => [from, to, head])).toEqual([
    [1, 1, 0],
    [2, 1, 0],
    [2, 2, 0],
    [1, 0, 0],
    [1, 0, 1],
  ]);
});

it('heads beside each other have colours that differ', () => {
  expect(new Set(Array.from({ length: 32 }, (_, head) => headColor(head, 'dark'))).size).toBe(32);
});
