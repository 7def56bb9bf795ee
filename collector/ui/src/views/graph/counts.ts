// How many nodes of each category there are: what the legend and the tests read.
import type { Category, GraphPart } from '../../lib/types';

export type Counts = Record<Category, number>;

/** Counts the tensors of a part of a graph by category; in a whole graph what has no layer is infrastructure. */
export function countCategories(part: GraphPart): Counts {
  const counts: Counts = { layer: 0, infrastructure: 0, input: 0, output: 0 };
  for (const t of part.tensors) counts[t.category ?? (t.layer === null ? 'infrastructure' : 'layer')]++;
  return counts;
}

export function countsText(part: GraphPart): string {
  if (part.layer === null) {
    const leaves = part.tensors.reduce((n, t) => n + (t.leaf ? 1 : 0), 0);
    const layers = part.layers.length ? `, ${part.layers.length} layers` : '';
    return `${(part.tensors.length - leaves).toLocaleString('en-US')} nodes, ${leaves.toLocaleString('en-US')} leaves${layers}`;
  }
  const { layer, infrastructure, input, output } = countCategories(part);
  return `layer ${part.layer}: ${layer} nodes and leaves, ${infrastructure} shared, ${input} in, ${output} out`;
}
