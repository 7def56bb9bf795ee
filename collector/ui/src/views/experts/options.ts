// The pictures of experts, as options of charts.
import type { Range } from '../../lib/selection.svelte';
import { percent } from '../../lib/format';
import { amounts, axisName, frame, names, type Look, type Option } from '../analytics/look';
import { picture, scaled } from '../analytics/picture';
import { loadOf, stripPixels, type Cells, type PairCells, type Strip } from './cells';
import type { Settings } from './settings';
import type { CacheSize, LayerExperts } from './types';

const middle = (gap: number) => ({ nameLocation: 'middle', nameGap: gap });

/** A picture of cells between two axes of names; `marked` are places that are framed. */
function grid(
  colors: Look,
  x: { names: (string | number)[]; title: string },
  y: { names: (string | number)[]; title: string },
  cells: { pixels: Uint32Array; columns: number },
  marked: { x: Range; y: Range | null } | null,
): Option {
  return {
    grid: { left: 50, right: 12, top: 6, bottom: 38, outerBoundsMode: 'none' },
    tooltip: { show: false },
    xAxis: names(colors, x.names, axisName(colors, x.title, middle(22))),
    yAxis: names(colors, y.names, { inverse: true, ...axisName(colors, y.title, middle(32)) }),
    series: [
      picture(cells.pixels, cells.columns),
      // A frame of its own where nothing is marked would have no place.
      ...(marked ? [frame(colors, marked.x, marked.y)] : []),
    ],
  };
}

const upTo = (n: number) => Array.from({ length: n }, (_, i) => i);

/** Layers × experts. */
export function loadOption(
  layers: LayerExperts[],
  cells: Cells,
  selected: { layer: number | null; expert: number | null },
  colors: Look,
): Option {
  const y = layers.findIndex((layer) => layer.layer === selected.layer);
  const { expert } = selected;
  const rows: Range | null = y < 0 ? null : [y, y];
  const columns: Range = expert === null ? [0, cells.columns - 1] : [expert, expert];
  const marked = rows || expert !== null ? { x: columns, y: rows ?? ([0, layers.length - 1] as Range) } : null;
  return grid(
    colors,
    { names: upTo(cells.columns), title: 'expert' },
    { names: layers.map((layer) => layer.layer), title: 'layer' },
    { pixels: scaled(cells.values, cells.top), columns: cells.columns },
    cells.columns > 0 ? marked : null,
  );
}

/** Tokens × layers, each with the colours of its experts. */
export function stripOption(
  strip: Strip,
  selected: { layer: number | null; tokens: Range | null; expert: number | null },
  colors: Look,
): Option {
  const { tokens } = selected;
  const x: Range | null = tokens && [
    strip.tokens.findIndex((t) => t >= tokens[0]),
    strip.tokens.findLastIndex((t) => t <= tokens[1]),
  ];
  const y = strip.layers.indexOf(selected.layer ?? -1);
  const whole = x === null || (x[0] === 0 && x[1] === strip.tokens.length - 1);
  const columns: Range = whole ? [0, strip.tokens.length - 1] : x;
  const rows: Range = y < 0 ? [0, strip.layers.length - 1] : [y, y];
  const nothing = (whole && y < 0) || columns[0] < 0 || columns[0] > columns[1];
  return grid(
    colors,
    { names: strip.tokens, title: 'token' },
    { names: strip.layers, title: 'layer' },
    { pixels: stripPixels(strip, selected.expert), columns: strip.tokens.length },
    nothing ? null : { x: columns, y: rows },
  );
}

/** Experts × experts. */
export function pairOption(cells: PairCells, expert: number | null, colors: Look): Option {
  const row: Range | null = expert !== null && expert < cells.rows ? [expert, expert] : null;
  return grid(
    colors,
    { names: upTo(cells.columns), title: cells.columnName },
    { names: upTo(cells.rows), title: cells.rowName },
    { pixels: scaled(cells.values, cells.top), columns: cells.columns },
    row && cells.columns > 0 ? { x: [0, cells.columns - 1], y: row } : null,
  );
}

/** Tokens of each expert of a layer, by phase. */
export function expertOption(
  layer: LayerExperts,
  phase: Settings['phase'],
  expert: number | null,
  colors: Look,
): Option {
  const all = phase === 'all';
  const of = (part: 'prompt' | 'generate') => ({
    type: 'bar',
    stack: 'phase',
    barCategoryGap: '18%',
    data: layer[part].load.map((value, id) => ({
      value: all || phase === part ? value : 0,
      itemStyle: {
        color: part === 'prompt' ? colors.prompt : colors.generate,
        opacity: expert === null || expert === id ? 1 : 0.5,
      },
    })),
  });
  const { load } = loadOf(layer, phase);
  const mean = load.reduce((a, b) => a + b, 0) / Math.max(1, load.length);
  const line = (yAxis: number, text: string) => ({ yAxis, label: { formatter: text } });
  return {
    grid: { left: 50, right: 44, top: 14, bottom: 36, outerBoundsMode: 'none' },
    xAxis: names(colors, upTo(layer.experts), axisName(colors, 'expert', middle(20))),
    yAxis: amounts(colors, String, { min: 0, minInterval: 1, ...axisName(colors, 'tokens', middle(36)) }),
    series: [
      of('prompt'),
      {
        ...of('generate'),
        markLine: {
          silent: true,
          symbol: 'none',
          lineStyle: { color: colors.muted, type: 'dashed' },
          label: { color: colors.muted, fontSize: 10 },
          data: [line(mean, 'mean'), line(2 * mean, 'hot'), line(mean / 2, 'cold')],
        },
      },
    ],
  };
}

/** Balance of each layer by phase, and how far the phases are from each other. */
export function balanceOption(layers: LayerExperts[], selected: number | null, colors: Look): Option {
  const at = layers.findIndex((layer) => layer.layer === selected);
  const bar = (name: string, part: 'prompt' | 'generate', color: string) => ({
    type: 'bar',
    name,
    barCategoryGap: '24%',
    itemStyle: { color },
    data: layers.map((layer) => (layer[part].tokens > 0 ? layer[part].balance : null)),
  });
  return {
    grid: { left: 50, right: 14, top: 10, bottom: 36, outerBoundsMode: 'none' },
    xAxis: names(
      colors,
      layers.map((layer) => layer.layer),
      axisName(colors, 'layer', middle(20)),
    ),
    yAxis: amounts(colors, String, { min: 0, max: 1, interval: 0.25 }),
    series: [
      bar('PROMPT', 'prompt', colors.prompt),
      bar('GENERATE', 'generate', colors.generate),
      {
        type: 'line',
        name: 'divergence',
        symbolSize: 5,
        lineStyle: { color: colors.select, width: 1.5 },
        itemStyle: { color: colors.select },
        data: layers.map((layer) => layer.divergence),
      },
      ...(at < 0 ? [] : [frame(colors, [at, at], null)]),
    ],
  };
}

/** Part of the reads that caches would have hit, against their size. */
export function cacheOption(sizes: CacheSize[], accesses: number, colors: Look): Option {
  const line = (name: string, of: (size: CacheSize) => number, color: string, type: string, below: boolean) => ({
    type: 'line',
    name,
    symbolSize: 4,
    lineStyle: { color, width: 2, type },
    itemStyle: { color },
    data: sizes.map((size) => (accesses > 0 ? of(size) / accesses : 0)),
    ...(below ? { z: 1 } : {}),
  });
  return {
    grid: { left: 50, right: 14, top: 10, bottom: 36, outerBoundsMode: 'none' },
    xAxis: names(
      colors,
      sizes.map((size) => size.per_layer),
      { boundaryGap: false, ...axisName(colors, 'experts a layer in the cache', middle(20)) },
    ),
    yAxis: amounts(colors, percent, { min: 0, max: 1, interval: 0.25 }),
    series: [
      line('best', (size) => size.best, colors.generate, 'solid', false),
      line('LRU', (size) => size.lru, colors.prompt, 'solid', false),
      line('best in each layer', (size) => size.layer_best, colors.generate, 'dashed', true),
      line('LRU in each layer', (size) => size.layer_lru, colors.prompt, 'dashed', true),
    ],
  };
}
