import { describe, expect, it } from 'vitest';
import { timeline } from './testing';
import { differences, reasons, slowest, usual, verdict } from './why';

const MS = 1e6;
const run = timeline([
  [10, 0, 500 * MS],
  ...Array.from({ length: 9 }, (): [number, number, number] => [1, 1, 20 * MS]),
  [1, 1, 70 * MS],
  [1, 1, 20.5 * MS],
]);
const SLOW = 10;
const ops = (n: number, dur_ns: number, sums: Record<string, number>) => ({
  dur_ns,
  tokens: Array.from({ length: n }),
  ops: Object.entries(sums).map(([op, ns]) => ({ op, count: 1, ns })),
});

describe('why a token is slow', () => {
  it('compares with the median of its own phase', () => {
    const generate = usual(run, 'GENERATE')!;
    expect([generate.ns, generate.evaluations, generate.faults]).toEqual([20 * MS, 11, 1]);
    expect(generate.seqs).not.toContain(SLOW);
    expect(usual(run, 'PROMPT')).toMatchObject({ ns: 50 * MS, evaluations: 1, seqs: [0] });
    expect(usual(timeline([[1, 0, 1]]), 'GENERATE')).toBeNull();
  });

  it('finds the slowest token of the answer, or of what is selected', () => {
    expect(slowest(run, null)).toBe(SLOW);
    expect(slowest(run, [0, 12])).toBe(0);
    expect(slowest(run, [20, 30])).toBe(11);
    expect(slowest(run, [500, 600])).toBeNull();
    expect(slowest(timeline([[3, 0, 9]]), null)).toBe(0);
  });

  it('says how much slower in one sentence, and when it is not', () => {
    const generate = usual(run, 'GENERATE')!;
    expect(verdict(run, SLOW, 19, generate)).toBe(
      'GENERATE token 19 took 70.0 ms: 3.5 times the median of GENERATE (20.0 ms).',
    );
    expect(verdict(run, 11, 20, generate)).toContain('as usual');
    expect(verdict(run, 1, 10, { ...generate, ns: 16 * MS })).toContain('25 % slower than the median');
    expect(verdict(run, 1, 10, { ...generate, ns: 25 * MS })).toContain('20 % faster than the median');
    expect(verdict(run, 0, 0, usual(run, 'PROMPT')!)).toBe(
      'PROMPT token 0, in a batch of 10, took 500 ms in total, 50.0 ms per token (1/10). It is the only evaluation of its phase: there is none to compare with.',
    );
  });

  it('names the operators that differ most, by token, and the time outside of all', () => {
    const parts = differences(ops(2, 200, { A: 100, B: 20, NEW: 6 }), [
      ops(1, 40, { A: 20, B: 12 }),
      ops(1, 42, { A: 22, B: 12 }),
      ops(1, 99, { A: 21, B: 12 }),
    ]);
    expect(parts).toEqual([
      { op: 'A', ns: 50, usual_ns: 21 },
      { op: null, ns: 37, usual_ns: 8 },
      { op: 'NEW', ns: 3, usual_ns: 0 },
      { op: 'B', ns: 10, usual_ns: 12 },
    ]);
    expect(reasons(parts, true).map((part) => part.op)).toEqual(['A', null, 'NEW']);
    expect(reasons(parts, false).map((part) => part.op)).toEqual(['B']);
  });
});
