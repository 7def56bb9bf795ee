// A small architecture for tests: two layers with query heads that share heads of keys and values, and experts in one.
import type { ArchEdge, ArchGraph, ArchNode, GraphReport, WeightCost } from './types';

function node(id: string, kind: string, layer: number | null, more: Partial<ArchNode> = {}): ArchNode {
  return {
    id,
    kind,
    label: id.replace(/^layer_\d+_/, '').replaceAll('_', ' '),
    stack: 'model',
    layer,
    index: null,
    parameters: 0,
    bytes: 0,
    tensors: [],
    ...more,
  };
}

export function architecture(heads = 4, kv = 2, experts = 6): ArchGraph {
  const nodes: ArchNode[] = [
    node('input', 'input', null),
    node('embedding', 'embedding', null, { parameters: 100, bytes: 100 }),
  ];
  const edges: ArchEdge[] = [];
  const link = (from: string, to: string, kind: ArchEdge['kind'], residual = false) => {
    const at = (id: string) => nodes.findIndex((n) => n.id === id);
    edges.push({ from: at(from), to: at(to), kind, residual });
  };
  const whole = (tensor: string, parameters: number) => [{ tensor, parameters, bytes: parameters, whole: true }];
  link('input', 'embedding', 'feeds_into');
  let before = 'embedding';
  for (let layer = 0; layer < 2; layer++) {
    const id = `layer_${layer}`;
    const own: ArchNode[] = [
      node(`${id}_norm`, 'norm', layer, {
        parameters: 2,
        bytes: 8,
        tensors: whole(`blk.${layer}.attn_norm.weight`, 2),
      }),
    ];
    const part = (tensor: string, of: number) => ({ tensor, parameters: 60 / of, bytes: 60 / of, whole: false });
    for (let i = 0; i < kv; i++) {
      own.push(
        node(`${id}_kv_head_${i}`, 'kv_head', layer, {
          index: i,
          parameters: 60 / kv,
          bytes: 60 / kv,
          tensors: [part(`blk.${layer}.attn_k.weight`, kv)],
        }),
      );
    }
    for (let i = 0; i < heads; i++) {
      own.push(
        node(`${id}_head_${i}`, 'head', layer, {
          index: i,
          parameters: 60 / heads,
          bytes: 60 / heads,
          tensors: [part(`blk.${layer}.attn_q.weight`, heads)],
        }),
      );
    }
    own.push(node(`${id}_attention`, 'attention', layer));
    if (layer === 0)
      own.push(
        node(`${id}_feed_forward`, 'feed_forward', layer, {
          parameters: 30,
          bytes: 30,
          tensors: whole(`blk.${layer}.ffn_up.weight`, 30),
        }),
      );
    else
      for (let i = 0; i < experts; i++)
        own.push(
          node(`${id}_expert_${i}`, 'expert', layer, {
            index: i,
            parameters: 5,
            bytes: 5,
            tensors: [part(`blk.${layer}.ffn_up_exps.weight`, experts)],
          }),
        );
    const sum = own.reduce((n, { parameters }) => n + parameters, 0);
    nodes.push(node(id, 'layer', layer, { label: `layer ${layer}`, parameters: sum, bytes: sum }), ...own);
    for (const inner of own) link(id, inner.id, 'contains');
    link(before, `${id}_norm`, 'feeds_into');
    for (const { id: to, kind } of own) if (kind === 'head' || kind === 'kv_head') link(`${id}_norm`, to, 'feeds_into');
    for (let i = 0; i < heads; i++) {
      link(`${id}_kv_head_${Math.floor((i * kv) / heads)}`, `${id}_head_${i}`, 'feeds_into');
      link(`${id}_head_${i}`, `${id}_attention`, 'feeds_into');
    }
    for (const { id: to, kind } of own) {
      if (kind !== 'feed_forward' && kind !== 'expert') continue;
      link(`${id}_attention`, to, 'feeds_into');
      link(to, id, 'feeds_into');
    }
    link(before, id, 'feeds_into', true);
    before = id;
  }
  nodes.push(node('output', 'output', null));
  link(before, 'output', 'feeds_into');
  link('output', 'embedding', 'uses');
  return { schema: 'standard', nodes, edges };
}

/** A run that read every tensor of an architecture, each for one nanosecond a parameter of its first part. */
export function costsOf(graph: ArchGraph): Map<string, WeightCost> {
  const costs = new Map<string, WeightCost>();
  for (const { tensors } of graph.nodes) {
    for (const { tensor, parameters } of tensors) {
      if (!costs.has(tensor))
        costs.set(tensor, { name: tensor, accesses: 3, read_bytes: 10, ns: parameters, last_token: 2 });
    }
  }
  return costs;
}

export function report(graph: ArchGraph, change: Partial<GraphReport> = {}): GraphReport {
  const each = graph.nodes.map((_, i) => i);
  return {
    nodes: graph.nodes.map(({ id, label, kind, layer }) => ({ id, label, kind, layer })),
    edges: graph.edges.length,
    weight: null,
    pagerank: each.map((i) => 1 / (i + 2)),
    pagerank_iterations: 10,
    betweenness: each.map(() => 0),
    betweenness_sources: each.length,
    in_degree: each.map(() => 1),
    out_degree: each.map(() => 1),
    degrees: [[2, each.length]],
    core: each.map(() => 1),
    community: graph.nodes.map((n) => (n.layer === null ? 2 : n.layer)),
    communities: [0, 1, 2].map((c) => graph.nodes.filter((n) => (n.layer ?? 2) === c).length),
    modularity: 0.5,
    weak_components: [each.length],
    strong_components: each.length,
    way: null,
    top_pagerank: [],
    top_betweenness: [],
    top_degree: [],
    took: [],
    ...change,
  };
}
