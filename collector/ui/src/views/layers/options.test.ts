import { describe, expect, it } from 'vitest';
import { FIRST, measureOf, MEASURES } from './measures';
import type { Look } from '../analytics/look';
import { addedBeside, heat, layerName, layersOption, marked, shareOf, short } from './options';
import type { LayerOfRun } from './types';

const matrix = {
  measure: 'norm',
  layers: [null, 0, 1],
  rows: [
    { token: 4, text: 'a', values: [1, 10, null] },
    { token: 5, text: 'b', values: [2, 3, 100_000] },
  ],
};

describe('the heatmap of layers', () => {
  it('has a row a layer, a column a token, and no colour where there is no number', () => {
    const { values, least, most, log } = heat(matrix, false);
    expect([least, most, log]).toEqual([1, 100_000, true]);
    expect(values[0]).toBe(0);
    expect(values[2]).toBeCloseTo(0.2);
    expect(values[4]).toBeNaN();
    expect(values[5]).toBe(1);
  });

  it('begins at 0 and ends at 1 where numbers are parts of one', () => {
    const { values, log } = heat({ ...matrix, rows: [{ token: 4, text: null, values: [0.5, 0.25, 1] }] }, true);
    expect([...values, log]).toEqual([0.5, 0.25, 1, false]);
    const bits = heat({ ...matrix, rows: [{ token: 4, text: null, values: [1e-25, 5, 10] }] }, false, true);
    expect([bits.values[1], bits.log]).toEqual([0.5, false]);
    expect(heat({ ...matrix, rows: [] }, false).values).toHaveLength(0);
  });

  it('frames the selected layer and tokens', () => {
    expect(marked(matrix, 0, [5, 9])).toEqual({ x: [1, 1], y: [1, 1] });
    expect(marked(matrix, null, [4, 5])).toEqual({ x: [0, 1], y: [0, 2] });
    expect([marked(matrix, null, null), marked(matrix, 7, null), marked(matrix, 0, [9, 9])]).toEqual([
      null,
      null,
      null,
    ]);
  });
});

it('numbers and layers are short', () => {
  expect([0, 0.0001, 0.25, 7.25, 31_337, 1e7, null].map(short)).toEqual([
    '0',
    '1.0e-4',
    '0.250',
    '7.25',
    '31337',
    '1.0e+7',
    '–',
  ]);
  expect([layerName(null), layerName(3)]).toEqual(['embd', '3']);
});

it('what comes from outside is neither attention nor feed-forward, and is named', () => {
  const part = (name: string, share: number | null) => ({ part: name, share, cosine: null });
  const added = [part('attention', 0.5), part('adapter', 2), part('feed_forward', 0.25), part('control_vector', 3)];
  const layer = { added } as unknown as LayerOfRun;
  expect([shareOf(layer, false), shareOf(layer, true)]).toEqual([0.5, 0.25]);
  expect(addedBeside(layer)).toEqual(['an adapter adds 2.00', 'a control vector adds 3.00']);
  const adapters = [0.5, 2].map((share, i) => ({ ...part('adapter', share), matrix: ['o', 'down'][i] }));
  const both = { added: adapters } as unknown as LayerOfRun;
  expect(addedBeside(both)).toEqual(['an adapter on o adds 0.500', 'an adapter on down adds 2.00']);
  expect(addedBeside({ added: [part('state', 1)] } as unknown as LayerOfRun)).toEqual([]);
});

it('a state counts as attention', () => {
  const layer = { added: [{ part: 'state', share: 0.5, cosine: null }] } as unknown as LayerOfRun;
  expect([shareOf(layer, false), shareOf(layer, true)]).toEqual([0.5, null]);
  const nan = { added: [{ part: 'state', share: null, cosine: null }] } as unknown as LayerOfRun;
  expect(shareOf(nan, false)).toBeNull();
});

it('a bar that is cut off says how long it is', () => {
  const layer = (n: number, share: number) =>
    ({ layer: n, added: [{ part: 'feed_forward', share, cosine: null }] }) as unknown as LayerOfRun;
  const option = layersOption([layer(0, 11.94), layer(1, 0.5)], null, {} as Look);
  const bars = (option.series as { name?: string; data: unknown[] }[]).find((of) => of.name === 'feed-forward')!;
  expect(bars.data[0]).toMatchObject({ value: 1.5, label: { show: true, formatter: '↑ 11.9' } });
  expect(bars.data[1]).toBe(0.5);
});

it('a measure that there is not is the first', () => {
  expect([measureOf(null), measureOf('x'), measureOf('entropy')]).toEqual([FIRST, FIRST, 'entropy']);
  expect(FIRST in MEASURES).toBe(true);
});
