import { describe, expect, it } from 'vitest';
import { timeline } from '../views/analytics/testing';
import { batchOf, batchText, bytesInTotal, countInTotal, scopeOf, timeInTotal } from './batch';

// A prompt of 39 tokens, one token of an answer, a batch of three.
const run = timeline([
  [39, 0, 3e9],
  [1, 1, 8e7],
  [3, 3, 3e8],
]);

describe('tokens of a batch', () => {
  it('have the sums of the whole batch, whichever of them are selected', () => {
    const all = batchOf(run, [0, 38]);
    expect(all).toMatchObject({ evaluations: 1, tokens: 39, generated: 0, ns: 3e9, operators: 390 });
    expect(batchOf(run, [7, 7])).toEqual(all);
    expect(batchOf(run, [7, 12])).toEqual(all);
    expect(batchOf(run, [39, 39])).toMatchObject({ evaluations: 1, tokens: 1, generated: 1, ns: 8e7 });
    expect(batchOf(run, [38, 40])).toMatchObject({ evaluations: 3, tokens: 43, ns: 3.38e9 });
    expect(batchOf(run, null)).toEqual(batchOf(run, [0, 42]));
    expect(batchOf(run, [50, 60])).toMatchObject({ evaluations: 0, tokens: 0, ns: 0 });
  });

  it('are said in one way', () => {
    expect(timeInTotal(3e9, 39)).toBe('3.00 s in total, 76.9 ms per token (1/39)');
    expect(timeInTotal(8e7, 1)).toBe('80.0 ms');
    expect(timeInTotal(0, 39)).toBe('–');
    expect(countInTotal(576, 39)).toBe('576 in total, 14.8 per token (1/39)');
    expect(countInTotal(0, 39)).toBe('0');
    expect(countInTotal(78, 39)).toBe('78 in total, 2 per token (1/39)');
    expect(bytesInTotal(39 * 1024, 39)).toBe('39.0 KiB in total, 1.00 KiB per token (1/39)');
    expect(scopeOf(run, [7, 7])).toBe('token 7, in a batch of 39');
    expect(scopeOf(run, [38, 40])).toBe('tokens 38..40, in 3 evaluations of 43 tokens');
    expect(scopeOf(run, [39, 39])).toBe('token 39');
    expect(scopeOf(run, null)).toBe('whole run');
    expect(batchText({ evaluations: 4, tokens: 4 })).toBe('');
  });
});
