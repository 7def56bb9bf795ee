import { describe, expect, it } from 'vitest';
import { largest, length, parts, products } from './strips';

describe('strips', () => {
  it('has each number as a part of the largest, whatever its sign', () => {
    expect(largest([1, -4], [null, 2])).toBe(4);
    expect(parts([1, -4, null, 9], 4)).toEqual([0.25, -1, NaN, 1]);
    expect(parts([0, 0], largest([0, 0]))).toEqual([0, 0]);
  });

  it('multiplies element by element, and nothing with what is no number', () => {
    expect(products([1, 2, null], [3, -1, 5])).toEqual([3, -2, null]);
    expect(products([1, 2], [3])).toEqual([3, null]);
  });

  it('has no length of what is no number', () => {
    expect(length([3, 4])).toBe(5);
    expect(length([3, null])).toBeNull();
  });
});
