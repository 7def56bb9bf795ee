import { expect, it } from 'vitest';
import type { Operator } from '../../lib/types';
import { MOST, take } from './take';

const asked: [number, number][] = [];
const list = (total: number) => async (offset: number, limit: number) => {
  asked.push([offset, limit]);
  const items = Array.from({ length: Math.max(0, Math.min(limit, total - offset)) }, (_, i) => ({ node: offset + i }));
  return { total, offset, next: null, items: items as Operator[] };
};
const signal = new AbortController().signal;

it('takes rows page after page, no more than there are and no more than it may', async () => {
  const seen: number[] = [];
  const rows = await take(list(5000), 100, 2300, signal, (n) => seen.push(n));
  expect([rows.length, rows[0].node, rows[2299].node]).toEqual([2300, 100, 2399]);
  expect(seen).toEqual([1000, 2000, 2300]);
  expect(asked).toEqual([
    [100, 1000],
    [1100, 1000],
    [2100, 300],
  ]);
  expect((await take(list(50), 40, 100, signal, () => {})).length).toBe(10);
  expect((await take(list(1_000_000), 0, 1_000_000, signal, () => {})).length).toBe(MOST);
});
