// The pictures of hidden states: every token in every layer, and the layers over all tokens.
import { digits } from '../../lib/format';
import type { Range } from '../../lib/selection.svelte';
import { round } from '../analytics/barOptions';
import { amounts, axisName, frame, names, type Look, type Option } from '../analytics/look';
import { picture, scaled } from '../analytics/picture';
import type { LayerOfRun, Part, TokenMatrix } from './types';

/** What goes into the first layer is called as llama.cpp calls it. */
export function layerName(layer: number | null): string {
  return layer === null ? 'embd' : String(layer);
}

/** A number of any size in a few characters. */
export function short(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return '–';
  const size = Math.abs(value);
  if (size === 0) return '0';
  if (size < 0.001 || size >= 1e6) return value.toExponential(1);
  return size < 1 ? value.toFixed(3) : digits(value);
}

export interface Heat {
  /** From 0 to 1, layer by layer; NaN where there is none. */
  values: Float64Array;
  least: number;
  most: number;
  /** Whether colours are of the logarithm: where numbers lie orders of magnitude apart. */
  log: boolean;
}

/** The colours of the cells: rows are layers, columns tokens. `linear` numbers may be as good as 0 without meaning more by it. */
export function heat(matrix: TokenMatrix, unit: boolean, linear = unit): Heat {
  const [columns, rows] = [matrix.rows.length, matrix.layers.length];
  const raw = new Float64Array(columns * rows).fill(NaN);
  let [least, most] = [Infinity, -Infinity];
  matrix.rows.forEach((row, x) =>
    row.values.forEach((value, y) => {
      if (value === null) return;
      raw[y * columns + x] = value;
      least = Math.min(least, value);
      most = Math.max(most, value);
    }),
  );
  if (least > most) return { values: raw, least: 0, most: 1, log: false };
  const log = !linear && least > 0 && most / least > 100;
  const [from, to] = unit ? [Math.min(0, least), 1] : [least, most];
  const of = (value: number) => (log ? Math.log(value) : value);
  const room = of(to) - of(from);
  return {
    values: raw.map((value) => (room > 0 ? (of(value) - of(from)) / room : value - value)),
    least: from,
    most: to,
    log,
  };
}

/** Where the selected layer and tokens are among the cells; null if nothing of them is selected. */
export function marked(matrix: TokenMatrix, layer: number | null, tokens: Range | null): { x: Range; y: Range } | null {
  if (layer === null && !tokens) return null;
  const y = layer === null ? -1 : matrix.layers.indexOf(layer);
  const x: Range = tokens
    ? [matrix.rows.findIndex((r) => r.token >= tokens[0]), matrix.rows.findLastIndex((r) => r.token <= tokens[1])]
    : [0, matrix.rows.length - 1];
  if (x[0] < 0 || x[0] > x[1] || (layer !== null && y < 0)) return null;
  return { x, y: y < 0 ? [0, matrix.layers.length - 1] : [y, y] };
}

export function matrixOption(
  matrix: TokenMatrix,
  { values }: Heat,
  layer: number | null,
  tokens: Range | null,
  colors: Look,
): Option {
  const at = marked(matrix, layer, tokens);
  const columns = matrix.rows.length;
  return {
    grid: { left: 58, right: 12, top: 6, bottom: 38, outerBoundsMode: 'none' },
    tooltip: { show: false },
    xAxis: names(
      colors,
      matrix.rows.map((row) => row.token),
      axisName(colors, 'token', { nameLocation: 'middle', nameGap: 22 }),
    ),
    yAxis: names(colors, matrix.layers.map(layerName), {
      inverse: true,
      // A row is lower than a line of text where there are many.
      axisLabel: { color: colors.muted, fontSize: 11, interval: matrix.layers.length > 20 ? 4 : 0 },
      ...axisName(colors, 'layer', { nameLocation: 'middle', nameGap: 32 }),
    }),
    series: [picture(scaled(values, 1), columns), ...(at ? [frame(colors, at.x, at.y)] : [])],
  };
}

const largestOf = (layer: LayerOfRun, is: (part: Part) => boolean): number | null => {
  const of = layer.added
    .filter((a) => is(a.part))
    .map((a) => a.share)
    .filter((share) => share !== null);
  return of.length ? Math.max(...of) : null;
};

/** Share of what the feed-forward network adds, or of attention and what stands in its place. */
export function shareOf(layer: LayerOfRun, feedForward: boolean): number | null {
  return largestOf(layer, (part) => (feedForward ? part === 'feed_forward' : part === 'attention' || part === 'state'));
}

/** What else is added in a layer, in words: adapters, control vectors, and what the program feeds. */
export function addedBeside(layer: LayerOfRun): string[] {
  const names: Partial<Record<Part, string>> = {
    adapter: 'an adapter',
    control_vector: 'a control vector',
    input: 'what the program feeds',
    earlier: 'an earlier state',
  };
  return layer.added.flatMap(({ part, matrix, share }) => {
    const name = names[part];
    return name ? [`${name}${matrix ? ` on ${matrix}` : ''} adds ${short(share)}`] : [];
  });
}

export function layersOption(layers: LayerOfRun[], selected: number | null, colors: Look): Option {
  const labels = layers.map((l) => layerName(l.layer));
  const shares = layers.flatMap((l) => [shareOf(l, false), shareOf(l, true)]).filter((s) => s !== null);
  // The first layer builds the stream up: its share is many times those of all others, which are what is to be seen.
  const top = round(Math.min(1.25, Math.max(0.01, ...shares)), 3);
  const at = selected === null ? -1 : layers.findIndex((l) => l.layer === selected);
  const title = (text: string, top: number) => ({
    text,
    left: 52,
    top,
    padding: 2,
    textStyle: { color: colors.muted, fontSize: 11, fontWeight: 'normal' },
  });
  const cutLabel = (share: number, below: boolean, color: string) => ({
    show: true,
    position: ['100%', below ? 13 : 0],
    align: 'left',
    formatter: `↑ ${short(share)}`,
    color,
    fontSize: 11,
    textBorderColor: colors.panel,
    textBorderWidth: 3,
  });
  const bar = (feedForward: boolean, color: string) => ({
    type: 'bar',
    name: feedForward ? 'feed-forward' : 'attention',
    xAxisIndex: 1,
    yAxisIndex: 1,
    barCategoryGap: '28%',
    barGap: '0%',
    itemStyle: { color },
    data: layers.map((l) => {
      const share = shareOf(l, feedForward);
      if (share === null || share <= top.max) return share;
      // What is cut off says how much it is.
      return { value: top.max, label: cutLabel(share, feedForward, color) };
    }),
  });
  const line = (values: (number | null | undefined)[], color: string, more: object = {}) => ({
    type: 'line',
    symbol: 'circle',
    symbolSize: 4,
    lineStyle: { color, width: 1.5 },
    itemStyle: { color },
    data: values.map((v) => (v && v > 0 ? v : null)),
    ...more,
  });
  return {
    title: [
      title('norm: median and largest', 0),
      title('share of the stream that each part adds', 158),
      title('cosine with the layer before', 296),
    ],
    grid: [
      { left: 56, right: 14, top: 20, height: 124, outerBoundsMode: 'none' },
      { left: 56, right: 14, top: 178, height: 104, outerBoundsMode: 'none' },
      { left: 56, right: 14, top: 316, height: 70, outerBoundsMode: 'none' },
    ],
    axisPointer: { link: [{ xAxisIndex: 'all' }] },
    xAxis: [0, 1, 2].map((gridIndex) =>
      names(colors, labels, {
        gridIndex,
        axisLabel: gridIndex === 2 ? { color: colors.muted, fontSize: 11 } : { show: false },
      }),
    ),
    yAxis: [
      { ...amounts(colors, short, { gridIndex: 0 }), type: 'log' },
      amounts(colors, short, { gridIndex: 1, min: 0, ...top }),
      amounts(colors, short, { gridIndex: 2, min: 0, max: 1, interval: 0.5 }),
    ],
    series: [
      line(
        layers.map((l) => l.norm?.median),
        colors.accent,
      ),
      line(
        layers.map((l) => l.norm?.max),
        colors.muted,
        { lineStyle: { color: colors.muted, width: 1, type: 'dashed' } },
      ),
      bar(false, colors.prompt),
      bar(true, colors.generate),
      line(
        layers.map((l) => l.cosine),
        colors.accent,
        { xAxisIndex: 2, yAxisIndex: 2 },
      ),
      ...(at < 0 ? [] : [0, 1, 2].map((grid) => frame(colors, [at, at], null, grid, grid))),
    ],
  };
}
