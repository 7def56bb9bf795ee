import { expect, it } from 'vitest';
import {
  beside,
  divergenceRows,
  farthest,
  oursOf,
  partedText,
  renumbered,
  theirsWithin,
  type AttentionAgainst,
} from './against';
import { Matrix, UNSEEN, type Picture } from './matrix';
import { difference, Differences, held } from './palette';

/** Rows of tokens `first`, `first + 1`…, each of which sees the tokens from 0 on. */
function picture(first: number, rows: number[][]): Picture {
  const n = Math.max(...rows.map((row) => row.length));
  const keys = Array.from({ length: n }, (_, token) => ({ token, cell: null, pos: token, text: null }));
  const one = (row: number[], i: number) => ({
    token: first + i,
    eval: 0,
    pos: null,
    text: null,
    spans: [{ first: 0, n: row.length }],
  });
  const heads = [{ head: 0, kv_head: 0, weights: rows, sinks: [] }];
  const answer = { layer: 0, n_head: 1, n_head_kv: 1, keys, rows: rows.map(one), heads, refused: [] };
  return Matrix.from(answer, [0, 9]).picture(0, 99, first + rows.length - 1);
}

it('rows are aligned by their tokens, and the difference is this one less the other', () => {
  const [a, b, apart] = beside(
    picture(1, [
      [0.25, 0.75],
      [1, 0, 0],
    ]),
    picture(2, [[0.5, 0.25, 0.25]]),
    0,
  );
  expect([a, b, apart].map((of) => of.rows.map((row) => row.token))).toEqual([[2], [2], [2]]);
  expect([a.weight(0, 0, 0), b.weight(0, 0, 0)]).toEqual([1, 0.5]);
  expect([0, 1, 2].map((c) => difference(apart.weight(0, c, 0)))).toEqual([0.5, -0.25, -0.25]);
});

it('rows of a run that numbers its tokens otherwise are aligned by what was compared', () => {
  const by_token = [0, 2, 3].map((token, i) => ({ token, reference_token: [4, 5, 8][i], text: null, mean: 0 }));
  const of = { context: 0, reference: 'b', reference_context: 1, tokens: 3, parted: null, unpaired: 0, heads: [] };
  const found: AttentionAgainst = { ...of, by_token };
  expect(theirsWithin(found, [1, 3])).toEqual([5, 8]);
  expect(theirsWithin(found, [0, 0])).toEqual([4, 4]);
  expect(theirsWithin(found, [1, 1])).toBe(null);
  // Token 5 of the other run, which is our token 2, sees its tokens 4 and 5, and one that was not compared.
  const keys = [3, 4, 5].map((token) => ({ token, cell: token, pos: token, text: null }));
  const row = { token: 5, eval: 0, pos: null, text: null, spans: [{ first: 0, n: 3 }] };
  const heads = [{ head: 0, kv_head: 0, weights: [[0.1, 0.3, 0.6]], sinks: [] }];
  const answer = { layer: 0, n_head: 1, n_head_kv: 1, keys, rows: [row], heads, refused: [] };
  const theirs = renumbered(Matrix.from(answer, [0, 9]).picture(0, 99, 5), oursOf(found));
  expect(theirs.rows.map((one) => one.token)).toEqual([2]);
  const ours = picture(2, [[0.25, 0, 0.75]]);
  const [, b, apart] = beside(ours, theirs, 0);
  expect([0, 2].map((token) => b.weight(0, b.column(token)!, 0))).toEqual([Math.fround(0.3), Math.fround(0.6)]);
  expect(b.column(3)).toBeUndefined();
  expect(difference(apart.weight(0, apart.column(2)!, 0))).toBeCloseTo(0.15);
});

it('no difference is the middle of the colours, and of many the largest shows, whatever its sign', () => {
  const colours = new Differences('dark');
  expect(colours.of(held(0), 'root')).toEqual(colours.of(held(0.0001), 'linear'));
  expect(colours.of(held(0.5), 'root')).not.toEqual(colours.of(held(-0.5), 'root'));
  expect(colours.heavier(held(-0.5), held(0.2))).toBe(held(-0.5));
  expect(colours.heavier(UNSEEN, held(-1))).toBe(held(-1));
  expect(colours.heavier(NaN, 1)).toBeNaN();
});

it('the map is painted beside the head that is farthest off', () => {
  const head = (layer: number, head: number, mean: number | null) => ({
    layer,
    head,
    tokens: 9,
    mean,
    max: mean,
    worst: 4,
    nans: 0,
  });
  const heads = [head(0, 0, 0.01), head(0, 1, 0.04), head(3, 0, null)];
  const of = { context: 0, reference: 'b', reference_context: 0, tokens: 9, parted: null, unpaired: 0 };
  const found: AttentionAgainst = { ...of, heads, by_token: [] };
  expect(farthest(heads)).toBe(heads[1]);
  const rows = divergenceRows(found);
  expect(rows.map((row) => [row.layer, row.cells.map((cell) => cell.part)])).toEqual([
    [0, [0.25, 1]],
    [3, [NaN]],
  ]);
  expect(rows[0].cells[1].about().facts[1]).toEqual(['largest', '0.0400 nats, token 4']);
});

it('says where runs part', () => {
  expect(partedText(null)).toBe(null);
  expect(partedText({ token: 7, text: ' a', reference: null })).toBe(
    'The runs part at token 7: “␣a”, and there the other ends.',
  );
});
