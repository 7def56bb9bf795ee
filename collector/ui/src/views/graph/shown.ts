// What is on the screen as data, to be saved.
import { tensorKey, type Model } from './model';
import type { Known } from './describe';
import type { Visible } from './visible';

/** Nodes and edges that are shown; closed groups are nodes. */
export function shownAsJson(model: Model, { nodes, edges }: Visible, known: Known | null) {
  const { graph, layer } = model.part;
  return {
    graph,
    layer,
    nodes: nodes
      .filter((node) => node.kind !== 'frame')
      .map((node) => {
        const group = node.parent >= 0 ? nodes[node.parent].key : null;
        if (node.kind === 'group') {
          const { title, operators, leaves } = model.groups[node.of];
          return { key: node.key, group, title, nodes: operators, leaves, ns: known?.time.groups[node.of] };
        }
        const t = model.tensors[node.of];
        const costs = t.leaf ? {} : { ns: known?.time.tensors[node.of], read_bytes: known?.read.tensors[node.of] };
        return { key: tensorKey(t.id), group, category: node.category, ...t, ...costs };
      }),
    edges: edges.map(({ from, to, count, cross }) => ({
      from: nodes[from].key,
      to: nodes[to].key,
      edges: count,
      cross_layer: cross,
    })),
  };
}
