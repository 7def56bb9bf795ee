// The pictures of two dimensions: layers by tokens, and the file by the time within an evaluation.
import { viridis } from '../../lib/colors';
import { bytes, time } from '../../lib/format';
import type { Range } from '../../lib/selection.svelte';
import type { AccessPattern, LayerTokens } from '../../lib/types';
import { layerName, roundBytes } from './barOptions';
import { amounts, axisName, frame, names, type Look, type Option } from './look';
import { picture, scaled } from './picture';
import { ceiling } from './tokens';

/** Viridis as a gradient of a style sheet. */
export const VIRIDIS = `linear-gradient(90deg, ${Array.from({ length: 9 }, (_, i) => `rgb(${viridis(i / 8).join(',')})`).join(', ')})`;

/** Nanoseconds a token of a cell. */
export function cell(map: LayerTokens, layer: number, bin: number): number {
  const { first_token, last_token } = map.bins[bin];
  return map.ns[layer][bin] / (last_token - first_token + 1);
}

/** Cells of the selected layer and tokens, as places of the grid; null where nothing of them is selected. */
export function cellsOf(map: LayerTokens, layer: number | null, tokens: Range | null): { y: Range; x: Range } | null {
  if (layer === null && !tokens) return null;
  const at = layer === null ? -1 : map.layers.indexOf(layer);
  if (layer !== null && at < 0) return null;
  const x: Range = tokens
    ? [
        map.bins.findIndex((bin) => bin.last_token >= tokens[0]),
        map.bins.findLastIndex((bin) => bin.first_token <= tokens[1]),
      ]
    : [0, map.bins.length - 1];
  if (x[0] < 0 || x[0] > x[1]) return null;
  return { x, y: at < 0 ? [0, map.layers.length - 1] : [at, at] };
}

/** Time a token of every cell, row by row, and where the colours end. */
export function cells(map: LayerTokens): { values: Float64Array; top: number; cut: boolean } {
  const values = new Float64Array(map.layers.length * map.bins.length);
  for (let y = 0, at = 0; y < map.layers.length; y++) {
    for (let x = 0; x < map.bins.length; x++) values[at++] = cell(map, y, x);
  }
  const { top, cut } = ceiling([...values]);
  return { values, top: top > 0 ? top : 1, cut };
}

export function heatOption(map: LayerTokens, layer: number | null, tokens: Range | null, colors: Look): Option {
  const { values, top } = cells(map);
  const marked = cellsOf(map, layer, tokens);
  return {
    grid: { left: 46, right: 12, top: 6, bottom: 38, outerBoundsMode: 'none' },
    tooltip: { show: false },
    xAxis: names(
      colors,
      map.bins.map((bin) => bin.first_token),
      axisName(colors, 'token', { nameLocation: 'middle', nameGap: 22 }),
    ),
    yAxis: names(colors, map.layers.map(layerName), {
      inverse: true,
      ...axisName(colors, 'layer', { nameLocation: 'middle', nameGap: 32 }),
    }),
    series: [picture(scaled(values, top), map.bins.length), ...(marked ? [frame(colors, marked.x, marked.y)] : [])],
  };
}

/** What a share of bytes that go on where the read before ended says of a file. */
export function pattern(sequential: number): string {
  if (sequential >= 0.8) return 'sequential, as the kernel’s read-ahead expects';
  if (sequential >= 0.4) return 'mixed, runs of neighbouring reads with jumps between them';
  return 'random, the kernel’s read-ahead helps little';
}

export function accessOption(reads: AccessPattern['reads'], tensor: string | null, colors: Look): Option {
  const largest = reads.reduce((max, read) => Math.max(max, read.bytes), 1);
  return {
    grid: { left: 76, right: 34, top: 12, bottom: 38, outerBoundsMode: 'none' },
    tooltip: { trigger: 'item' },
    xAxis: {
      ...amounts(colors, time, {
        splitNumber: 5,
        splitLine: { show: false },
        min: 0,
        ...axisName(colors, 'time since the first read', { nameLocation: 'middle', nameGap: 22 }),
      }),
      axisLine: { show: true, lineStyle: { color: colors.line } },
    },
    yAxis: amounts(colors, bytes, {
      min: 0,
      ...roundBytes(reads.reduce((max, read) => Math.max(max, read.offset + read.bytes), 0)),
      ...axisName(colors, 'offset in the file', { nameLocation: 'middle', nameGap: 62 }),
    }),
    series: [
      {
        type: 'line',
        lineStyle: { color: colors.muted, width: 1, opacity: 0.35 },
        symbol: 'circle',
        showAllSymbol: true,
        symbolSize: (_: unknown, params: { dataIndex: number }) =>
          4 + 8 * Math.sqrt((reads[params.dataIndex]?.bytes ?? 0) / largest),
        emphasis: { scale: 1.5, itemStyle: { borderColor: colors.select, borderWidth: 2 } },
        data: reads.map((read) => ({
          value: [read.t_ns, read.offset],
          itemStyle:
            read.name === tensor
              ? { color: colors.select, opacity: 1, borderColor: colors.text, borderWidth: 1 }
              : { color: colors.disk, opacity: 0.75 },
        })),
      },
    ],
  };
}
