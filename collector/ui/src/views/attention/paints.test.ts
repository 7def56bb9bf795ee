import { expect, it } from 'vitest';
import { PAINT } from './paints';
import type { HeadSummary, LayerSummary } from './types';

const head: HeadSummary = {
  head: 3,
  entropy: 2,
  first: 0.5,
  previous: null,
  self: 0.25,
  heaviest: { cell: 0, token: 4, text: 'a', weight: 0.5 },
  sink: null,
};
const layer: LayerSummary = { layer: 5, keys: 16, n_head_kv: 3, heads: [head] };

it('entropy is a part of the most that it can be', () => {
  expect(PAINT.entropy.part(head, layer)).toBe(0.5);
  expect(PAINT.entropy.part({ ...head, entropy: 0 }, { ...layer, keys: 1 })).toBe(0);
  expect(PAINT.entropy.text(head)).toBe('2.00 bits');
});

it('what a head does not have is no number', () => {
  expect(PAINT.previous.part(head, layer)).toBeNaN();
  expect(PAINT.previous.text(head)).toBe('–');
  const nan = { ...head, entropy: null, first: null, self: null, heaviest: null };
  for (const paint of Object.values(PAINT)) expect(paint.part(nan, layer)).toBeNaN();
  expect([PAINT.first.part(head, layer), PAINT.self.part(head, layer), PAINT.heaviest.part(head, layer)]).toEqual([
    0.5, 0.25, 0.5,
  ]);
});
