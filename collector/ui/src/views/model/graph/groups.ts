// The architecture as nested groups: layers with their parts, heads and experts in groups of their own within them.
import type { ArchGraph, ArchNode } from '../types';

export interface ArchGroup {
  /** What it is known by, in the address too: `layer_5`, `layer_5/heads`. */
  key: string;
  title: string;
  /** The node that it stands for; -1 for groups that only gather. */
  node: number;
  /** Index of the group around it; -1 at the top. */
  parent: number;
  groups: number[];
  /** Nodes that are directly in it. */
  members: number[];
  /** Whether its nodes stand in rows and columns: many of one sort. */
  grid: boolean;
}

export interface ArchTree {
  graph: ArchGraph;
  groups: ArchGroup[];
  byKey: Map<string, number>;
  byId: Map<string, number>;
  /** The group that each node is directly in; -1 at the top. A node that is a group is in the one around that. */
  home: Int32Array;
  /** The group that each node is; -1 if it is none. */
  as: Int32Array;
  /** Groups and nodes at the top, in the order of the flow. */
  top: { group: number; node: number }[];
}

const GATHERED: Record<string, [suffix: string, title: string]> = {
  head: ['heads', 'Heads'],
  kv_head: ['heads', 'Heads'],
  expert: ['experts', 'Experts'],
};

/** Nodes of a gathering that are shown when what it is in is opened. */
const SHOWN_AT_ONCE = 96;

export function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

export function treeOf(graph: ArchGraph): ArchTree {
  const { nodes, edges } = graph;
  const groups: ArchGroup[] = [];
  const byKey = new Map<string, number>();
  const home = new Int32Array(nodes.length).fill(-1);
  const as = new Int32Array(nodes.length).fill(-1);
  const inner = new Map<number, number[]>();
  for (const { from, to, kind } of edges) {
    if (kind !== 'contains' || from === to) continue;
    const of = inner.get(from) ?? [];
    of.push(to);
    inner.set(from, of);
  }
  const add = (group: Omit<ArchGroup, 'groups' | 'members'>): number => {
    const at = groups.push({ ...group, groups: [], members: [] }) - 1;
    byKey.set(group.key, at);
    if (group.parent >= 0) groups[group.parent].groups.push(at);
    return at;
  };
  const contained = new Uint8Array(nodes.length);
  for (const of of inner.values()) for (const node of of) contained[node] = 1;
  const top: ArchTree['top'] = [];
  nodes.forEach((node, i) => {
    if (contained[i]) return;
    const of = inner.get(i);
    if (!of) {
      top.push({ group: -1, node: i });
      return;
    }
    const alike = of.every((child) => GATHERED[nodes[child].kind]);
    const at = add({ key: node.id, title: capital(node.label), node: i, parent: -1, grid: alike });
    as[i] = at;
    top.push({ group: at, node: i });
    for (const child of of) {
      const gather = alike ? undefined : GATHERED[nodes[child].kind];
      let into = at;
      if (gather) {
        const key = `${node.id}/${gather[0]}`;
        into = byKey.get(key) ?? add({ key, title: gather[1], node: -1, parent: at, grid: true });
      }
      home[child] = into;
      groups[into].members.push(child);
    }
  });
  return { graph, groups, byKey, byId: new Map(nodes.map((node, i) => [node.id, i])), home, as, top };
}

/** All nodes in a group and in the groups within, with the node that it stands for. */
export function nodesIn(tree: ArchTree, group: number): number[] {
  const { node, members, groups } = tree.groups[group];
  return [...(node >= 0 ? [node] : []), ...members, ...groups.flatMap((inner) => nodesIn(tree, inner))];
}

/** Whether a group is open: those that only gather are, if they are not many, until they are closed. */
export function isOpen(tree: ArchTree, group: number, toggled: ReadonlySet<string>): boolean {
  const { key, node, members } = tree.groups[group];
  return toggled.has(key) !== (node < 0 && members.length <= SHOWN_AT_ONCE);
}

/** Keys that have to be toggled for a node to be on the screen. */
export function closedAround(tree: ArchTree, node: number, toggled: ReadonlySet<string>): string[] {
  const keys: string[] = [];
  for (let at = tree.home[node]; at >= 0; at = tree.groups[at].parent) {
    if (!isOpen(tree, at, toggled)) keys.push(tree.groups[at].key);
  }
  return keys;
}

/** What a group that gathers says of itself: `9 query heads, 3 key and value heads`. */
export function gathered(nodes: readonly ArchNode[], members: readonly number[]): string {
  const of = (kind: string) => members.filter((i) => nodes[i].kind === kind).length;
  const said = [
    [of('head'), 'Q'],
    [of('kv_head'), 'KV'],
    [of('expert'), 'experts'],
  ] as const;
  return said.flatMap(([n, name]) => (n ? [`${n} ${name}`] : [])).join(' · ');
}
