// A computation graph as nested groups: model -> layer -> attention or feed-forward -> operators and leaves.
import type { GraphPart, GraphTensor } from '../../lib/types';

export type GroupKind = 'model' | 'layer' | 'block' | 'end' | 'shared';

export interface Group {
  /** What it is known by, whatever is open: `layer 5/attention`. */
  key: string;
  title: string;
  kind: GroupKind;
  layer: number | null;
  /** Index of the group around it; -1 for the model. */
  parent: number;
  depth: number;
  groups: number[];
  /** Indices of the tensors that are directly in it. */
  members: number[];
  /** Operators and leaves in it and in the groups within. */
  operators: number;
  leaves: number;
}

export interface Model {
  part: GraphPart;
  tensors: GraphTensor[];
  /** Index of a tensor by its number in the graph. */
  index: Map<number, number>;
  groups: Group[];
  byKey: Map<string, number>;
  /** Index of the group that each tensor is directly in. */
  home: Int32Array;
  /** Indices of the sources and of the users of each tensor. */
  sources: number[][];
  users: number[][];
}

export type Block = 'attention' | 'feed-forward' | 'state space';

/** What names and operators say of the part of a layer that a node is in; null where they say nothing. */
export function blockOf(name: string, op: string): Block | null {
  // The sum after attention is named for what comes next.
  if (/^ffn_inp\b|^ffn_inp-/.test(name)) return 'attention';
  if (/ssm|conv|mamba|wkv|time_mix|rwkv/i.test(name) || /SSM|RWKV/.test(op)) return 'state space';
  if (/ffn|moe|mlp|expert|channel_mix/i.test(name)) return 'feed-forward';
  if (/att|kqv|\bkq|cache_[kv]|[QKV]cur|rope|\bq_|\bk_|\bv_/i.test(name) || /ATTN|ROPE/.test(op)) return 'attention';
  return null;
}

/** Key of a tensor on the screen. */
export function tensorKey(id: number): string {
  return `#${id}`;
}

class Builder {
  readonly groups: Group[] = [];
  readonly byKey = new Map<string, number>();

  group(key: string, title: string, kind: GroupKind, layer: number | null, parent: number): number {
    const known = this.byKey.get(key);
    if (known !== undefined) return known;
    const depth = parent < 0 ? 0 : this.groups[parent].depth + 1;
    const group = { key, title, kind, layer, parent, depth, groups: [], members: [], operators: 0, leaves: 0 };
    this.groups.push(group);
    this.byKey.set(key, this.groups.length - 1);
    if (parent >= 0) this.groups[parent].groups.push(this.groups.length - 1);
    return this.groups.length - 1;
  }

  /** The innermost group that has both in it. */
  common(a: number, b: number): number {
    while (a !== b) {
      if (this.groups[a].depth >= this.groups[b].depth) a = this.groups[a].parent;
      else b = this.groups[b].parent;
    }
    return a;
  }
}

/** Groups a whole graph, or the self-contained part of one layer (`part.layer`). */
export function buildModel(part: GraphPart): Model {
  const { tensors } = part;
  const index = new Map(tensors.map((t, i) => [t.id, i]));
  const sources: number[][] = tensors.map(() => []);
  const users: number[][] = tensors.map(() => []);
  for (const edge of part.edges) {
    const [from, to] = [index.get(edge.from), index.get(edge.to)];
    if (from === undefined || to === undefined) continue;
    if (!sources[to].includes(from)) sources[to].push(from);
    if (users[from].at(-1) !== to) users[from].push(to);
  }

  const b = new Builder();
  const root = b.group('model', 'model', 'model', null, -1);
  const home = new Int32Array(tensors.length).fill(-1);
  const blocks = blocksOf(tensors, sources, users);
  const filtered = part.layer !== null;

  const mixed = new Map<number, Set<Block | null>>();
  tensors.forEach((t, i) => {
    if (t.leaf || t.layer === null) return;
    let kinds = mixed.get(t.layer);
    if (!kinds) mixed.set(t.layer, (kinds = new Set()));
    kinds.add(blocks[i]);
  });
  const layered = tensors.flatMap((t, i) => (t.leaf || t.layer === null ? [] : [i]));
  const [first, last] = [layered[0] ?? Infinity, layered.at(-1) ?? -1];

  // Operators: by their layer and block; those of no layer belong to the ends, or to the model.
  tensors.forEach((t, i) => {
    if (t.leaf) return;
    if (filtered && t.category !== undefined && t.category !== 'layer') home[i] = root;
    else if (t.layer !== null) {
      const around = filtered ? root : b.group(`layer ${t.layer}`, `Layer ${t.layer}`, 'layer', t.layer, root);
      const block = blocks[i];
      const split = (mixed.get(t.layer)?.size ?? 0) > 1;
      home[i] = block && split ? b.group(`layer ${t.layer}/${block}`, title(block), 'block', t.layer, around) : around;
    } else if (i < first && last >= 0) home[i] = b.group('input', 'Embedding', 'end', null, root);
    else if (i > last && last >= 0) home[i] = b.group('output', 'Output', 'end', null, root);
    else home[i] = root;
  });
  // Leaves: with those who use them; what many parts use stands aside.
  tensors.forEach((t, i) => {
    if (!t.leaf) return;
    const at = users[i].map((user) => home[user]).filter((group) => group >= 0);
    const group = at.length ? at.reduce((x, y) => b.common(x, y)) : root;
    const shared = filtered ? t.category === 'infrastructure' : group === root && last >= 0;
    home[i] = shared ? b.group('shared', 'Shared by the layers', 'shared', null, root) : group;
  });

  home.forEach((group, i) => {
    b.groups[group].members.push(i);
    for (let at = group; at >= 0; at = b.groups[at].parent) {
      if (tensors[i].leaf) b.groups[at].leaves++;
      else b.groups[at].operators++;
    }
  });
  return { part, tensors, index, groups: b.groups, byKey: b.byKey, home, sources, users };
}

function title(block: Block): string {
  return block[0].toUpperCase() + block.slice(1);
}

/** The block of each operator: what its name says, else its weights, its users, its sources. */
function blocksOf(tensors: GraphTensor[], sources: number[][], users: number[][]): (Block | null)[] {
  const blocks = tensors.map((t, i) => {
    if (t.leaf || t.layer === null) return null;
    const own = blockOf(t.name, t.op);
    if (own) return own;
    for (const source of sources[i]) {
      const leaf = tensors[source];
      const said = leaf.leaf && leaf.layer === t.layer ? blockOf(leaf.name, leaf.op) : null;
      if (said) return said;
    }
    return null;
  });
  const take = (i: number, from: number[]) => {
    const t = tensors[i];
    if (t.leaf || t.layer === null || blocks[i]) return;
    const said = from.find((other) => tensors[other].layer === t.layer && blocks[other]);
    if (said !== undefined) blocks[i] = blocks[said];
  };
  for (let i = tensors.length - 1; i >= 0; i--) take(i, users[i]);
  for (let i = 0; i < tensors.length; i++) take(i, sources[i]);
  return blocks;
}

/** Keys of the groups around a tensor, from the outermost on. */
export function groupsAround(model: Model, tensor: number): string[] {
  const keys: string[] = [];
  for (let at = model.home[tensor]; at >= 0; at = model.groups[at].parent) keys.unshift(model.groups[at].key);
  return keys;
}

/** Keys of the groups that are open when all down to a depth are: 1 shows the layers, 2 their blocks, 3 all. */
export function openTo(model: Model, depth: number): Set<string> {
  const keep = (g: Group) => g.kind === 'model' || g.kind === 'shared' || (depth === 2 && g.kind === 'layer');
  return new Set(model.groups.filter((g) => depth > 2 || keep(g)).map((g) => g.key));
}
