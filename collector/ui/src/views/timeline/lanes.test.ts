import { describe, expect, it } from 'vitest';
import { kindOf, Lanes, MOST_ROWS, perToken } from './lanes';
import { timeline } from './testing';

it('counts tokens of unknown phase as unknown, not as those of a prompt', () => {
  const t = timeline([
    { n_tokens: 4, n_generated: 0, n_unknown: 4, dur_ns: 400 },
    { n_tokens: 2, n_generated: 0, n_unknown: 0, dur_ns: 100 },
    { n_tokens: 4, n_generated: 1, n_unknown: 2, dur_ns: 80 },
  ]);
  expect([0, 1, 2].map((seq) => kindOf(t, seq))).toEqual(['unknown', 'prompt', 'generate']);
  expect(lanes(t).sums(t, null)).toEqual({
    prompt: { tokens: 3, ns: 120 },
    generate: { tokens: 1, ns: 20 },
    unknown: { tokens: 6, ns: 440 },
  });
  expect(lanes(t).sums(t, [2, 5]).unknown).toEqual({ tokens: 2, ns: 200 });
});

function lanes(t = timeline([])): Lanes {
  const lanes = new Lanes();
  lanes.update(t);
  return lanes;
}

describe('the rows of the timeline', () => {
  it('are one a context, in the order of begins, whatever the order of arrival', () => {
    const t = timeline([
      { context: 7 },
      { context: 9, start_ns: 300 },
      { context: 9, start_ns: 200 },
      { context: 7, start_ns: 400 },
    ]);
    const { rows } = lanes(t);
    expect(rows.map((r) => [r.contexts, [...r.seqs.subarray(0, r.length)]])).toEqual([
      [[7], [0, 3]],
      [[9], [2, 1]],
    ]);
  });

  it('are never more than fit: later contexts share the last', () => {
    const t = timeline(Array.from({ length: 9 }, (_, context) => ({ context })));
    const { rows } = lanes(t);
    expect(rows.length).toBe(MOST_ROWS);
    expect(rows[MOST_ROWS - 1].contexts).toEqual([5, 6, 7, 8]);
  });

  it('grow with the session and hold the same as if all had come at once', () => {
    const all = timeline(Array.from({ length: 500 }, (_, i) => ({ dur_ns: i + 1, n_tokens: (i % 3) + 1 })));
    const piecewise = new Lanes();
    for (const n of [1, 2, 100, 500]) {
      piecewise.update(timeline(Array.from({ length: n }, (_, i) => ({ dur_ns: i + 1, n_tokens: (i % 3) + 1 }))));
    }
    const once = lanes(all);
    expect(piecewise.sums(all, null)).toEqual(once.sums(all, null));
    expect([...piecewise.position.subarray(0, 501)]).toEqual([...once.position.subarray(0, 501)]);
    expect(piecewise.update(all)).toBe(false);
  });
});

describe('an evaluation', () => {
  it('is PROMPT, GENERATE, or neither without tokens', () => {
    const t = timeline([{ n_tokens: 4 }, {}, { n_tokens: 0, n_generated: 0 }, { n_tokens: 3, n_generated: 1 }]);
    expect([0, 1, 2, 3].map((seq) => kindOf(t, seq))).toEqual(['prompt', 'generate', 'other', 'generate']);
    expect([perToken(t, 0), perToken(t, 2)]).toEqual([25, 100]);
  });

  it('is as wide as its tokens on the axis of tokens, and never nothing', () => {
    const t = timeline([{ n_tokens: 4 }, { n_tokens: 0 }, {}]);
    expect([...lanes(t).position.subarray(0, 4)]).toEqual([0, 4, 5, 6]);
  });
});

describe('tokens a second', () => {
  const t = timeline([{ n_tokens: 4, dur_ns: 400 }, { dur_ns: 10 }, { dur_ns: 30 }, { n_tokens: 0, dur_ns: 5 }]);

  it('are summed by phase, and time without tokens does not count', () => {
    expect(lanes(t).sums(t, null)).toMatchObject({ prompt: { tokens: 4, ns: 400 }, generate: { tokens: 2, ns: 40 } });
  });

  it('of a selection count an evaluation by the share that is selected', () => {
    expect(lanes(t).sums(t, [1, 4])).toMatchObject({ prompt: { tokens: 3, ns: 300 }, generate: { tokens: 1, ns: 10 } });
    expect(lanes(t).sums(t, [1, 2])).toMatchObject({ prompt: { tokens: 2, ns: 200 }, generate: { tokens: 0, ns: 0 } });
    expect(lanes(t).sums(t, [5, 99]).generate).toEqual({ tokens: 1, ns: 30 });
    expect(lanes(t).sums(t, [50, 99]).generate).toEqual({ tokens: 0, ns: 0 });
  });
});
