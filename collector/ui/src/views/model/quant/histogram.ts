// Bins of distributions, and their picture.
import { count } from '../../../lib/format';
import { amounts, names, type Look, type Option } from '../../analytics/look';
import type { Distribution, Levels } from '../types';
import { small } from '../words';

export interface Bin {
  /** What it holds: `0.1 to 0.2`, `7`. */
  label: string;
  /** On the axis. */
  short: string;
  from: number;
  to: number;
  count: number;
}

export function valueBins({ histogram }: Distribution): Bin[] {
  if (!histogram) return [];
  const { from, to, counts } = histogram;
  const edge = (i: number) => from + ((to - from) * i) / counts.length;
  return counts.map((count, i) => ({
    label: `${small(edge(i))} to ${small(edge(i + 1))}`,
    short: small(+edge(i).toPrecision(2)),
    from: edge(i),
    to: edge(i + 1),
    count,
  }));
}

export function levelBins({ counts }: Levels): Bin[] {
  return counts.map(({ level, count }) => ({
    label: String(level).replace('-', '−'),
    short: String(level).replace('-', '−'),
    from: level,
    to: level + 1,
    count,
  }));
}

const shortCount = (n: number) =>
  n >= 1e6 ? `${+(n / 1e6).toFixed(1)}M` : n >= 1e3 ? `${+(n / 1e3).toFixed(1)}k` : count(n);

export function histogramOption(
  bins: Bin[],
  quantiles: readonly { p: number; value: number }[],
  isLog: boolean,
  color: string,
  colors: Look,
): Option {
  const marked = quantiles.filter(({ p }) => [0.01, 0.5, 0.99].includes(p));
  const place = (value: number) => {
    const [first, last] = [bins[0], bins[bins.length - 1]];
    return ((value - first.from) / Math.max(1e-30, last.to - first.from)) * bins.length - 0.5;
  };
  return {
    grid: { left: 48, right: 12, top: marked.length ? 20 : 8, bottom: 22, outerBoundsMode: 'none' },
    xAxis: names(
      colors,
      bins.map((bin) => bin.short),
    ),
    yAxis: {
      ...amounts(colors, shortCount, isLog ? {} : { min: 0 }),
      type: isLog ? 'log' : 'value',
      ...(isLog ? { min: 0.5 } : {}),
    },
    series: [
      {
        type: 'bar',
        barCategoryGap: '8%',
        itemStyle: { color },
        data: bins.map((bin) => (isLog && bin.count === 0 ? null : bin.count)),
        markLine: marked.length
          ? {
              silent: true,
              symbol: 'none',
              lineStyle: { color: colors.select, type: 'solid', width: 1 },
              data: marked.map(({ p, value }) => ({
                xAxis: place(value),
                label: { formatter: `p${100 * p}`, color: colors.muted, fontSize: 10, position: 'end' },
              })),
            }
          : undefined,
      },
    ],
  };
}
