// The pictures of two runs beside each other: how far hidden states are off by layer, and for every token in every layer.
import { amounts, axisName, frame, names, type Look, type Option } from '../analytics/look';
import { layerName, short } from './options';
import type { Against, LayerError, TokenMatrix } from './types';

/** The errors as what the heatmap draws. */
export function errorsOf(found: Against): TokenMatrix {
  return {
    measure: 'error',
    layers: found.layers.map((l) => l.layer),
    rows: found.by_token.map(({ token, text, errors }) => ({ token, text, values: errors })),
  };
}

/** Least, median and greatest error by layer. A logarithmic axis has no 0: where a state is the same it has no point. */
export function againstOption(layers: LayerError[], selected: number | null, colors: Look): Option {
  const log = layers.some((l) => (l.error?.max ?? 0) > 0);
  const at = selected === null ? -1 : layers.findIndex((l) => l.layer === selected);
  const line = (of: 'min' | 'median' | 'max', color: string, type: 'solid' | 'dashed') => ({
    type: 'line',
    symbol: 'circle',
    symbolSize: of === 'median' ? 5 : 3,
    lineStyle: { color, width: of === 'median' ? 2 : 1, type },
    itemStyle: { color },
    data: layers.map((l) => (l.error && (!log || l.error[of] > 0) ? l.error[of] : null)),
  });
  return {
    grid: { left: 56, right: 14, top: 12, bottom: 36, outerBoundsMode: 'none' },
    xAxis: names(
      colors,
      layers.map((l) => layerName(l.layer)),
      axisName(colors, 'layer', { nameLocation: 'middle', nameGap: 22 }),
    ),
    yAxis: { ...amounts(colors, short), type: log ? 'log' : 'value' },
    series: [
      line('max', colors.muted, 'dashed'),
      line('min', colors.muted, 'dashed'),
      line('median', colors.accent, 'solid'),
      ...(at < 0 ? [] : [frame(colors, [at, at], null)]),
    ],
  };
}

/** What the comparison comes to, in a sentence or two. */
export function inWords(found: Against): string[] {
  const ends = found.layers.filter((l) => l.error).at(-1);
  const odd = found.layers.filter((l) => l.not_finite > 0).map((l) => layerName(l.layer));
  const said = [];
  if (ends?.error) {
    said.push(
      ends.error.max === 0
        ? `Every hidden state ${odd.length ? 'that can be compared ' : ''}is the same in both.`
        : `Behind layer ${layerName(ends.layer)} hidden states are off by ${short(ends.error.median)} of their length.`,
    );
  }
  if (found.steepest !== null && ends?.error?.max) said.push(`The error grows most in layer ${found.steepest}.`);
  if (odd.length) said.push(`There are NaN or infinities in layer ${odd.join(', ')}.`);
  if (found.diverges) {
    const { token, text, reference } = found.diverges;
    const quoted = (text: string | null) => (text === null ? 'the end' : `“${text}”`);
    said.push(`The answers part at token ${token}: ${quoted(text)} here, ${quoted(reference)} in the reference.`);
  }
  return said;
}
