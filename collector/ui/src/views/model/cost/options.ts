// The pictures of what a model costs.
import { bytes } from '../../../lib/format';
import { round } from '../../analytics/barOptions';
import { amounts, axisName, names, type Look, type Option } from '../../analytics/look';
import { byteAxis } from '../axes';
import type { Inspection, Reached, Work } from '../types';
import { metric, SERIES, tokens } from '../words';

/** Types whose caches are of the same size, as one line. */
export function cacheLines(memory: Inspection['memory']): { types: string[]; bytes: number[] }[] {
  const lines = new Map<string, { types: string[]; bytes: number[] }>();
  for (const { type, bytes } of memory.cache_types) {
    if (!bytes) continue;
    const line = lines.get(bytes.join());
    if (line) line.types.push(type);
    else lines.set(bytes.join(), { types: [type], bytes });
  }
  return [...lines.values()];
}

/** How far labels at these heights, in pixels from the top, have to move to be `apart`: down, as long as there is room. */
export function spread(heights: number[], apart: number, bottom: number): number[] {
  const order = heights.map((_, i) => i).sort((a, b) => heights[a] - heights[b]);
  const moved = [...heights];
  for (let k = 1; k < order.length; k++) {
    moved[order[k]] = Math.max(moved[order[k]], moved[order[k - 1]] + apart);
  }
  let limit = bottom;
  for (const i of order.reverse()) {
    moved[i] = Math.min(moved[i], limit);
    limit = moved[i] - apart;
  }
  return moved.map((y, i) => y - heights[i]);
}

const CACHE_ROOM = { top: 10, bottom: 36 };

/** Bytes of a cache against the context, a line for each type; `height` is that of the chart in pixels. */
export function cacheOption(memory: Inspection['memory'], height: number, colors: Look): Option {
  const lines = cacheLines(memory);
  const chosen = new Set(memory.cache_type);
  const isChosen = (line: { types: string[] }) => line.types.some((type) => chosen.has(type));
  const axis = byteAxis(Math.max(1, ...lines.flatMap((line) => line.bytes)));
  const room = height - CACHE_ROOM.top - CACHE_ROOM.bottom;
  const away = spread(
    lines.map((line) => room * (1 - line.bytes[line.bytes.length - 1] / axis.max)),
    12,
    room - 4,
  );
  return {
    grid: { left: 72, right: 84, ...CACHE_ROOM, outerBoundsMode: 'none' },
    xAxis: names(
      colors,
      memory.contexts.map(tokens),
      axisName(colors, 'tokens of context', { nameLocation: 'middle', nameGap: 22 }),
    ),
    yAxis: amounts(colors, bytes, { min: 0, ...axis }),
    series: lines.map((line, i) => ({
      type: 'line',
      name: line.types.join(', '),
      data: line.bytes,
      symbolSize: isChosen(line) ? 7 : 4,
      lineStyle: { color: SERIES[i % SERIES.length], width: isChosen(line) ? 3 : 1.4 },
      itemStyle: { color: SERIES[i % SERIES.length] },
      endLabel: {
        show: true,
        formatter: line.types.join(', '),
        offset: [0, away[i]],
        color: isChosen(line) ? colors.text : colors.muted,
        fontWeight: isChosen(line) ? 'bold' : 'normal',
        fontSize: 11,
      },
    })),
  };
}

/** Parts of the work, the same in all lengths. */
export function partsOf(works: Work[]): string[] {
  return [...new Set(works.flatMap((work) => work.parts.map((part) => part.what)))];
}

const PART_COLOURS: Record<string, string> = {
  embedding: '#e69f00',
  norms: '#9aa7b4',
  attention: '#56b4e9',
  'attention over the cache': '#3b7fc4',
  'feed-forward': '#2bb673',
  experts: '#7fbf3f',
  output: '#cc79a7',
};

export function partColour(what: string, i: number): string {
  return PART_COLOURS[what] ?? SERIES[i % SERIES.length];
}

/** Operations, and bytes below them, of sequences of some lengths. */
export function workOption(works: Work[], colors: Look): Option {
  const parts = partsOf(works);
  const labels = works.map((work) => tokens(work.tokens));
  const flops = round(Math.max(1, ...works.map((work) => work.flops)), 3);
  const read = byteAxis(Math.max(1, ...works.map((work) => work.bytes)), 3);
  const title = (text: string, top: number) => ({
    text,
    left: 72,
    top,
    padding: 0,
    textStyle: { color: colors.muted, fontSize: 11, fontWeight: 'normal' },
  });
  const stack = (axis: number, pick: (part: Work['parts'][number]) => number) =>
    parts.map((what, i) => ({
      type: 'bar',
      stack: `stack${axis}`,
      xAxisIndex: axis,
      yAxisIndex: axis,
      barMaxWidth: 46,
      itemStyle: { color: partColour(what, i) },
      data: works.map((work) => {
        const part = work.parts.find((p) => p.what === what);
        return part ? pick(part) : 0;
      }),
    }));
  return {
    title: [title('operations', 2), title('bytes read', 126)],
    grid: [
      { left: 72, right: 14, top: 22, height: 90, outerBoundsMode: 'none' },
      { left: 72, right: 14, top: 146, height: 90, outerBoundsMode: 'none' },
    ],
    axisPointer: { link: [{ xAxisIndex: 'all' }] },
    xAxis: [
      names(colors, labels, { gridIndex: 0, axisLabel: { show: false } }),
      names(colors, labels, { gridIndex: 1, ...axisName(colors, 'tokens', { nameLocation: 'middle', nameGap: 20 }) }),
    ],
    yAxis: [
      amounts(colors, (n) => metric(n, 'FLOP'), { gridIndex: 0, min: 0, ...flops }),
      amounts(colors, bytes, { gridIndex: 1, min: 0, ...read }),
    ],
    series: [...stack(0, (part) => part.flops), ...stack(1, (part) => part.bytes)],
  };
}

export interface Machine {
  bandwidth: number | null;
  flops: number | null;
}

export interface RoofPoint extends Reached {
  /** Operations a byte, operations a second, bytes a second. */
  intensity: number;
  reached: number;
  bandwidth: number;
  /** Part of the machine's limit; null if that is not known. */
  share: number | null;
}

/** Operators that compute, as points under the roof. */
export function roofPoints(list: readonly Reached[], machine: Machine): RoofPoint[] {
  return list
    .filter((r) => r.flops > 0 && r.bytes > 0 && r.ns > 0)
    .map((r) => {
      const [reached, bandwidth] = [(r.flops / r.ns) * 1e9, (r.bytes / r.ns) * 1e9];
      const limits = [
        machine.flops === null ? Infinity : machine.flops,
        machine.bandwidth === null ? Infinity : (machine.bandwidth * r.flops) / r.bytes,
      ];
      const limit = Math.min(...limits);
      return {
        ...r,
        intensity: r.flops / r.bytes,
        reached,
        bandwidth,
        share: limit < Infinity ? reached / limit : null,
      };
    });
}

/** The roof: lines of what the machine can do, and below it what operators reached. */
export function roofOption(points: RoofPoint[], machine: Machine, colors: Look): Option {
  const xs = points.map((p) => p.intensity);
  const ys = points.map((p) => p.reached);
  const ridge = machine.bandwidth && machine.flops ? machine.flops / machine.bandwidth : null;
  const low = 10 ** Math.floor(Math.log10(Math.min(...xs, ridge ?? Infinity) / 2));
  const high = 10 ** Math.ceil(Math.log10(Math.max(...xs, ridge ?? 0) * 2));
  const roof = [low, ...(ridge && ridge > low && ridge < high ? [ridge] : []), high].map((x) => [
    x,
    Math.min(machine.flops ?? Infinity, machine.bandwidth ? machine.bandwidth * x : Infinity),
  ]);
  const drawn = roof.every(([, y]) => y < Infinity) ? roof : [];
  const bottom = 10 ** Math.floor(Math.log10(Math.min(...ys, ...drawn.map(([, y]) => y)) / 1.5));
  const top = 10 ** Math.ceil(Math.log10(Math.max(...ys, ...drawn.map(([, y]) => y)) * 1.5));
  const longest = Math.max(...points.map((p) => p.ns));
  return {
    grid: { left: 84, right: 20, top: 12, bottom: 38, outerBoundsMode: 'none' },
    tooltip: { trigger: 'item' },
    xAxis: {
      ...amounts(colors, (n) => (n >= 1 ? String(n) : n.toPrecision(1)), {
        ...axisName(colors, 'operations a byte', { nameLocation: 'middle', nameGap: 22 }),
      }),
      type: 'log',
      min: low,
      max: high,
    },
    yAxis: {
      ...amounts(colors, (n) => metric(n, 'FLOP/s'), {}),
      type: 'log',
      min: bottom,
      max: top,
    },
    series: [
      {
        type: 'scatter',
        symbolSize: (_: unknown, { dataIndex }: { dataIndex: number }) =>
          8 + 18 * Math.sqrt((points[dataIndex]?.ns ?? 0) / longest),
        label: {
          show: true,
          position: 'right',
          color: colors.text,
          fontSize: 11,
          formatter: ({ dataIndex }: { dataIndex: number }) => points[dataIndex].op,
        },
        labelLayout: { moveOverlap: 'shiftY', hideOverlap: true },
        data: points.map((p) => ({
          value: [p.intensity, p.reached],
          // A name next to a point at the right end would be cut off.
          label: { position: Math.log(p.intensity / low) > 0.7 * Math.log(high / low) ? 'left' : 'right' },
          itemStyle: {
            color: p.phase === null ? colors.muted : p.phase === 'PROMPT' ? colors.prompt : colors.generate,
            opacity: 0.85,
          },
        })),
      },
      {
        type: 'line',
        silent: true,
        symbol: 'none',
        data: drawn,
        lineStyle: { color: colors.bad, width: 2 },
        areaStyle: { color: colors.bad, opacity: 0.05 },
      },
    ],
  };
}

/** Bytes of the weights in every type, the file's own among them. */
export function typesOption(list: { type: string; bytes: number; own: boolean }[], colors: Look): Option {
  return {
    grid: { left: 8, right: 96, top: 2, bottom: 2, outerBoundsMode: 'same', outerBoundsContain: 'axisLabel' },
    xAxis: amounts(colors, bytes, { axisLabel: { show: false }, splitLine: { show: false }, min: 0 }),
    yAxis: names(
      colors,
      list.map((t) => t.type),
      {
        inverse: true,
        axisLine: { show: false },
        axisLabel: { interval: 0, color: colors.text, fontSize: 11 },
      },
    ),
    series: [
      {
        type: 'bar',
        barCategoryGap: '25%',
        data: list.map((t) => ({
          value: t.bytes,
          itemStyle: { color: t.own ? colors.select : colors.accent, opacity: t.own ? 1 : 0.75 },
        })),
        label: {
          show: true,
          position: 'right',
          color: colors.muted,
          fontSize: 11,
          formatter: ({ value }: { value: number }) => bytes(value),
        },
      },
    ],
  };
}
