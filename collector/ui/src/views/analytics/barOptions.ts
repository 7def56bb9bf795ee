// The pictures of sums: by layer, by kind of operator, and how one operator's times are spread.
import { opColor } from '../../lib/colors';
import { bytes, percent, time } from '../../lib/format';
import type { Histogram, LayerSum, OpSum, Phase } from '../../lib/types';
import { amounts, axisName, frame, names, type Look, type Option } from './look';

/** What a layer is called; what is in none is `rest`. */
export function layerName(layer: number | null): string {
  return layer === null ? 'rest' : String(layer);
}

/** An axis from 0 whose end and steps are round: the end and the step. */
export function round(max: number, steps = 4): { max: number; interval: number } {
  if (!(max > 0)) return { max: 1, interval: 1 };
  const raw = max / steps;
  const power = 10 ** Math.floor(Math.log10(raw));
  const interval = [1, 2, 2.5, 5, 10].map((n) => n * power).find((n) => n >= raw * (1 - 1e-9)) ?? 10 * power;
  return { max: Math.ceil(max / interval - 1e-9) * interval, interval };
}

/** The same for bytes, round in their binary unit. */
export function roundBytes(max: number, steps = 4): { max: number; interval: number } {
  const unit = 1024 ** Math.max(0, Math.floor(Math.log2(Math.max(1, max / steps)) / 10));
  const axis = round(max / unit, steps);
  return { max: axis.max * unit, interval: axis.interval * unit };
}

/** Time and weights by layer; the axis on the right is the same time by evaluation. */
export function layerOption(layers: LayerSum[], evaluations: number, selected: number | null, colors: Look): Option {
  const axis = round(Math.max(0, ...layers.map((sum) => sum.ns)));
  const weights = roundBytes(Math.max(0, ...layers.map((sum) => sum.weight_bytes)), 2);
  const labels = layers.map((sum) => layerName(sum.layer));
  const picked = (sum: LayerSum) => selected !== null && sum.layer === selected;
  const at = layers.findIndex(picked);
  const item = (sum: LayerSum, color: string) => ({
    color,
    opacity: selected === null || picked(sum) ? 1 : 0.6,
  });
  const title = (text: string, top: number) => ({
    text,
    left: 60,
    top,
    padding: 2,
    textStyle: { color: colors.muted, fontSize: 11, fontWeight: 'normal' },
  });
  return {
    title: [title('time (left: in total, right: per evaluation)', 0), title('weights of the layer', 189)],
    grid: [
      { left: 64, right: 70, top: 20, height: 160, outerBoundsMode: 'none' },
      { left: 64, right: 70, top: 210, height: 54, outerBoundsMode: 'none' },
    ],
    axisPointer: { link: [{ xAxisIndex: 'all' }] },
    xAxis: [
      names(colors, labels, { gridIndex: 0, axisLabel: { show: false } }),
      names(colors, labels, { gridIndex: 1 }),
    ],
    yAxis: [
      amounts(colors, time, { gridIndex: 0, min: 0, ...axis }),
      amounts(colors, (ns) => time(ns / Math.max(1, evaluations)), {
        gridIndex: 0,
        min: 0,
        ...axis,
        position: 'right',
        splitLine: { show: false },
      }),
      amounts(colors, bytes, { gridIndex: 1, min: 0, ...weights }),
    ],
    series: [
      {
        type: 'bar',
        xAxisIndex: 0,
        yAxisIndex: 0,
        barCategoryGap: '22%',
        data: layers.map((sum) => ({
          value: sum.ns,
          itemStyle: item(sum, sum.layer === null ? colors.faint : colors.accent),
        })),
      },
      {
        type: 'bar',
        xAxisIndex: 1,
        yAxisIndex: 2,
        barCategoryGap: '22%',
        data: layers.map((sum) => ({ value: sum.weight_bytes, itemStyle: item(sum, colors.disk) })),
      },
      // The third axis of amounts is the one of the second chart.
      ...(at < 0 ? [] : [frame(colors, [at, at], null, 0, 0), frame(colors, [at, at], null, 1, 2)]),
    ],
  };
}

/** A kind of operator, with both phases. */
export interface OpTotal {
  op: string;
  count: number;
  ns: number;
  bytes: number;
  PROMPT: number;
  GENERATE: number;
}

/** By kind of operator, longest first. */
export function opTotals(sums: OpSum[]): OpTotal[] {
  const totals = new Map<string, OpTotal>();
  for (const sum of sums) {
    const total = totals.get(sum.op) ?? { op: sum.op, count: 0, ns: 0, bytes: 0, PROMPT: 0, GENERATE: 0 };
    total.count += sum.count;
    total.ns += sum.ns;
    total.bytes += sum.bytes;
    // An evaluation without tokens has no phase; as everywhere, it is no answer.
    total[sum.phase === 'GENERATE' ? 'GENERATE' : 'PROMPT'] += sum.ns;
    totals.set(sum.op, total);
  }
  return [...totals.values()].sort((a, b) => b.ns - a.ns || a.op.localeCompare(b.op));
}

/** A name that fits beside its bar, and that rich text does not take for markup. */
function clip(name: string): string {
  const short = name.length > 18 ? `${name.slice(0, 17)}…` : name;
  return short.replace(/[{}]/g, ' ');
}

export function opOption(ops: OpTotal[], selected: string | null, colors: Look): Option {
  const all = ops.reduce((sum, op) => sum + op.ns, 0);
  const series = (phase: Phase, color: string, last: boolean) => ({
    type: 'bar',
    stack: 'phase',
    barCategoryGap: '30%',
    data: ops.map((op) => ({
      value: op[phase],
      itemStyle: { color, opacity: selected === null || selected === op.op ? 1 : 0.6 },
    })),
    ...(last
      ? {
          label: {
            show: true,
            position: 'right',
            color: colors.muted,
            fontSize: 11,
            formatter: ({ dataIndex }: { dataIndex: number }) =>
              ops[dataIndex].ns > 0 ? `${time(ops[dataIndex].ns)} · ${percent(ops[dataIndex].ns / all)}` : 'no time',
          },
        }
      : {}),
  });
  return {
    grid: { left: 8, right: 110, top: 2, bottom: 2, outerBoundsMode: 'same', outerBoundsContain: 'axisLabel' },
    xAxis: amounts(colors, time, { axisLabel: { show: false }, splitLine: { show: false } }),
    yAxis: names(
      colors,
      ops.map((op) => op.op),
      {
        inverse: true,
        axisLine: { show: false },
        axisLabel: {
          interval: 0,
          fontSize: 11,
          formatter: (op: string, i: number) => `{${op === selected ? 'selected' : 'name'}|${clip(op)}} {color${i}|■}`,
          rich: {
            name: { color: colors.text, fontSize: 11 },
            selected: { color: colors.select, fontSize: 11, fontWeight: 'bold' },
            ...Object.fromEntries(ops.map((op, i) => [`color${i}`, { color: opColor(op.op), fontSize: 12 }])),
          },
        },
      },
    ),
    series: [series('PROMPT', colors.prompt, false), series('GENERATE', colors.generate, true)],
  };
}

/** The same as shares of a ring, in the colours that the kinds have everywhere. */
export function shareOption(ops: OpTotal[], selected: string | null, colors: Look): Option {
  const all = ops.reduce((sum, op) => sum + op.ns, 0);
  return {
    title: {
      text: time(all),
      left: 'center',
      top: 'middle',
      textStyle: { color: colors.text, fontSize: 14, fontWeight: 600 },
    },
    tooltip: { trigger: 'item' },
    series: [
      {
        type: 'pie',
        radius: ['58%', '88%'],
        label: { show: false },
        emphasis: { scaleSize: 3 },
        data: ops.map((op) => ({
          name: op.op,
          value: op.ns,
          itemStyle: {
            color: opColor(op.op),
            borderColor: op.op === selected ? colors.select : colors.panel,
            borderWidth: op.op === selected ? 3 : 1,
          },
        })),
      },
    ],
  };
}

/** Where on the axis of bins a time is: 2.5 is the middle of the third. */
export function binPlace(histogram: Histogram, ns: number): number {
  const { bins } = histogram;
  const at = bins.findIndex((bin) => ns <= bin.to);
  if (at < 0) return bins.length;
  const { from, to } = bins[at];
  if (ns <= from) return at;
  const [low, high] = [Math.log(Math.max(1, from)), Math.log(Math.max(2, to + 1))];
  return at + Math.min(1, (Math.log(ns) - low) / Math.max(1e-9, high - low));
}

export function histogramOption(histogram: Histogram, color: string, colors: Look): Option {
  const marks = [
    { name: 'p50', ns: histogram.p50 },
    { name: 'p90', ns: histogram.p90 },
    { name: 'p99', ns: histogram.p99 },
  ];
  const { bins } = histogram;
  return {
    grid: { left: 58, right: 26, top: 42, bottom: 24, outerBoundsMode: 'none' },
    xAxis: {
      ...amounts(colors, (at) => time(bins[Math.round(at)]?.from ?? bins[bins.length - 1]?.to), {
        min: 0,
        max: bins.length,
        interval: Math.max(1, Math.ceil(bins.length / 6)),
        splitLine: { show: false },
      }),
      axisLine: { show: true, lineStyle: { color: colors.line } },
    },
    yAxis: amounts(
      colors,
      (n) => (n >= 1e6 ? `${+(n / 1e6).toFixed(2)}M` : n >= 1000 ? `${+(n / 1000).toFixed(1)}k` : String(n)),
      {
        ...axisName(colors, 'executions', { nameLocation: 'middle', nameGap: 38 }),
        minInterval: 1,
      },
    ),
    series: [
      {
        type: 'bar',
        barWidth: '92%',
        itemStyle: { color },
        data: bins.map((bin, i) => [i + 0.5, bin.count]),
        markLine: {
          silent: true,
          symbol: 'none',
          lineStyle: { color: colors.select, type: 'solid', width: 1.5 },
          data: marks.map((mark, i) => ({
            xAxis: binPlace(histogram, mark.ns),
            label: {
              formatter: `${mark.name} ${time(mark.ns)}`,
              color: colors.text,
              fontSize: 11,
              position: 'end',
              align: binPlace(histogram, mark.ns) > 0.8 * bins.length ? 'right' : 'center',
              // Three near each other are read one above the other.
              distance: [0, 1 + 12 * (2 - i)],
            },
          })),
        },
      },
    ],
  };
}
