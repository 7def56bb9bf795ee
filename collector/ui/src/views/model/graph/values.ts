// Numbers of nodes and groups that colours and sizes can show, and how they are said.
import { bytes, count, time } from '../../../lib/format';
import type { PaintBy, ScaleBy } from '../place';
import type { GraphReport, WeightCost } from '../types';
import { bits, parameters, small } from '../words';
import { nodesIn, type ArchTree } from './groups';

export type Measure = Exclude<PaintBy, 'kind' | 'community'> | Exclude<ScaleBy, 'same'>;

/** A number for each node; NaN where there is none. Nodes that are groups have that of the group. */
export type Values = Float64Array;

export const MEASURE_NAMES: Record<Measure, string> = {
  parameters: 'parameters',
  bytes: 'bytes',
  bits: 'bits per weight',
  pagerank: 'PageRank',
  betweenness: 'betweenness',
  time: 'time',
  accesses: 'accesses',
};

/** What a run did with some nodes together: no tensor is counted twice. */
export function measuredOf(tree: ArchTree, nodes: readonly number[], costs: ReadonlyMap<string, WeightCost>) {
  const seen = new Set<string>();
  const sum = { ns: null as number | null, accesses: 0, read_bytes: 0, tensors: 0 };
  for (const i of nodes) {
    for (const { tensor } of tree.graph.nodes[i].tensors) {
      const cost = costs.get(tensor);
      if (!cost || seen.has(tensor)) continue;
      seen.add(tensor);
      sum.tensors++;
      if (cost.ns !== null) sum.ns = (sum.ns ?? 0) + cost.ns;
      sum.accesses += cost.accesses;
      sum.read_bytes += cost.read_bytes;
    }
  }
  return sum.tensors ? sum : null;
}

export function valuesOf(
  tree: ArchTree,
  measure: Measure,
  report: GraphReport | null,
  costs: ReadonlyMap<string, WeightCost>,
): Values {
  const { nodes } = tree.graph;
  const out = new Float64Array(nodes.length).fill(NaN);
  nodes.forEach((node, i) => {
    if (measure === 'parameters' || measure === 'bytes') out[i] = node[measure];
    else if (measure === 'bits') out[i] = node.parameters ? (8 * node.bytes) / node.parameters : NaN;
    else if (measure === 'pagerank' || measure === 'betweenness') out[i] = report?.[measure][i] ?? NaN;
    else {
      const group = tree.as[i];
      const of = group >= 0 ? measuredOf(tree, nodesIn(tree, group), costs) : (node.measured ?? null);
      out[i] = (measure === 'time' ? of?.ns : of?.accesses) ?? NaN;
    }
  });
  return out;
}

export function measureText(measure: Measure, value: number): string {
  if (Number.isNaN(value)) return '';
  if (measure === 'time') return time(value);
  if (measure === 'bytes') return bytes(Math.round(value));
  if (measure === 'parameters') return parameters(value);
  if (measure === 'bits') return `${bits(value)} bpw`;
  if (measure === 'accesses') return `${count(value)} ×`;
  return small(value);
}

export interface Scale {
  least: number;
  most: number;
  /** Whether places are by the value itself, not by its logarithm. */
  linear: boolean;
}

/** From the least to the most of what is shown; null if there is nothing. */
export function scaleOf(values: Iterable<number>, measure: Measure): Scale | null {
  let [least, most] = [Infinity, -Infinity];
  for (const value of values) {
    if (!(value > 0)) continue;
    least = Math.min(least, value);
    most = Math.max(most, value);
  }
  return most > 0 ? { least, most, linear: measure === 'bits' } : null;
}

/** Where a value is, 0..1. */
export function place({ least, most, linear }: Scale, value: number): number {
  if (most <= least) return 1;
  return linear ? (value - least) / (most - least) : Math.log(value / least) / Math.log(most / least);
}
