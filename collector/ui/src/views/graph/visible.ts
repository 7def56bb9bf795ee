// What of the nested groups is on the screen: closed groups stand for all that is in them, edges are drawn between what
// is left, views can be passed through.
import type { Category } from '../../lib/types';
import { tensorKey, type Model } from './model';

export type NodeKind = 'operator' | 'leaf' | 'group' | 'frame';

export interface VisibleNode {
  key: string;
  kind: NodeKind;
  /** Index of the tensor, or of the group. */
  of: number;
  /** Index of the frame that it is in; -1 at the top. */
  parent: number;
  /** Stands beside the others: what all layers share. */
  side: boolean;
  category: Category;
  width: number;
  height: number;
}

export interface VisibleEdge {
  from: number;
  to: number;
  /** How many edges of the graph it stands for. */
  count: number;
  cross: boolean;
}

export interface Visible {
  nodes: VisibleNode[];
  edges: VisibleEdge[];
  byKey: Map<string, number>;
}

export interface Look {
  open: ReadonlySet<string>;
  /** Whether nodes that are not computed are left out. */
  hideViews: boolean;
  /** Size of a box. */
  size: (model: Model, kind: NodeKind, of: number) => { width: number; height: number };
}

/** What a tensor is in the part of the graph that is shown. */
export function categoryOf(model: Model, tensor: number): Category {
  const t = model.tensors[tensor];
  return t.category ?? (t.layer === null ? 'infrastructure' : 'layer');
}

/** The nodes and edges that are to be drawn. Frames come before what is in them. */
export function visible(model: Model, look: Look): Visible {
  const { groups, tensors } = model;
  const nodes: VisibleNode[] = [];
  const byKey = new Map<string, number>();
  // The node that each tensor is drawn as; -1 if it is passed through.
  const shown = new Int32Array(tensors.length).fill(-1);
  const hidden = (i: number) => look.hideViews && !tensors[i].leaf && !tensors[i].computed;

  const add = (node: VisibleNode) => {
    byKey.set(node.key, nodes.push(node) - 1);
    return nodes.length - 1;
  };
  const all = (group: number, as: number) => {
    for (const member of groups[group].members) shown[member] = as;
    for (const inner of groups[group].groups) all(inner, as);
  };
  const walk = (group: number, frame: number, side: boolean) => {
    for (const inner of groups[group].groups) {
      const aside = side || groups[inner].kind === 'shared';
      const open = look.open.has(groups[inner].key);
      const { layer, key } = groups[inner];
      const category: Category = layer === null ? 'infrastructure' : 'layer';
      const kind = open ? 'frame' : 'group';
      const size = open ? { width: 0, height: 0 } : look.size(model, kind, inner);
      const at = add({ key, kind, of: inner, parent: frame, side: aside, category, ...size });
      if (open) walk(inner, at, aside);
      else all(inner, at);
    }
    for (const member of groups[group].members) {
      if (hidden(member)) continue;
      const t = tensors[member];
      const kind = t.leaf ? 'leaf' : 'operator';
      const category = categoryOf(model, member);
      const size = look.size(model, kind, member);
      shown[member] = add({ key: tensorKey(t.id), kind, of: member, parent: frame, side, category, ...size });
    }
  };
  walk(0, -1, false);

  const real = resolver(model, (i) => shown[i] < 0 && hidden(i));
  const cross = new Set(model.part.edges.filter((e) => e.cross_layer).map((e) => `${e.from} ${e.to}`));
  const edges: VisibleEdge[] = [];
  const seen = new Map<number, VisibleEdge>();
  for (let to = 0; to < tensors.length; to++) {
    if (shown[to] < 0) continue;
    for (const direct of model.sources[to]) {
      for (const from of real(direct)) {
        const [a, z] = [shown[from], shown[to]];
        if (a === z || a < 0) continue;
        const id = a * nodes.length + z;
        const known = seen.get(id);
        const [x, y] = [tensors[from], tensors[to]];
        const crosses =
          cross.has(`${x.id} ${y.id}`) ||
          (from !== direct && x.layer !== y.layer && x.layer !== null && y.layer !== null);
        if (known) {
          known.count++;
          known.cross &&= crosses;
        } else {
          const edge = { from: a, to: z, count: 1, cross: crosses };
          seen.set(id, edge);
          edges.push(edge);
        }
      }
    }
  }
  return { nodes, edges, byKey };
}

/** A tensor itself, or, for one that is passed through, what it comes from. */
function resolver(model: Model, passed: (i: number) => boolean): (i: number) => number[] {
  const known = new Map<number, number[]>();
  const resolve = (i: number): number[] => {
    if (!passed(i)) return [i];
    let found = known.get(i);
    if (!found) {
      // Set first: a graph that goes round in circles ends here.
      known.set(i, []);
      found = [...new Set(model.sources[i].flatMap(resolve))];
      known.set(i, found);
    }
    return found;
  };
  return resolve;
}
