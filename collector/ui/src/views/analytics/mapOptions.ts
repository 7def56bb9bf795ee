// The pictures of two dimensions: layers by tokens, and the file by the time within an evaluation.
import { viridis } from '../../lib/colors';
import { bytes, time } from '../../lib/format';
import type { Range } from '../../lib/selection.svelte';
import type { AccessPattern, LayerTokens } from '../../lib/types';
import { layerName } from './barOptions';
import { amounts, axisName, frame, names, type Look, type Option } from './look';
import { ceiling } from './tokens';

const VIRIDIS = Array.from({ length: 9 }, (_, i) => `rgb(${viridis(i / 8).join(',')})`);

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

export function heatOption(map: LayerTokens, layer: number | null, tokens: Range | null, colors: Look): Option {
  const values = map.layers.flatMap((_, y) => map.bins.map((_, x) => cell(map, y, x)));
  const { top, cut } = ceiling(values);
  const max = top > 0 ? top : 1;
  const marked = cellsOf(map, layer, tokens);
  return {
    grid: { left: 46, right: 92, top: 6, bottom: 38, outerBoundsMode: 'none' },
    tooltip: { trigger: 'item' },
    xAxis: names(
      colors,
      map.bins.map((bin) => bin.first_token),
      axisName(colors, 'token', { nameLocation: 'middle', nameGap: 22 }),
    ),
    yAxis: names(colors, map.layers.map(layerName), {
      inverse: true,
      ...axisName(colors, 'layer', { nameLocation: 'middle', nameGap: 32 }),
    }),
    visualMap: {
      type: 'continuous',
      min: 0,
      max,
      right: 4,
      top: 18,
      itemWidth: 10,
      itemHeight: 120,
      hoverLink: false,
      text: [`${cut ? '≥ ' : ''}${time(max)}`, '0'],
      textStyle: { color: colors.muted, fontSize: 11 },
      inRange: { color: VIRIDIS },
    },
    series: [
      {
        type: 'heatmap',
        progressive: 0,
        emphasis: { itemStyle: { borderColor: colors.select, borderWidth: 1 } },
        data: map.layers.flatMap((_, y) => map.bins.map((_, x) => [x, y, cell(map, y, x)])),
      },
      ...(marked ? [frame(colors, marked.x, marked.y)] : []),
    ],
  };
}

/** What a share of bytes that go on where the read before ended says of a file. */
export function pattern(sequential: number): string {
  if (sequential >= 0.8)
    return 'Sequential: most reads go on where the one before ended, as the kernel’s read-ahead expects.';
  if (sequential >= 0.4) return 'Mixed: runs of neighbouring reads, with jumps between them.';
  return 'Random: most reads begin somewhere else than where the one before ended; read-ahead helps little.';
}

export function accessOption(access: AccessPattern, tensor: string | null, colors: Look): Option {
  const largest = access.reads.reduce((max, read) => Math.max(max, read.bytes), 1);
  return {
    grid: { left: 76, right: 18, top: 12, bottom: 38, outerBoundsMode: 'none' },
    tooltip: { trigger: 'item' },
    xAxis: {
      ...amounts(colors, time, {
        splitNumber: 5,
        splitLine: { show: false },
        min: 0,
        ...axisName(colors, 'time within the evaluation', { nameLocation: 'middle', nameGap: 22 }),
      }),
      axisLine: { show: true, lineStyle: { color: colors.line } },
    },
    yAxis: amounts(colors, bytes, {
      min: 0,
      splitNumber: 4,
      ...axisName(colors, 'offset in the file', { nameLocation: 'middle', nameGap: 62 }),
    }),
    series: [
      {
        type: 'line',
        lineStyle: { color: colors.muted, width: 1, opacity: 0.35 },
        symbol: 'circle',
        showAllSymbol: true,
        symbolSize: (_: unknown, params: { dataIndex: number }) =>
          4 + 8 * Math.sqrt((access.reads[params.dataIndex]?.bytes ?? 0) / largest),
        emphasis: { scale: 1.5, itemStyle: { borderColor: colors.select, borderWidth: 2 } },
        data: access.reads.map((read) => ({
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
