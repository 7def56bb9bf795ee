import { expect, it } from 'vitest';
import { layout, type Lane } from './layout';

const lanes = (l: ReturnType<typeof layout>): Lane[] => [
  l.overview,
  l.ruler,
  ...l.rows,
  l.flame.layers,
  l.flame.blocks,
  l.flame.operators,
  l.times,
  l.minor,
  l.major,
];

it.each([
  [172, 1, 0],
  [172, 1, 1],
  [172, 6, 1],
  [340, 2, 0.5],
  [1000, 1, 1],
])('fits all lanes into %i pixels with %i rows and a flame %f open, without overlap', (height, rows, open) => {
  const all = lanes(layout(1280, height, rows, open));
  all.slice(1).forEach((lane, i) => expect(lane.y).toBeGreaterThanOrEqual(all[i].y + all[i].h));
  expect(all[all.length - 1].y + all[all.length - 1].h).toBeLessThanOrEqual(height);
  expect(Math.min(...all.slice(-3).map((lane) => lane.h))).toBeGreaterThanOrEqual(8);
});

it('gives the room of a closed flame to the times', () => {
  const [closed, open] = [layout(1280, 192, 1, 0), layout(1280, 192, 1, 1)];
  expect(closed.flame.whole.h).toBe(0);
  expect(open.flame.operators.h).toBeGreaterThanOrEqual(18);
  expect(closed.times.h - open.times.h).toBeGreaterThanOrEqual(open.flame.whole.h);
});
