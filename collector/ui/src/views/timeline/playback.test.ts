import { describe, expect, it } from 'vitest';
import { advance, next, shownFor } from './playback.svelte';
import { timeline } from './testing';

const ms = 1e6;
const t = timeline([
  { n_tokens: 4, dur_ns: 400 * ms },
  { n_tokens: 0, dur_ns: 900 * ms },
  { dur_ns: 20 * ms },
  { dur_ns: 60 * ms },
]);

describe('playback', () => {
  it('shows an evaluation as long as it took, faster or slower, or by the number of its tokens', () => {
    expect(shownFor(t, 0, { times: 1 })).toBe(400);
    expect(shownFor(t, 0, { times: 16 })).toBe(25);
    expect(shownFor(t, 2, { times: 0.25 })).toBe(80);
    expect(shownFor(t, 0, { perSecond: 5 })).toBe(800);
  });

  it('passes over evaluations without tokens', () => {
    expect([next(t, -1), next(t, 0), next(t, 2), next(t, 3)]).toEqual([0, 2, 3, undefined]);
  });

  it('keeps pace however late its timer is, and stops at the end', () => {
    expect(advance(t, 0, 399, { times: 1 })).toEqual({ seq: 0, left: 399, end: false });
    expect(advance(t, 0, 425, { times: 1 })).toEqual({ seq: 3, left: 5, end: false });
    expect(advance(t, 0, 9999, { times: 1 })).toEqual({ seq: 3, left: 0, end: true });
  });
});
