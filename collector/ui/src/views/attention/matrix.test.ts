import { describe, expect, it } from 'vitest';
import { Matrix, Picture, UNSEEN, windowOf } from './matrix';
import type { AttentionMatrix } from './types';

/** Causal rows of one sequence, whose first key is token `begin`. */
function answer(tokens: number[], begin = 0, head = 0): AttentionMatrix {
  const last = Math.max(...tokens);
  const keys = Array.from({ length: last - begin + 1 }, (_, i) => begin + i);
  return {
    layer: 5,
    n_head: 2,
    n_head_kv: 1,
    keys: keys.map((token) => ({ token, cell: null, pos: token - begin, text: `<${token}>` })),
    rows: tokens.map((token) => ({
      token,
      eval: token,
      pos: token - begin,
      text: `<${token}>`,
      spans: [{ first: 0, n: token - begin + 1 }],
    })),
    heads: [
      {
        head,
        kv_head: 0,
        weights: tokens.map((token) =>
          keys.slice(0, token - begin + 1).map((key) => (key === token ? 0.5 : key / 100)),
        ),
        sinks: [],
      },
    ],
    refused: [],
  };
}

const line = (picture: Picture, row: number, head = 0) => {
  const out = new Float32Array(picture.keys.length);
  picture.line(row, head, out);
  return [...out].map((weight) => Math.round(weight * 1000) / 1000);
};

describe('tokens × keys', () => {
  it('has nothing where a token does not see a key, and is not zero there', () => {
    const picture = Matrix.from(answer([0, 1, 2]), [0, 2]).picture(0, 2, 2);
    expect(picture.keys.map((key) => key.token)).toEqual([0, 1, 2]);
    expect(line(picture, 0)).toEqual([0.5, UNSEEN, UNSEEN]);
    expect(line(picture, 2)).toEqual([0, 0.01, 0.5]);
    expect(picture.weight(0, 2, 0)).toBe(UNSEEN);
    expect(picture.weight(2, 1, 0)).toBeCloseTo(0.01);
    expect(picture.weight(2, 1, 1)).toBe(UNSEEN);
  });

  it('keeps NaN apart from what is not seen', () => {
    const rows = answer([0, 1]);
    rows.heads[0].weights[1][0] = null;
    expect(line(Matrix.from(rows, [0, 1]).picture(0, 1, 1), 1)).toEqual([NaN, 0.5]);
  });

  it('grows row by row, and lets go of what is out of its window', () => {
    const before = Matrix.from(answer([0, 1, 2]), [0, 2]);
    const after = before.with(answer([3]), [3, 3], 1);
    expect([...before.rows.keys()]).toEqual([0, 1, 2]);
    expect([...after.rows.keys()]).toEqual([1, 2, 3]);
    expect(line(after.picture(1, 3, 3), 2)).toEqual([0, 0.01, 0.02, 0.5]);
  });

  it('asks only for what is missing', () => {
    const has = Matrix.from(answer([4, 5, 6]), [4, 6]);
    expect(has.missing(4, 6, null)).toBe(null);
    expect(has.missing(2, 9, null)).toEqual([2, 9]);
    expect(has.missing(5, 8, 0)).toEqual([7, 8]);
    expect(has.missing(4, 6, 1), 'another head').toEqual([4, 6]);
    const lost = { ...answer([7]), rows: [], heads: [], refused: [{ tokens: 1, layer: 5, why: 'lost' }] };
    const refused = has.with(lost, [7, 7]);
    expect(refused.missing(4, 7, null), 'what cannot be computed is not asked for again').toBe(null);
    expect(refused.refused.map((one) => one.why)).toEqual(['lost']);
    expect(refused.nHead).toBe(2);
  });

  it('shows the context of the selected token, and of no other sequence', () => {
    const both = Matrix.from(answer([0, 1]), [0, 1]).with(answer([2, 3, 4], 2), [2, 4]);
    const picture = both.picture(0, 4, 3);
    expect(picture.rows.map((row) => row.token)).toEqual([2, 3, 4]);
    expect(picture.keys.map((key) => key.token)).toEqual([2, 3, 4]);
    expect([picture.row(3), picture.row(0), picture.column(4), picture.column(1)]).toEqual([
      1,
      undefined,
      2,
      undefined,
    ]);
    expect(both.picture(0, 4, 99).rows.length, 'a token that has no row leaves nothing out').toBe(5);
  });

  it('leaves out an earlier request that had the same beginning', () => {
    const earlier = Matrix.from(answer([0, 1, 2, 3]), [0, 3]);
    const again = answer([4, 5]);
    // Tokens 4 and 5 go on after token 1; what the earlier request had there is gone.
    again.keys = [0, 1, 4, 5].map((token) => ({ token, cell: null, pos: token, text: `t${token}` }));
    again.rows.forEach((row, i) => (row.spans = [{ first: 0, n: 3 + i }]));
    again.heads.forEach((head) => (head.weights = again.rows.map((_, i) => Array(3 + i).fill(0.1))));
    const both = earlier.with(again, [4, 5]);
    expect(both.picture(0, 5, 5).rows.map((row) => row.token)).toEqual([0, 1, 4, 5]);
    expect(both.picture(0, 5, 3).rows.map((row) => row.token)).toEqual([0, 1, 2, 3]);
    expect(both.picture(0, 5, 4).keys.map((key) => key.token)).toEqual([0, 1, 4, 5]);
  });

  it('puts keys without a token first', () => {
    const rows = answer([1]);
    rows.keys = [
      { token: null, cell: 7, pos: null, text: null },
      { token: 1, cell: null, pos: 1, text: 'a' },
    ];
    const picture = Matrix.from(rows, [1, 1])
      .with(answer([2]), [2, 2])
      .picture(0, 2, 1);
    expect(picture.keys.map((key) => key.token ?? -key.cell!)).toEqual([-7, 0, 1, 2]);
  });
});

describe('the window', () => {
  it('is the end of the run while that is looked at', () => {
    expect(windowOf(9, 9, 128, null)).toEqual([0, 9]);
    expect(windowOf(999, 999, 128, null)).toEqual([872, 999]);
  });
  it('has the selected token in it, and some of what follows', () => {
    expect(windowOf(500, 999, 128, null)).toEqual([405, 532]);
    expect(windowOf(3, 999, 128, null)).toEqual([0, 127]);
  });
  it('is what was chosen, as far as there is room', () => {
    expect(windowOf(7, 99, 32, [7, 20])).toEqual([7, 20]);
    expect(windowOf(7, 99, 32, [7, 90])).toEqual([7, 38]);
    expect(windowOf(7, 99, 32, [7, 7])).toEqual([0, 31]);
  });
});
