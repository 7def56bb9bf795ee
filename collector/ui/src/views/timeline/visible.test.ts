import { expect, it } from 'vitest';
import { axisOf, fit } from './axis';
import { Lanes } from './lanes';
import { timeline } from './testing';
import { ceiling, visible } from './visible';

function look(t: ReturnType<typeof timeline>, from: number, to: number, width: number) {
  const lanes = new Lanes();
  lanes.update(t);
  return visible(t, lanes.rows[0], axisOf('time', t, lanes), { from, to }, width);
}

it('shows the evaluations of the window as bars, also those that reach into it', () => {
  const t = timeline([{}, {}, {}, {}]);
  expect(look(t, 150, 250, 100).bars).toEqual([
    { seq: 1, x0: -50, x1: 50 },
    { seq: 2, x0: 50, x1: 150 },
  ]);
});

it('sums up what is narrower than a pixel: the longest, the mean, how full the column is', () => {
  const t = timeline(
    Array.from({ length: 400 }, (_, i) => ({ dur_ns: i === 7 ? 50 : 10, minor_faults: i === 9 ? 3 : 0 })),
  );
  const { bars, columns, mostMinor } = look(t, 0, 4040, 40);
  expect(bars).toEqual([]);
  expect(columns.count.reduce((a, b) => a + b)).toBe(400);
  expect(columns.longest[0]).toBe(50);
  expect(columns.sum[1] / columns.count[1]).toBeCloseTo(10);
  expect(columns.cover.generate[20]).toBeCloseTo(1, 1);
  expect(columns.cover.prompt[20]).toBe(0);
  expect([columns.minor[0] + columns.minor[1], mostMinor]).toEqual([3, 3]);
});

it('knows of every column, however narrow its evaluations, how much of it is without times of operators', () => {
  const t = timeline(Array.from({ length: 400 }, (_, i) => ({ dur_ns: 10, untimed: i < 200 ? 5 : i < 300 ? 1 : 0 })));
  const { bars, columns } = look(t, 0, 4000, 40);
  expect(bars).toEqual([]);
  const share = (x: number) => columns.untimed[x] / columns.cover.generate[x];
  expect([share(5), share(25), share(35)].map((part) => Math.round(10 * part))).toEqual([10, 2, 0]);
});

it('looks at a hundred thousand evaluations at once without a bar for each', () => {
  const t = timeline(Array.from({ length: 100_000 }, () => ({})));
  const lanes = new Lanes();
  lanes.update(t);
  const axis = axisOf('time', t, lanes);
  const all = fit(axis);
  expect(look(t, all.from, all.to, 1000)).toMatchObject({ bars: [], ceiling: 100 });
});

it('lets a few long evaluations stick out of the lane instead of flattening all others', () => {
  expect(ceiling([])).toBe(1);
  expect(ceiling([8, 9, 10, 17])).toBe(20);
  expect(ceiling([...Array(99).fill(10), 4000])).toBe(20);
});
