// The operators of one evaluation as a flame: layers over blocks over operators, times from the evaluation's begin.
import type { GraphPart, GraphTensor, Spans } from '../../lib/types';
import { blockOf, type Block } from './blocks';

/** Nanoseconds from the evaluation's begin. */
interface Part {
  start: number;
  end: number;
}

/** One operator with a time. */
export interface OperatorPart extends Part {
  node: number;
  tensor: GraphTensor | undefined;
  block: Block;
  layer: number | null;
  /** Operators that were computed in one go with it: the time is that of all. */
  fused: number[];
}

/** Operators of one layer or block that followed each other: `first` to `last` of the flame's operators. */
export interface GroupPart extends Part {
  layer: number | null;
  label: string;
  block: Block | null;
  first: number;
  last: number;
  /** Sum of the operators' times. */
  ns: number;
}

/** Operators that were executed in this time, and nobody knows when and how long. */
export interface UnknownPart extends Part {
  nodes: number[];
}

export interface Flame {
  seq: number;
  graph: GraphPart;
  dur_ns: number;
  layers: GroupPart[];
  blocks: GroupPart[];
  operators: OperatorPart[];
  unknown: UnknownPart[];
  tensors: Map<number, GraphTensor>;
  /** Index into `operators` of each node with a time, its own or that of what it was fused into. */
  byNode: Map<number, number>;
}

export function flameOf(spans: Spans, graph: GraphPart, tensors = tensorsOf(graph)): Flame {
  const operators: OperatorPart[] = [];
  const unknown: UnknownPart[] = [];
  const fused = new Map<number, number[]>();
  spans.node.forEach((node, i) => {
    const [start, dur, into] = [spans.start[i], spans.dur[i], spans.fused_into[i]];
    const tensor = tensors.get(node);
    if (into !== null) {
      fused.set(into, [...(fused.get(into) ?? []), node]);
    } else if (dur === null) {
      const before = unknown.at(-1);
      if (before?.start === start) before.nodes.push(node);
      else unknown.push({ start, end: spans.dur_ns, nodes: [node] });
    } else {
      const block = blockOf(tensor?.name ?? '', tensor?.op ?? '');
      operators.push({ start, end: start + dur, node, tensor, block, layer: tensor?.layer ?? null, fused: [] });
    }
  });
  operators.sort((a, b) => a.start - b.start);
  bound(unknown, operators, spans.dur_ns);
  const byNode = new Map(operators.map((o, i) => [o.node, i]));
  for (const [into, nodes] of fused) {
    const at = byNode.get(into);
    if (at === undefined) {
      // What they were fused into has no time either.
      unknown.find((u) => u.nodes.includes(into))?.nodes.push(...nodes);
      continue;
    }
    operators[at].fused = nodes;
    for (const node of nodes) byNode.set(node, at);
  }
  const layerName = (o: OperatorPart) => (o.layer === null ? (o.tensor?.node_type ?? 'other') : `layer ${o.layer}`);
  return {
    seq: spans.seq,
    graph,
    dur_ns: spans.dur_ns,
    layers: groups(operators, layerName, () => null),
    blocks: groups(
      operators,
      (o) => `${layerName(o)}\n${o.block}`,
      (o) => o.block,
    ),
    operators,
    unknown,
    tensors,
    byNode,
  };
}

/** Runs without times last until the next one begins. */
function bound(unknown: UnknownPart[], operators: OperatorPart[], dur: number) {
  const starts = [...unknown, ...operators].map((part) => part.start).sort((a, b) => a - b);
  for (const part of unknown) {
    part.end = Math.max(part.start, starts.find((start) => start > part.start) ?? dur);
  }
}

function groups(
  operators: OperatorPart[],
  key: (o: OperatorPart) => string,
  block: (o: OperatorPart) => Block | null,
): GroupPart[] {
  const list: GroupPart[] = [];
  let last: string | null = null;
  operators.forEach((o, i) => {
    const name = key(o);
    if (name !== last) {
      const label = block(o) ?? name;
      list.push({ start: o.start, end: o.end, layer: o.layer, label, block: block(o), first: i, last: i, ns: 0 });
      last = name;
    }
    const group = list[list.length - 1];
    group.end = Math.max(group.end, o.end);
    group.last = i;
    group.ns += o.end - o.start;
  });
  return list;
}

export function tensorsOf(graph: GraphPart): Map<number, GraphTensor> {
  return new Map(graph.tensors.map((t) => [t.id, t]));
}

/** The part at a time, or the nearest one that is not farther than `near`. Parts are in the order of their begins. */
export function partAt<T extends Part>(parts: T[], at: number, near: number): T | undefined {
  let [low, high] = [0, parts.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (parts[middle].start <= at) low = middle + 1;
    else high = middle;
  }
  const before = parts[low - 1];
  const after = parts[low];
  const [past, ahead] = [before ? at - before.end : Infinity, after ? after.start - at : Infinity];
  if (past <= 0) return before;
  if (Math.min(past, ahead) > near) return undefined;
  return past <= ahead ? before : after;
}

/** What is selected, as a flame of any graph can be asked about it. */
export interface Wanted {
  layer: number | null;
  op: string | null;
  /** A tensor: of this graph by its number, of any other by its name and kind. */
  tensor: { graph: number; id: number; name: string; op: string } | { name: string } | null;
}

/** Which operators of a flame are selected; null if nothing is, so that nothing has to step back. */
export function wantedOperators(flame: Flame, wanted: Wanted): Set<number> | null {
  const { layer, op, tensor } = wanted;
  if (layer === null && op === null && tensor === null) return null;
  const nodes = tensor === null ? null : nodesOf(flame, tensor);
  const chosen = new Set<number>();
  flame.operators.forEach((o, i) => {
    const names = [o.node, ...o.fused];
    const inLayer = layer === null || o.layer === layer;
    const ofKind = op === null || names.some((node) => flame.tensors.get(node)?.op === op);
    // One tensor is narrower than a layer or a kind: it alone counts.
    if (nodes ? names.some((node) => nodes.has(node)) : inLayer && ofKind) chosen.add(i);
  });
  return chosen;
}

/** The nodes that compute a tensor; of a leaf those that use it. */
function nodesOf(flame: Flame, wanted: NonNullable<Wanted['tensor']>): Set<number> {
  const found = flame.graph.tensors.filter((t) => {
    if ('id' in wanted) {
      if (wanted.graph === flame.graph.graph) return t.id === wanted.id;
      return t.name === wanted.name && t.op === wanted.op;
    }
    return t.name === wanted.name;
  });
  const nodes = new Set<number>();
  for (const t of found) {
    if (!t.leaf) nodes.add(t.id);
    else for (const edge of flame.graph.edges) if (edge.from === t.id) nodes.add(edge.to);
  }
  return nodes;
}
