// The picture of what each token cost: five small charts over one axis of tokens.
import { batchText, bytesInTotal, countInTotal, timeInTotal } from '../../lib/batch';
import { phaseText, time } from '../../lib/format';
import type { Range } from '../../lib/selection.svelte';
import { round } from './barOptions';
import { amounts, frame, names, type Look, type Option } from './look';
import { ceiling, type TokenBin } from './tokens';

const MIB = 1024 * 1024;
const LEFT = 58;
const RIGHT = 14;
/** Room of the title over each of the small charts. */
const TITLE = 23;
const ROWS = [
  { title: 'milliseconds per token', height: 92 },
  { title: 'operators per token', height: 36 },
  { title: 'MiB read per token: DISK and BUFFER', height: 62 },
  { title: 'part of that read from DISK, %', height: 36 },
  { title: 'page faults per token', height: 36 },
];
const SLIDER = 46;
export const HEIGHT = ROWS.reduce((sum, row) => sum + row.height + TITLE, 0) + SLIDER;
/** Outliers that say how large they are. */
const NAMED_OUTLIERS = 4;

const phaseColor = (phase: TokenBin['phase'], colors: Look) =>
  phase === null ? colors.unknown : phase === 'PROMPT' ? colors.prompt : colors.generate;
const tokens = (bin: TokenBin) => bin.last - bin.first + 1;
const each = (bin: TokenBin, sum: number) => sum / tokens(bin);
/** A whole number that was divided and multiplied again. */
const whole = (n: number) => (Math.abs(n - Math.round(n)) < 1e-6 ? Math.round(n) : n);

/** DISK's part of the bytes that were touched; null if none were. */
export function diskShare(bin: TokenBin): number | null {
  const all = bin.disk_bytes + bin.buffer_bytes;
  return all > 0 ? bin.disk_bytes / all : null;
}

/** What a bin says: of tokens that were computed together what the batch took, of others the average. */
export function binLines(bin: TokenBin, text: string | null): string[] {
  const n = tokens(bin);
  const share = diskShare(bin);
  const batch = batchText({ evaluations: 1, tokens: bin.batch });
  const together = Math.max(1, bin.batch);
  const of = (sum: number) => each(bin, sum) * together;
  const average = n > 1 && !batch ? ', average' : '';
  return [
    n === 1
      ? `token ${bin.first}${text === null ? '' : ` “${text}”`} (${phaseText(bin.phase)})`
      : `tokens ${bin.first} to ${bin.last} (${phaseText(bin.phase)})${average}`,
    ...(batch ? [batch] : []),
    timeInTotal(of(bin.ns), together) +
      (n > 1 && !batch ? `, slowest ${time(bin.slowest_ns)} (token ${bin.slowest})` : ''),
    `operators: ${countInTotal(whole(of(bin.operators)), together)}`,
    `DISK: ${bytesInTotal(of(bin.disk_bytes), together)}` +
      (share === null ? '' : ` (${(100 * share).toFixed(1)} % of what was read)`),
    `BUFFER: ${bytesInTotal(of(bin.buffer_bytes), together)}`,
    `minor page faults: ${countInTotal(whole(of(bin.minor_faults)), together)}`,
    `major page faults: ${countInTotal(whole(of(bin.major_faults)), together)}`,
  ];
}

/** The same as rows of a table. */
export function binRow(bin: TokenBin): Record<string, string | number | null> {
  return {
    token: bin.first,
    last_token: bin.last,
    phase: phaseText(bin.phase),
    ms: each(bin, bin.ns) / 1e6,
    slowest_ms: bin.slowest_ns / 1e6,
    operators: each(bin, bin.operators),
    disk_bytes: each(bin, bin.disk_bytes),
    buffer_bytes: each(bin, bin.buffer_bytes),
    disk_share: diskShare(bin),
    minor_faults: each(bin, bin.minor_faults),
    major_faults: each(bin, bin.major_faults),
  };
}

/** The bins that have a token of the range; null if none has. */
export function binsOf(bins: TokenBin[], range: Range | null): Range | null {
  if (!range) return null;
  const first = bins.findIndex((bin) => bin.last >= range[0]);
  const last = bins.findLastIndex((bin) => bin.first <= range[1]);
  return first >= 0 && first <= last ? [first, last] : null;
}

export function tokenOption(bins: TokenBin[], selected: Range | null, colors: Look): Option {
  const ms = bins.map((bin) => each(bin, bin.ns) / 1e6);
  const { top, cut } = ceiling(ms);
  const axis = round(top);
  const outliers = ms.map((value, i) => ({ value, i })).filter(({ value }) => cut && value > top);
  const named = new Set<number>();
  for (const { i } of [...outliers].sort((a, b) => b.value - a.value)) {
    const apart = [...named].every((other) => Math.abs(other - i) > bins.length / 12);
    if (named.size < NAMED_OUTLIERS && apart) named.add(i);
  }
  const tops: number[] = [];
  let y = 0;
  for (const row of ROWS) {
    tops.push(y + TITLE);
    y += row.height + TITLE;
  }
  const area = binsOf(bins, selected);
  const bar = (row: number, color: string, data: (number | null | object)[], more: object = {}) => ({
    type: 'bar',
    xAxisIndex: row,
    yAxisIndex: row,
    stack: `row${row}`,
    barCategoryGap: bins.length > 120 ? '0%' : '14%',
    itemStyle: { color },
    data,
    ...more,
  });
  const value = (pick: (bin: TokenBin) => number) => bins.map((bin) => each(bin, pick(bin)));
  const short = (n: number) => (n >= 1000 ? `${+(n / 1000).toFixed(1)}k` : String(+n.toFixed(n < 10 ? 2 : 0)));
  return {
    title: ROWS.map((row, i) => ({
      text: row.title,
      left: LEFT - 4,
      top: tops[i] - 18,
      padding: 2,
      textStyle: { color: colors.muted, fontSize: 11, fontWeight: 'normal' },
    })),
    grid: ROWS.map((row, i) => ({
      left: LEFT,
      right: RIGHT,
      top: tops[i],
      height: row.height,
      outerBoundsMode: 'none',
    })),
    axisPointer: { link: [{ xAxisIndex: 'all' }] },
    xAxis: ROWS.map((_, i) =>
      names(
        colors,
        bins.map((bin) => bin.first),
        { gridIndex: i, ...(i < ROWS.length - 1 ? { axisLabel: { show: false } } : {}) },
      ),
    ),
    yAxis: ROWS.map((_, i) =>
      amounts(colors, short, {
        gridIndex: i,
        min: 0,
        splitNumber: i === 0 ? 3 : 2,
        ...(i === 0 ? axis : {}),
        ...(i === 3 ? { max: 100, interval: 50 } : {}),
        // A row of nothing but zeros has an axis all the same.
        ...(i === 4 && bins.every((bin) => bin.minor_faults + bin.major_faults === 0) ? { max: 1 } : {}),
      }),
    ),
    dataZoom: [
      {
        type: 'inside',
        xAxisIndex: ROWS.map((_, i) => i),
        zoomOnMouseWheel: 'ctrl',
        moveOnMouseMove: 'alt',
        moveOnMouseWheel: false,
      },
      {
        type: 'slider',
        xAxisIndex: ROWS.map((_, i) => i),
        bottom: 2,
        height: 16,
        left: LEFT,
        right: RIGHT,
        borderColor: colors.line,
        fillerColor: `${colors.accent}33`,
        handleStyle: { color: colors.raised, borderColor: colors.muted },
        moveHandleSize: 0,
        brushSelect: false,
        showDataShadow: false,
        textStyle: { color: colors.muted, fontSize: 10 },
        labelFormatter: (at: number) => `token ${bins[at]?.first ?? ''}`,
      },
    ],
    series: [
      bar(
        0,
        colors.generate,
        ms.map((ms, i) => ({
          value: ms,
          itemStyle: { color: phaseColor(bins[i].phase, colors) },
        })),
      ),
      bar(
        1,
        colors.muted,
        value((bin) => bin.operators),
      ),
      bar(
        2,
        colors.disk,
        value((bin) => bin.disk_bytes / MIB),
      ),
      bar(
        2,
        colors.buffer,
        value((bin) => bin.buffer_bytes / MIB),
      ),
      {
        type: 'line',
        xAxisIndex: 3,
        yAxisIndex: 3,
        step: 'middle',
        symbol: bins.length === 1 ? 'circle' : 'none',
        sampling: 'lttb',
        lineStyle: { color: colors.disk, width: 1.5 },
        itemStyle: { color: colors.disk },
        areaStyle: { color: colors.disk, opacity: 0.18 },
        data: bins.map((bin) => {
          const share = diskShare(bin);
          return share === null ? null : 100 * share;
        }),
      },
      bar(
        4,
        colors.faint,
        value((bin) => bin.minor_faults),
      ),
      bar(
        4,
        colors.bad,
        value((bin) => bin.major_faults),
      ),
      {
        type: 'scatter',
        xAxisIndex: 0,
        yAxisIndex: 0,
        silent: true,
        symbol: 'triangle',
        symbolSize: [7, 6],
        itemStyle: { color: colors.bad },
        tooltip: { show: false },
        label: {
          show: true,
          position: 'right',
          distance: 3,
          color: colors.text,
          fontSize: 11,
          formatter: ({ data }: { data: [number, number, string] }) => data[2],
        },
        data: outliers.map(({ value, i }) => [i, axis.max * 0.95, named.has(i) ? time(value * 1e6) : '']),
      },
      ...(area ? ROWS.map((_, row) => frame(colors, area, null, row)) : []),
    ],
  };
}
