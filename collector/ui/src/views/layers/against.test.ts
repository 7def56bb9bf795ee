import { describe, expect, it } from 'vitest';
import type { Look } from '../analytics/look';
import { againstOption, errorsOf, inWords } from './against';
import type { Against } from './types';

const spread = (median: number) => ({ min: median / 2, median, max: median * 2 });
const found: Against = {
  reference: 'f16.ggtrace',
  tokens: 2,
  diverges: { token: 7, text: ' Rome', reference: null },
  layers: [
    { layer: null, tokens: 2, error: spread(0.01), cosine: 1, not_finite: 0, worst: 0 },
    { layer: 0, tokens: 2, error: spread(0.04), cosine: 0.99, not_finite: 0, worst: 1 },
    { layer: 1, tokens: 0, error: null, cosine: null, not_finite: 0, worst: null },
  ],
  steepest: 0,
  by_token: [
    { token: 5, id: 1, text: 'a', errors: [0.01, 0.02, null] },
    { token: 6, id: 2, text: null, errors: [0.01, 0.08, null] },
  ],
};
const data = (against: Against) =>
  (againstOption(against.layers, 0, {} as Look).series as { data: unknown[] }[]).map((series) => series.data);

describe('two runs beside each other', () => {
  it('have a line of least, median and greatest error, with a gap where nothing was compared', () => {
    expect(data(found).slice(0, 3)).toEqual([
      [0.02, 0.08, null],
      [0.005, 0.02, null],
      [0.01, 0.04, null],
    ]);
    expect(againstOption(found.layers, null, {} as Look).yAxis).toMatchObject({ type: 'log' });
  });

  it('that are the same lie on 0, where a logarithmic axis has no place', () => {
    const same = { ...found, layers: found.layers.map((l) => ({ ...l, error: l.error && spread(0) })) };
    expect(data(same)[2]).toEqual([0, 0, null]);
    expect(againstOption(same.layers, null, {} as Look).yAxis).toMatchObject({ type: 'value' });
    expect(inWords({ ...same, diverges: null })).toEqual(['Every hidden state is the same in both.']);
  });

  it('of which nothing is finite in a layer are no match', () => {
    const nan = { layer: 1, tokens: 0, error: null, cosine: null, not_finite: 576, worst: null };
    const same = { ...found, layers: [{ ...found.layers[0], error: spread(0) }, nan] };
    expect(inWords({ ...same, steepest: null, diverges: null })).toEqual([
      'Every hidden state that can be compared is the same in both.',
      'There are NaN or infinities in layer 1.',
    ]);
  });

  it('are a heatmap of the tokens that both have', () => {
    expect(errorsOf(found)).toMatchObject({
      layers: [null, 0, 1],
      rows: [{ token: 5 }, { values: [0.01, 0.08, null] }],
    });
  });

  it('say in words how far they are off, where that comes from, and where the answers part', () => {
    expect(inWords(found)).toEqual([
      'Behind layer 0 hidden states are off by 0.040 of their length.',
      'The error grows most in layer 0.',
      'The answers part at token 7: “ Rome” here, the end in the reference.',
    ]);
  });
});
