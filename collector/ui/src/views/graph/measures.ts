// Numbers of nodes that sizes and colours can show: time, bytes, parameters.
import { bytes, count, time } from '../../lib/format';
import type { GraphCosts } from '../../lib/types';
import type { Model } from './model';
import type { VisibleNode } from './visible';

export const MEASURES = ['time', 'bytes', 'parameters'] as const;
export type Measure = (typeof MEASURES)[number];

/** A number for each tensor and for each group; 0 where there is none. */
export interface Values {
  tensors: Float64Array;
  groups: Float64Array;
}

/** How many parameters a leaf holds, if it is a weight. */
export function parameters(model: Model, tensor: number): number {
  const t = model.tensors[tensor];
  const weight = t.leaf && (t.meaning === 'weight' || /\.(weight|bias)$/.test(t.name));
  return weight ? t.ne.reduce((product, n) => product * n, 1) : 0;
}

/** The values of a measure: of time and bytes what the operators took and read, of parameters what the weights hold. */
export function valuesOf(model: Model, measure: Measure, costs: GraphCosts | null): Values {
  const tensors = new Float64Array(model.tensors.length);
  if (measure === 'parameters') {
    for (let i = 0; i < tensors.length; i++) tensors[i] = parameters(model, i);
  } else if (costs) {
    const from = measure === 'time' ? costs.ns : costs.bytes;
    costs.node.forEach((node, k) => {
      const i = model.index.get(node);
      if (i !== undefined) tensors[i] = from[k];
    });
  }
  const groups = new Float64Array(model.groups.length);
  for (let i = 0; i < tensors.length; i++) {
    for (let at = model.home[i]; at >= 0; at = model.groups[at].parent) groups[at] += tensors[i];
  }
  return { tensors, groups };
}

export function valueOf(values: Values, node: VisibleNode): number {
  return node.kind === 'operator' || node.kind === 'leaf' ? values.tensors[node.of] : values.groups[node.of];
}

export function measureText(measure: Measure, value: number): string {
  if (measure === 'time') return time(value);
  if (measure === 'bytes') return bytes(value);
  if (value < 10_000) return count(value);
  const [unit, name] = value >= 1e9 ? [1e9, 'B'] : value >= 1e6 ? [1e6, 'M'] : [1e3, 'k'];
  return `${(value / unit).toFixed(1)} ${name}`;
}

/** From the least to the most of what is drawn, for a colour scale; null if there is nothing. */
export interface Scale {
  least: number;
  most: number;
}

export function scaleOf(values: Iterable<number>): Scale | null {
  let [least, most] = [Infinity, 0];
  for (const value of values) {
    if (!(value > 0)) continue;
    least = Math.min(least, value);
    most = Math.max(most, value);
  }
  return most > 0 ? { least, most } : null;
}

/** Where a value is on a scale, 0..1: by its logarithm, since operators differ a thousandfold. */
export function place(scale: Scale, value: number): number {
  if (scale.most <= scale.least) return 1;
  return Math.log(value / scale.least) / Math.log(scale.most / scale.least);
}
