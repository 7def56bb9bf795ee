// How a number becomes a colour: viridis over logarithms of counts and bytes, and over the tokens themselves.
import { viridis } from '../../lib/colors';
import { bytes, count } from '../../lib/format';
import type { Cells, Metric } from './cells';

const STEPS = 64;

export const METRICS: { key: Metric; label: string; legend: string }[] = [
  { key: 'accesses', label: 'how often', legend: 'reads' },
  { key: 'bytes', label: 'bytes read', legend: 'bytes read' },
  { key: 'last', label: 'how lately', legend: 'last token' },
];

export interface Scale {
  metric: Metric;
  low: number;
  high: number;
}

/** From the least to the most that there is. Counts begin at 0, so that what was read often never looks like never. */
export function scale(cells: Cells, metric: Metric): Scale | null {
  let [low, high] = [Infinity, -Infinity];
  for (let i = 0; i < cells.length; i++) {
    const value = cells.value[i];
    if (value < 0) continue;
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  if (high === -Infinity) return null;
  return { metric, low: metric === 'accesses' ? 0 : low, high };
}

/** 0..1. */
export function heat(scale: Scale, value: number): number {
  const { metric, low, high } = scale;
  if (high <= low) return value < low ? 0 : 1;
  const part =
    metric === 'last'
      ? (value - low) / (high - low)
      : (Math.log1p(value) - Math.log1p(low)) / (Math.log1p(high) - Math.log1p(low));
  return Math.min(1, Math.max(0, part));
}

/** Which of the colours a value gets. */
export function step(scale: Scale, value: number): number {
  return Math.round(heat(scale, value) * (STEPS - 1));
}

export interface Palette {
  fill: string[];
  /** The same for what is not of the selected layer. */
  dim: string[];
  /** A colour that can be read on each. */
  ink: string[];
}

/** The colours, on a ground. */
export function palette(ground: [number, number, number]): Palette {
  const made: Palette = { fill: [], dim: [], ink: [] };
  for (let i = 0; i < STEPS; i++) {
    const rgb = viridis(0.06 + (0.94 * i) / (STEPS - 1));
    const dimmed = rgb.map((c, k) => Math.round(c * 0.22 + ground[k] * 0.78));
    made.fill.push(`rgb(${rgb.join(' ')})`);
    made.dim.push(`rgb(${dimmed.join(' ')})`);
    made.ink.push(0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2] > 125 ? '#0b1016' : '#f4f7fa');
  }
  return made;
}

/** The colours of a legend, left to right. */
export function gradient(): string {
  const stops = [0, 0.2, 0.4, 0.6, 0.8, 1].map((x) => `rgb(${viridis(0.06 + 0.94 * x).join(' ')})`);
  return `linear-gradient(to right, ${stops.join(', ')})`;
}

/** A value of the scale with its unit. */
export function label(metric: Metric, value: number): string {
  if (metric === 'last') return value < 0 ? 'no token' : `token ${count(value)}`;
  return metric === 'bytes' ? bytes(value) : count(value);
}
