import { expect, it } from 'vitest';
import { divergence, formatLook, parseLook, PAINTS } from './paints';
import type { Heads } from './types';

it('keeps how the view is set in the address, and takes nonsense for nothing', () => {
  for (const paint of PAINTS)
    for (const beside of [null, [12, 3] as [number, number]])
      expect(parseLook(formatLook({ paint, beside }))).toEqual({ paint, beside });
  expect(formatLook({ paint: 'kind', beside: null })).toBe(null);
  expect(parseLook('nonsense x.y')).toEqual({ paint: 'kind', beside: null });
});

it('finds two heads in the list of pairs, whichever comes first', () => {
  const layer = (layer: number, n_head: number) => ({ layer, n_head });
  // Heads 3.0, 3.1, 5.0, 5.1: six pairs.
  const all = {
    uniform: [layer(3, 2), layer(5, 2)],
    divergence: { tokens: 1, of_tokens: 1, pairs: [0.1, 0.2, 0.3, 0.4, 0.5, null] },
  } as unknown as Heads;
  expect(divergence(all, [3, 0], [3, 1])).toBe(0.1);
  expect(divergence(all, [5, 1], [3, 0])).toBe(0.3);
  expect(divergence(all, [3, 1], [5, 1])).toBe(0.5);
  expect(divergence(all, [5, 0], [5, 1])).toBe(null);
  expect(divergence(all, [5, 0], [5, 0])).toBe(0);
  expect(divergence(all, [4, 0], [5, 0])).toBe(null);
});
