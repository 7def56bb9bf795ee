// What of the architecture is on the screen and where: closed groups stand for what is in them, the residual stream
// behind an open layer is a place of its own, and what stands in rows and columns is placed by itself.
import { BOLD_FONT, FONT, SMALL_FONT } from '../../graph/labels';
import { HEADER, layout, type Layout } from '../../graph/layout';
import type { Visible, VisibleEdge, VisibleNode } from '../../graph/visible';
import { CELL, gridOf, type GridPlan } from './grid';
import { isOpen, type ArchTree } from './groups';

export interface Shown {
  visible: Visible;
  layout: Layout;
  /** The node of the architecture that each box is; -1 for groups that only gather. */
  node: Int32Array;
  /** The box that each node is drawn as: its own, or that of a closed group around it. */
  box: Int32Array;
  /** Groups of the tree that boxes are; -1 for nodes. */
  group: Int32Array;
}

export interface Sizes {
  /** Width of a text in pixels. */
  measure: (text: string, font: string) => number;
  /** What is written on a box. */
  label: (node: number, group: number, stream: boolean) => { title: string; detail: string };
  /** From 0 to 1: how large it is. */
  size: (node: number, group: number) => number;
}

const PADDING = 12;
export const STREAM = '/stream';

export function sceneOf(
  tree: ArchTree,
  toggled: ReadonlySet<string>,
  sizes: Sizes,
  aspect: { width: number; height: number },
  columns: Record<string, number> | null,
): Shown {
  const { graph, groups } = tree;
  const { nodes } = graph;
  const boxes: VisibleNode[] = [];
  const byKey = new Map<string, number>();
  const nodeOf: number[] = [];
  const groupOf: number[] = [];
  const box = new Int32Array(nodes.length).fill(-1);
  const grids: { at: number; plan: GridPlan }[] = [];

  const add = (key: string, kind: VisibleNode['kind'], node: number, group: number, parent: number, stream = false) => {
    const { title, detail } = sizes.label(node, group, stream);
    const grow = stream ? 0 : sizes.size(node, group);
    const [width, height] =
      kind === 'frame'
        ? [0, 0]
        : kind === 'group'
          ? [Math.max(sizes.measure(title, BOLD_FONT) + 34, sizes.measure(detail, SMALL_FONT) + 24, 118), 38]
          : [Math.max(64, 33 + sizes.measure(title, FONT) + sizes.measure(detail, SMALL_FONT)), 22];
    const category = node >= 0 && nodes[node].layer === null ? 'infrastructure' : 'layer';
    const own = { key, kind, of: boxes.length, parent, side: false, category } as const;
    const at = boxes.push({
      ...own,
      width: Math.ceil((width * (1 + 0.35 * grow)) / 8) * 8,
      // A closed group has two lines of text: it needs less room to look large.
      height: Math.round(height * (1 + (kind === 'group' ? 0.5 : 1.5) * grow)),
    });
    byKey.set(key, at - 1);
    nodeOf.push(node);
    groupOf.push(group);
    return at - 1;
  };
  const all = (group: number, at: number) => {
    for (const member of groups[group].members) box[member] = at;
    for (const inner of groups[group].groups) all(inner, at);
  };
  const walk = (group: number, parent: number) => {
    const { key, node, members, grid, groups: inner } = groups[group];
    if (!isOpen(tree, group, toggled)) {
      const at = add(key, 'group', node, group, parent);
      if (node >= 0) box[node] = at;
      all(group, at);
      return;
    }
    const frame = add(key, 'frame', node, group, parent);
    if (node >= 0) box[node] = frame;
    if (grid) {
      const plan = gridOf(nodes, members);
      grids.push({ at: frame, plan });
      boxes[frame].width = Math.max(plan.width, 110) + 2 * PADDING;
      boxes[frame].height = plan.height + HEADER + PADDING;
      all(group, frame);
      return;
    }
    // In the order of the flow, so that what is drawn first is what comes first.
    const order = [
      ...members.map((member) => ({ first: member, group: -1, node: member })),
      ...inner.map((group) => ({ first: Math.min(...groups[group].members), group, node: -1 })),
    ].sort((a, b) => a.first - b.first);
    for (const item of order) {
      if (item.group >= 0) walk(item.group, frame);
      else box[item.node] = add(nodes[item.node].id, 'operator', item.node, -1, frame);
    }
    if (node >= 0) box[node] = add(`${key}${STREAM}`, 'operator', node, -1, frame, true);
  };
  for (const { group, node } of tree.top) {
    if (group >= 0) walk(group, -1);
    else box[node] = add(nodes[node].id, 'operator', node, -1, -1);
  }

  const edges: VisibleEdge[] = [];
  const seen = new Map<number, VisibleEdge>();
  for (const { from, to, kind, residual } of graph.edges) {
    // What a layer contains is in it; in our own construction what is used is fed from there, or told beside.
    if (kind === 'contains' || (kind === 'uses' && graph.schema === 'standard')) continue;
    const [a, z] = [box[from], box[to]];
    if (a < 0 || z < 0 || a === z) continue;
    const id = a * boxes.length + z;
    const known = seen.get(id);
    if (known) {
      known.count++;
      known.cross &&= residual;
    } else {
      const edge = { from: a, to: z, count: 1, cross: residual };
      seen.set(id, edge);
      edges.push(edge);
    }
  }

  const inGrid = new Set(grids.map(({ at }) => at));
  const placed = layout({
    boxes: boxes.map(({ key, kind, parent, side, width, height }, i) => ({
      key,
      kind: inGrid.has(i) ? 'group' : kind,
      parent,
      side,
      width,
      height,
    })),
    edges: edges.map(({ from, to, cross }) => ({ from, to, cross })),
    aspect,
    columns,
  });
  // Cells come last: they are drawn over their frame, and found before it.
  const x = [...placed.x];
  const y = [...placed.y];
  const width = [...placed.width];
  const height = [...placed.height];
  for (const { at, plan } of grids) {
    const left = placed.x[at] + (placed.width[at] - plan.width) / 2;
    for (const cell of plan.cells) {
      const { id } = nodes[cell.node];
      box[cell.node] = add(id, 'operator', cell.node, -1, at);
      x.push(left + cell.x);
      y.push(placed.y[at] + HEADER + cell.y);
      width.push(CELL.width);
      height.push(CELL.height);
    }
  }
  return {
    visible: { nodes: boxes, edges, byKey },
    layout: {
      ...placed,
      x: Float64Array.from(x),
      y: Float64Array.from(y),
      width: Float64Array.from(width),
      height: Float64Array.from(height),
    },
    node: Int32Array.from(nodeOf),
    group: Int32Array.from(groupOf),
    box,
  };
}
