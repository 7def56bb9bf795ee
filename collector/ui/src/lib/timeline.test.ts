import { describe, expect, it } from 'vitest';
import { Timeline } from './timeline';
import type { LiveEvaluation } from './types';

/** What the server sends for evaluations of `tokens` tokens each. */
function binary(from: number, tokens: number[], before = 0): ArrayBuffer {
  const n = tokens.length;
  const buffer = new ArrayBuffer(32 + n * 80);
  const view = new DataView(buffer);
  'GGTL'.split('').forEach((c, i) => view.setUint8(i, c.charCodeAt(0)));
  view.setUint32(4, 3, true);
  view.setUint32(8, n, true);
  view.setFloat64(16, from, true);
  const f64 = (column: number, i: number, v: number) => view.setFloat64(32 + (column * n + i) * 8, v, true);
  const u32 = (column: number, i: number, v: number) => view.setUint32(32 + n * 32 + (column * n + i) * 4, v, true);
  let first = before;
  tokens.forEach((t, i) => {
    f64(0, i, (from + i) * 100);
    f64(1, i, 90);
    u32(0, i, from + i);
    u32(3, i, first);
    u32(4, i, t);
    first += t;
  });
  return buffer;
}

const live = (seq: number, first_token: number): LiveEvaluation => ({
  ...{
    seq,
    eval: seq,
    graph: 0,
    context: 0,
    start_ns: seq * 100,
    dur_ns: 90,
    first_token,
    n_tokens: 1,
    n_generated: 1,
    n_unknown: 0,
  },
  ...{
    operators: 5,
    untimed: 0,
    disk_bytes: 1,
    buffer_bytes: 2,
    minor_faults: 0,
    major_faults: 0,
    status: 0,
    tokens: [],
  },
});

describe('the timeline', () => {
  it('takes back what was no answer', () => {
    const t = new Timeline();
    t.addLive([live(0, 0), live(1, 1)]);
    t.addLive([{ ...live(1, 1), n_generated: 0 }, live(2, 2)]);
    expect([t.length, ...t.n_generated.subarray(0, 3)]).toEqual([3, 1, 0, 1]);
  });

  it('reads columns and finds the evaluation of a token', () => {
    const t = new Timeline();
    expect(t.addBinary(binary(0, [5, 0, 1, 1]))).toBe(4);
    expect([0, 4, 5, 6, 7].map((token) => t.seqOfToken(token))).toEqual([0, 0, 2, 3, undefined]);
    expect([t.tokens, t.end_ns]).toEqual([7, 390]);
    expect(t.row(2)).toMatchObject({ seq: 2, eval: 2, first_token: 5, n_tokens: 1, dur_ns: 90, status: 0 });
    expect(t.row(4)).toBeUndefined();
  });

  it('joins pieces that overlap, without a hole and without a repetition', () => {
    const t = new Timeline();
    t.addBinary(binary(0, [5, 1]));
    expect(t.addLive([live(1, 5), live(2, 6)])).toBe(true);
    expect(t.addLive([live(4, 8)])).toBe(false);
    expect(t.addBinary(binary(1, [1, 1, 1, 1], 5))).toBe(2);
    expect(t.addLive([live(5, 9)])).toBe(true);
    expect([t.length, t.tokens]).toEqual([6, 10]);
    expect([...t.eval.subarray(0, 6)]).toEqual([0, 1, 2, 3, 4, 5]);
  });

  it('refuses what is cut or something else', () => {
    expect(() => new Timeline().addBinary(binary(0, [1]).slice(0, 50))).toThrow('cut');
    expect(() => new Timeline().addBinary(new ArrayBuffer(40))).toThrow('GGTL');
  });
});
