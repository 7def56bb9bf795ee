import { describe, expect, it } from 'vitest';
import {
  around,
  axisOf,
  clamp,
  evaluationAt,
  firstAfter,
  fit,
  follow,
  nice,
  pan,
  reveal,
  spanOfTokens,
  ticks,
  tokensOfSpan,
  zoom,
  type AxisKind,
} from './axis';
import { Lanes } from './lanes';
import { timeline } from './testing';

function on(
  kind: AxisKind,
  t = timeline([{ n_tokens: 4, dur_ns: 1000 }, { start_ns: 3000 }, {}, { n_tokens: 0 }, {}]),
) {
  const lanes = new Lanes();
  lanes.update(t);
  return { t, lanes, axis: axisOf(kind, t, lanes), row: lanes.rows[0] };
}

describe('the window', () => {
  const { axis } = on('time', timeline([{ dur_ns: 1_000_000 }]));

  it('never leaves the run, and never shows less than can be seen', () => {
    const all = fit(axis);
    expect(clamp({ from: -1e9, to: 1e9 }, axis)).toEqual(all);
    expect(pan({ from: 0, to: 1000 }, -1e9, axis).from).toBe(all.from);
    const least = clamp({ from: 500, to: 501 }, axis);
    expect(least.to - least.from).toBeCloseTo(axis.least);
  });

  it('zooms about the pointer', () => {
    const span = zoom({ from: 100_000, to: 300_000 }, 150_000, 0.5, axis);
    expect(span.from).toBeCloseTo(125_000);
    expect(span.to).toBeCloseTo(225_000);
    expect(zoom(span, 150_000, 1e9, axis)).toEqual(fit(axis));
  });

  it('moves only when what is to be seen is outside, and then as little as needed', () => {
    const span = { from: 100_000, to: 200_000 };
    expect(reveal(span, { from: 150_000, to: 160_000 }, axis)).toBe(span);
    expect(reveal(span, { from: 250_000, to: 260_000 }, axis)).toEqual({ from: 175_000, to: 275_000 });
    expect(reveal(span, { from: 50_000, to: 60_000 }, axis)).toEqual({ from: 35_000, to: 135_000 });
    // Longer than the window: its begin, unless the window is in the middle of it.
    expect(reveal(span, { from: 400_000, to: 900_000 }, axis)).toEqual({ from: 396_000, to: 496_000 });
    expect(reveal(span, { from: 0, to: 900_000 }, axis)).toBe(span);
  });

  it('follows the newest evaluation at its right border', () => {
    const span = follow({ from: 0, to: 100_000 }, axis);
    expect(span.to).toBeCloseTo(1_003_000);
    expect(span.to - span.from).toBeCloseTo(100_000);
  });

  it('shows a part with air around it', () => {
    expect(around({ from: 100_000, to: 200_000 }, axis)).toEqual({ from: 96_000, to: 204_000 });
  });
});

describe('evaluations on an axis', () => {
  it('are found by halving, also where they are long before', () => {
    const { axis, row } = on('time');
    expect([-1, 500, 1000, 3050, 9999].map((at) => firstAfter(row, axis, at))).toEqual([0, 0, 1, 1, 5]);
  });

  it('are found at a place or near it', () => {
    const { axis, row } = on('time');
    expect(evaluationAt(row, axis, 500, 0)).toBe(0);
    expect(evaluationAt(row, axis, 2000, 10)).toBeUndefined();
    expect(evaluationAt(row, axis, 2995, 10)).toBe(1);
    expect(evaluationAt(row, axis, 1005, 10)).toBe(0);
    expect(evaluationAt(row, axis, 99_999, 10)).toBeUndefined();
  });
});

describe('tokens on an axis', () => {
  it('of one evaluation are at the same time, and side by side on the axis of tokens', () => {
    const time = on('time');
    expect(spanOfTokens([1, 2], time.t, time.axis)).toEqual({ from: 0, to: 1000 });
    expect(spanOfTokens([3, 5], time.t, time.axis)).toEqual({ from: 0, to: 3200 });
    const tokens = on('tokens');
    expect(spanOfTokens([1, 2], tokens.t, tokens.axis)).toEqual({ from: 1, to: 3 });
    expect(spanOfTokens([6, 99], tokens.t, tokens.axis)).toEqual({ from: 7, to: 8 });
    expect(spanOfTokens([50, 99], tokens.t, tokens.axis)).toBeNull();
  });

  it('are those of the evaluations that a drag touches', () => {
    const time = on('time');
    expect(tokensOfSpan({ from: 500, to: 3050 }, time.t, time.lanes, time.axis)).toEqual([0, 4]);
    expect(tokensOfSpan({ from: 1500, to: 2500 }, time.t, time.lanes, time.axis)).toBeNull();
    const tokens = on('tokens');
    expect(tokensOfSpan({ from: 1.5, to: 2.2 }, tokens.t, tokens.lanes, tokens.axis)).toEqual([1, 2]);
    expect(tokensOfSpan({ from: 3.5, to: 5.2 }, tokens.t, tokens.lanes, tokens.axis)).toEqual([3, 5]);
  });
});

describe('the ruler', () => {
  it('has round steps', () => {
    expect([0.9, 1, 1.1, 3, 7, 110].map(nice)).toEqual([1, 1, 2, 5, 10, 200]);
  });

  it('names times with one unit, and far into the run counts from a round one', () => {
    const t = timeline([{ dur_ns: 40e9 }]);
    const { axis } = on('time', t);
    const near = ticks({ from: 0, to: 40e9 }, 0.1, axis, t);
    expect(near.ticks.map((tick) => tick.label).slice(0, 3)).toEqual(['0 s', '5 s', '10 s']);
    expect(near.base).toBeNull();
    const closer = ticks({ from: 14.15e9, to: 15.9e9 }, 0.1, axis, t);
    expect(closer.ticks.map((tick) => tick.label).slice(0, 2)).toEqual(['14.2 s', '14.4 s']);
    const far = ticks({ from: 20.00015e9, to: 20.00016e9 }, 0.2, axis, t);
    expect(far.base).toBe('20 s');
    expect(far.ticks[1].label).toBe('+152 µs');
  });

  it('counts tokens on the axis of tokens, wherever evaluations without tokens are between them', () => {
    const { axis, t } = on('tokens');
    const { ticks: list } = ticks({ from: 0, to: 8 }, 0.2, axis, t);
    expect(list).toEqual([
      { at: 0, label: '0' },
      { at: 2, label: '2' },
      { at: 4, label: '4' },
      { at: 7, label: '6' },
    ]);
  });
});
