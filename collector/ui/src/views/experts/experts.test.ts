import { describe, expect, it } from 'vitest';
import { cacheSizes, expertColor, loadCells, pairCells, stripCells, stripOf, stripPixels } from './cells';
import { formatSettings, parseSettings } from './settings';
import type { LayerExperts, Load, TokenChoice } from './types';

const load = (counts: number[]): Load => ({
  ...{ tokens: 4, load: counts, weight: null, used: counts.length, entropy: 0, balance: 1, effective: 1, peak: 1 },
  ...{ hot: [], cold: [], unused: [] },
});
const layer = (number: number, counts: number[]): LayerExperts => ({
  ...{ layer: number, experts: counts.length, per_token: 2, expert_bytes: 1, divergence: null, heaviest: null },
  ...{ all: load(counts), prompt: load(counts.map(() => 0)), generate: load(counts) },
  ...{ together: [], from_layer: null, from_token: { tokens: 0, kept: null, by_chance: null, top: [] } },
});
const choice = (token: number, layer: number, experts: number[]): TokenChoice => ({
  ...{ eval: 0, token, token_id: null, token_text: null, pos: null, phase: 'PROMPT', layer, experts, weights: null },
});

describe('the view of experts', () => {
  it('is set in the address, and forgets what makes no sense', () => {
    const settings = { phase: 'generate', pairs: 'token', expert: 3 } as const;
    expect(parseSettings(formatSettings(settings))).toEqual(settings);
    expect(parseSettings('nonsense expert:x')).toEqual({ phase: 'all', pairs: 'together', expert: null });
    expect(formatSettings(parseSettings(null))).toBe(null);
  });

  it('colours a load as a multiple of its layer’s mean, and leaves blank what a layer does not have', () => {
    const cells = loadCells([layer(0, [6, 2, 0, 0]), layer(3, [5, 5])], 'all');
    expect(cells.columns).toBe(4);
    expect([...cells.values]).toEqual([3, 1, 0, 0, 1, 1, NaN, NaN]);
    expect(cells.top).toBe(3);
    expect([...loadCells([layer(0, [6, 2])], 'prompt').values]).toEqual([0, 0]);
  });

  it('shows the selected tokens, or a block that does not move while one of its tokens is selected', () => {
    expect(stripOf([10, 20], 1000)).toEqual([10, 20]);
    expect(stripOf([10, 20_000], 30_000)).toEqual([10, 409]);
    expect(stripOf([100, 100], 1000)).toEqual(stripOf([150, 150], 1000));
    expect(stripOf(null, 100)).toEqual([96, 99]);
    expect(stripOf(null, 0)).toBe(null);
  });

  it('gives each expert of a token its stripe, and a token that was not routed none', () => {
    const strip = stripCells({
      choices: [choice(5, 1, [2, 0]), choice(4, 0, [1, 2]), choice(5, 0, [0, 1])],
      left_out: 0,
    });
    expect([strip.tokens, strip.layers, strip.used]).toEqual([[4, 5], [0, 1], 2]);
    expect(strip.rows[1][0]).toBe(undefined);
    const pixels = stripPixels(strip, null);
    // Seven lines a layer: three for each expert, one blank.
    expect(pixels.length).toBe(2 * 7 * 2);
    expect(pixels[7 * 2]).toBe(0);
    expect(pixels[0] & 0xff).toBe(expertColor(1)[0]);
    expect(pixels[0]).toBe(pixels[(3 + 1) * 2 + 1]);
    const pale = stripPixels(strip, 0);
    expect([pale[0] >>> 24, pale[1] >>> 24]).toEqual([0x24, 0xff]);
  });

  it('says how much more often than by chance two experts go together', () => {
    // Tokens 01, 01, 02: expert 0 in three, 1 in two, both in two.
    const together = [
      [3, 2, 1],
      [2, 2, 0],
      [1, 0, 1],
    ];
    const from_token = [
      [2, 0],
      [0, 2],
    ];
    const pairs = { layer: 4, together, before: null, from_layer: [], from_token };
    const cells = pairCells(pairs, 'together');
    expect([cells.values[1], cells.lift[1], cells.values[0], cells.top]).toEqual([2, 1, NaN, 2]);
    expect(pairCells(pairs, 'token').lift[0]).toBe(2);
    expect(pairCells(pairs, 'layer').values.length).toBe(0);
  });

  it('tries caches from one expert to all', () => {
    expect(cacheSizes(4)).toEqual([1, 2, 3, 4]);
    const many = cacheSizes(256);
    expect([many[0], many.at(-1), many.length]).toEqual([1, 256, 17]);
  });

  it('gives neighbours colours that differ', () => {
    const all = Array.from({ length: 64 }, (_, id) => expertColor(id).join());
    expect(new Set(all).size).toBe(64);
  });
});
