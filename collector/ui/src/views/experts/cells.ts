// What the pictures of experts are made of: cells of loads, of single choices and of pairs, with their colours.
import type { Range } from '../../lib/selection.svelte';
import { pixel } from '../analytics/picture';
import type { Settings } from './settings';
import type { ExpertChoices, ExpertPairs, LayerExperts, Load, TokenChoice } from './types';

/** Tokens of a strip, if several are not selected. */
export const STRIP = 96;
/** Tokens that are asked about at most. */
export const MOST_TOKENS = 400;

/** The load that is looked at. */
export function loadOf(layer: LayerExperts, phase: Settings['phase']): Load {
  return layer[phase];
}

/** A grid, row by row; NaN where there is nothing. */
export interface Cells {
  columns: number;
  values: Float64Array;
  top: number;
}

/** Loads as multiples of their layer's mean, a row a layer and a column an expert. */
export function loadCells(layers: LayerExperts[], phase: Settings['phase']): Cells {
  const columns = Math.max(0, ...layers.map((layer) => layer.experts));
  const values = new Float64Array(columns * layers.length).fill(NaN);
  let top = 0;
  layers.forEach((layer, y) => {
    const { load } = loadOf(layer, phase);
    const mean = load.reduce((a, b) => a + b, 0) / load.length;
    load.forEach((count, x) => (values[y * columns + x] = mean > 0 ? count / mean : 0));
    top = load.reduce((most, count) => Math.max(most, mean > 0 ? count / mean : 0), top);
  });
  return { columns, values, top: top || 1 };
}

/** The colour of an expert: neighbours in number are far from each other in hue. */
export function expertColor(id: number): [number, number, number] {
  const hue = (id * 0.618034) % 1;
  const lightness = [0.62, 0.5, 0.74][Math.floor(id / 7) % 3];
  return hsl(hue, 0.62, lightness);
}

function hsl(h: number, s: number, l: number): [number, number, number] {
  const part = (n: number) => {
    const k = (n + h * 12) % 12;
    return Math.round(255 * (l - s * Math.min(l, 1 - l) * Math.max(-1, Math.min(k - 3, 9 - k, 1))));
  };
  return [part(0), part(8), part(4)];
}

/** The tokens of the strip: those that are selected if they are several, else the block of one or of the last. */
export function stripOf(selected: Range | null, tokens: number): Range | null {
  if (tokens === 0) return null;
  if (selected && selected[1] > selected[0]) {
    return [selected[0], Math.min(selected[1], tokens - 1, selected[0] + MOST_TOKENS - 1)];
  }
  const first = Math.floor(Math.min(selected?.[0] ?? tokens - 1, tokens - 1) / STRIP) * STRIP;
  return [first, Math.min(tokens, first + STRIP) - 1];
}

/** Single choices as a grid of layers and tokens. */
export interface Strip {
  tokens: number[];
  layers: number[];
  /** Choices of a layer's row, by token; undefined where a token was not routed. */
  rows: (TokenChoice | undefined)[][];
  /** Experts of a choice, at most. */
  used: number;
}

export function stripCells({ choices }: ExpertChoices): Strip {
  const sorted = (numbers: number[]) => [...new Set(numbers)].sort((a, b) => a - b);
  const [tokens, layers] = [sorted(choices.map((c) => c.token)), sorted(choices.map((c) => c.layer))];
  const [x, y] = [new Map(tokens.map((t, i) => [t, i])), new Map(layers.map((l, i) => [l, i]))];
  const rows = layers.map(() => new Array<TokenChoice | undefined>(tokens.length));
  for (const choice of choices) rows[y.get(choice.layer)!][x.get(choice.token)!] = choice;
  return { tokens, layers, rows, used: Math.max(1, ...choices.map((c) => c.experts.length)) };
}

/** Lines of colours for a layer in the strip: one for each of a token's experts, and a blank one between layers. */
export function stripPixels(strip: Strip, expert: number | null): Uint32Array {
  const columns = strip.tokens.length;
  const lines = 3 * strip.used + 1;
  const pixels = new Uint32Array(columns * lines * strip.layers.length);
  strip.rows.forEach((row, y) =>
    row.forEach((choice, x) =>
      choice?.experts.forEach((id, rank) => {
        const color = expertColor(id);
        // What is not pointed out is still there, but pale.
        const alpha = expert === null || expert === id ? 0xff : 0x24;
        const value = ((pixel(color) & 0xffffff) | (alpha << 24)) >>> 0;
        for (let line = 0; line < 3; line++) pixels[(y * lines + 3 * rank + line) * columns + x] = value;
      }),
    ),
  );
  return pixels;
}

/** Counts of pairs, of which sets, and how often each would be by chance. */
export interface PairCells extends Cells {
  rows: number;
  /** The count as a multiple of what the loads of the two alone would give. */
  lift: Float64Array;
  rowName: string;
  columnName: string;
}

export function pairCells(pairs: ExpertPairs, kind: Settings['pairs']): PairCells {
  const matrix = { together: pairs.together, layer: pairs.from_layer, token: pairs.from_token }[kind];
  const columns = matrix[0]?.length ?? 0;
  const rowSums = matrix.map((row) => row.reduce((a, b) => a + b, 0));
  const columnSums = Array.from({ length: columns }, (_, b) => matrix.reduce((sum, row) => sum + row[b], 0));
  const all = rowSums.reduce((a, b) => a + b, 0);
  const values = new Float64Array(matrix.length * columns);
  const lift = new Float64Array(values.length);
  matrix.forEach((row, a) =>
    row.forEach((count, b) => {
      const itself = kind === 'together' && a === b;
      values[a * columns + b] = itself ? NaN : count;
      lift[a * columns + b] = (count * all) / (rowSums[a] * columnSums[b]);
    }),
  );
  const top = values.reduce((most, value) => (value > most ? value : most), 0) || 1;
  const [rowName, columnName] = {
    together: ['expert', 'expert of the same token'],
    layer: [`expert of layer ${pairs.before}`, `expert of layer ${pairs.layer}`],
    token: ['expert of the token before', 'expert of the token'],
  }[kind];
  return { columns, rows: matrix.length, values, lift, top, rowName, columnName };
}

/** Sizes of caches that make a smooth curve: at most so many, the first and the last among them. */
export function cacheSizes(experts: number, most = 16): number[] {
  const step = Math.max(1, experts / most);
  const sizes = Array.from({ length: Math.min(experts, most) }, (_, i) => Math.round((i + 1) * step));
  return [...new Set([1, ...sizes])].filter((n) => n >= 1 && n <= experts).sort((a, b) => a - b);
}
