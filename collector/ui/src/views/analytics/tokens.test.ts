import { describe, expect, it } from 'vitest';
import { batchOf, scopeOf } from '../../lib/batch';
import { timeline } from './testing';
import { binTokens, ceiling, phaseSums, quantile } from './tokens';
import { slowest, usual } from './why';

// A prompt of four tokens, an evaluation of none, an answer of three.
const run = timeline([
  [4, 0, 400],
  [0, 0, 50],
  [1, 1, 30],
  [1, 1, 20],
  [1, 1, 90],
]);

describe('what tokens cost', () => {
  it('is the evaluation by its tokens, one bar a token', () => {
    const bins = binTokens(run, [0, 6], 600);
    expect(bins.map((bin) => bin.ns)).toEqual([100, 100, 100, 100, 30, 20, 90]);
    expect(bins.map((bin) => bin.phase?.[0]).join('')).toBe('PPPPGGG');
    expect(bins[0]).toMatchObject({ first: 0, last: 0, operators: 10, disk_bytes: 300, buffer_bytes: 100, batch: 4 });
    expect(bins[4].batch).toBe(1);
  });

  it('adds up in bins of several, which name their slowest token', () => {
    const bins = binTokens(run, [0, 6], 3);
    expect(bins.map(({ first, last }) => [first, last])).toEqual([
      [0, 2],
      [3, 5],
      [6, 6],
    ]);
    expect(bins.map((bin) => bin.ns)).toEqual([300, 150, 90]);
    expect(bins.reduce((sum, bin) => sum + bin.ns, 0)).toBe(540);
    expect(bins[1]).toMatchObject({ phase: 'GENERATE', slowest: 3, slowest_ns: 100, batch: 0 });
    expect(bins[0].batch).toBe(4);
  });

  it('is of one context where there are several', () => {
    const two = timeline([
      [3, 0, 300, 0, 0],
      [2, 0, 1000, 0, 1],
      [1, 1, 50, 0, 0],
      [1, 1, 700, 0, 1],
    ]);
    expect(binTokens(two, [0, 6], 600, 0).map((bin) => bin.ns)).toEqual([100, 100, 100, 0, 0, 50, 0]);
    expect(phaseSums(two, null, 0)).toMatchObject({ PROMPT: { tokens: 3, ns: 300 }, GENERATE: { tokens: 1, ns: 50 } });
    expect(phaseSums(two, null, 1)).toMatchObject({
      PROMPT: { tokens: 2, ns: 1000 },
      GENERATE: { tokens: 1, ns: 700 },
    });
    expect(batchOf(two, null, undefined, 1)).toMatchObject({ evaluations: 2, tokens: 3, ns: 1700 });
    expect([slowest(two, null, 0), slowest(two, null, 1)]).toEqual([2, 3]);
    expect(usual(two, 'GENERATE', 0)).toMatchObject({ ns: 50, evaluations: 1 });
    expect([scopeOf(two, null, 1), scopeOf(two, null)]).toEqual(['context 1', 'whole run']);
    expect(two.reach(0, 4)).toEqual({ first: 0, last: 5, tokens: 4 });
    expect(two.reach(1, 1)).toEqual({ first: 3, last: 3, tokens: 1 });
    expect([two.reach(null, 99)?.tokens, two.reach(7, 9)]).toEqual([7, null]);
  });

  it('is of a part of the run, within what there is', () => {
    expect(binTokens(run, [5, 100], 600).map((bin) => bin.first)).toEqual([5, 6]);
    expect(binTokens(run, [7, 9], 600)).toEqual([]);
    expect(binTokens(timeline([]), [0, -1], 600)).toEqual([]);
  });

  it('adds up by phase; an evaluation without tokens is of none', () => {
    const all = phaseSums(run, null);
    expect(all.PROMPT).toMatchObject({ tokens: 4, ns: 400 });
    expect(all.GENERATE).toMatchObject({ tokens: 3, ns: 140 });
    const some = phaseSums(run, [3, 4]);
    // Of the whole batch that token 3 is in.
    expect(some.PROMPT).toMatchObject({ tokens: 4, ns: 400 });
    expect(some.GENERATE).toMatchObject({ tokens: 1, ns: 30 });
  });

  it('is unknown where the phase is, and counts for no other', () => {
    const unknown = timeline([
      [4, 0, 400, 4],
      [4, 1, 80, 2],
    ]);
    expect(binTokens(unknown, [0, 7], 600).map((bin) => bin.phase)).toEqual(Array(8).fill(null));
    const sums = phaseSums(unknown, null);
    expect([sums.PROMPT.tokens, sums.GENERATE.tokens, sums.UNKNOWN.tokens]).toEqual([1, 1, 6]);
    expect([sums.PROMPT.ns, sums.GENERATE.ns, sums.UNKNOWN.ns]).toEqual([20, 20, 440]);
  });

  it('is shared out where an evaluation has tokens of both phases', () => {
    const sums = phaseSums(timeline([[4, 1, 400]]), null);
    expect([sums.PROMPT.ns, sums.GENERATE.ns, sums.PROMPT.tokens]).toEqual([300, 100, 3]);
  });
});

describe('an axis', () => {
  it('is cut where a few values are far above the rest, and only there', () => {
    const usual = Array.from({ length: 100 }, () => 10);
    expect(ceiling([...usual, 1000])).toEqual({ top: 16, cut: true });
    expect(ceiling([...usual, 20])).toEqual({ top: 20, cut: false });
    expect(ceiling([])).toEqual({ top: 0, cut: false });
    expect(quantile([3, 1, 2], 0.5)).toBe(2);
  });
});
