// Charts with one colour a model.
import { bytes } from '../../../lib/format';
import { round } from '../../analytics/barOptions';
import { amounts, axisName, names, type Look, type Option } from '../../analytics/look';
import { byteAxis } from '../axes';
import type { Inspection, Mix } from '../types';
import { byOrder, componentName, metric, parameters, SERIES, tokens } from '../words';

/** Components that any of the models has. */
export function componentsOf(models: Inspection[]): string[] {
  const all = new Set(models.flatMap((m) => m.parameters.by_component.map((c) => c.component)));
  return byOrder([...all].map((component) => ({ component }))).map(({ component }) => component);
}

const room = { left: 70, right: 16, top: 12, bottom: 36, outerBoundsMode: 'none' };

/** Bars next to each other, one a model. */
function bars(labels: string[], values: number[][], format: (n: number) => string, colors: Look): Option {
  return {
    grid: room,
    xAxis: names(colors, labels, { axisLabel: { color: colors.muted, fontSize: 11, interval: 0 } }),
    yAxis: amounts(colors, format, { min: 0 }),
    series: values.map((data, i) => ({
      type: 'bar',
      barMaxWidth: 34,
      itemStyle: { color: SERIES[i % SERIES.length] },
      data,
    })),
  };
}

export function parametersOption(models: Inspection[], colors: Look): Option {
  const components = componentsOf(models);
  const of = (m: Inspection, c: string) => m.parameters.by_component.find((p) => p.component === c)?.total ?? 0;
  return bars(
    components.map(componentName),
    models.map((m) => components.map((c) => of(m, c))),
    parameters,
    colors,
  );
}

export function bitsOption(models: Inspection[], mixes: Mix[], colors: Look): Option {
  const components = componentsOf(models);
  const of = (mix: Mix | undefined, c: string) => mix?.parts.find((p) => p.component === c)?.bits_per_weight ?? 0;
  return bars(
    components.map(componentName),
    models.map((_, i) => components.map((c) => of(mixes[i], c))),
    (n) => String(n),
    colors,
  );
}

/** Lines over contexts or lengths that not all models have. */
function lines(
  { at, values }: Curves,
  format: (n: number) => string,
  axis: object,
  name: string,
  colors: Look,
): Option {
  return {
    grid: room,
    xAxis: names(colors, at.map(tokens), axisName(colors, name, { nameLocation: 'middle', nameGap: 22 })),
    yAxis: amounts(colors, format, { min: 0, ...axis }),
    series: values.map((data, i) => ({
      type: 'line',
      connectNulls: true,
      symbolSize: 6,
      // Those that lie on each other are seen all the same.
      lineStyle: { color: SERIES[i % SERIES.length], width: 2 + 2 * (values.length - 1 - i) },
      itemStyle: { color: SERIES[i % SERIES.length] },
      data,
    })),
  };
}

const sorted = (list: number[]) => [...new Set(list)].sort((a, b) => a - b);

export interface Curves {
  at: number[];
  /** One list a model, in the order of `at`; null where it has no such length. */
  values: (number | null)[][];
}

export function cacheCurves(models: Inspection[]): Curves {
  const at = sorted(models.flatMap((m) => m.memory.contexts));
  const f16 = (m: Inspection) => m.memory.cache_types.find((t) => t.type === 'f16')?.bytes ?? null;
  return {
    at,
    values: models.map((m) => at.map((n) => f16(m)?.[m.memory.contexts.indexOf(n)] ?? null)),
  };
}

export function flopCurves(models: Inspection[]): Curves {
  const at = sorted(models.flatMap((m) => m.costs.generate.map((w) => w.tokens)));
  return {
    at,
    values: models.map((m) => at.map((n) => m.costs.generate.find((w) => w.tokens === n)?.flops ?? null)),
  };
}

const most = ({ values }: Curves) => Math.max(1, ...values.flat().map((n) => n ?? 0));

export function cacheOption(curves: Curves, colors: Look): Option {
  return lines(curves, bytes, byteAxis(most(curves)), 'tokens of context, f16', colors);
}

export function flopOption(curves: Curves, colors: Look): Option {
  return lines(curves, (n) => metric(n, 'FLOP'), round(most(curves)), 'tokens before it', colors);
}
