// Where the arrow keys lead: along edges up and down, to the neighbours in the rank left and right.
import type { Layout } from './layout';
import type { Visible } from './visible';

export type Direction = 'up' | 'down' | 'left' | 'right';

/** The node that an arrow key leads to; -1 if there is none. */
export function neighbour(visible: Visible, layout: Layout, at: number, direction: Direction): number {
  const { nodes, edges } = visible;
  if (at < 0) return first(visible, layout);
  if (direction === 'up' || direction === 'down') {
    const up = direction === 'up';
    const linked = edges.filter((edge) => (up ? edge.to : edge.from) === at).map((edge) => (up ? edge.from : edge.to));
    // Computed sources before weights: the way that the data goes.
    const ordered = up ? [...linked].sort((a, b) => rank(nodes[a].kind) - rank(nodes[b].kind)) : linked;
    return ordered[0] ?? -1;
  }
  const [x, y] = [layout.x[at] + layout.width[at] / 2, layout.y[at] + layout.height[at] / 2];
  let best = -1;
  let nearest = Infinity;
  nodes.forEach((node, i) => {
    if (i === at || node.kind === 'frame' || node.parent !== nodes[at].parent) return;
    const dx = layout.x[i] + layout.width[i] / 2 - x;
    const dy = Math.abs(layout.y[i] + layout.height[i] / 2 - y);
    if ((direction === 'left' ? dx >= 0 : dx <= 0) || dy > (layout.height[at] + layout.height[i]) / 2) return;
    if (Math.abs(dx) < nearest) [nearest, best] = [Math.abs(dx), i];
  });
  return best;
}

function rank(kind: string): number {
  return kind === 'leaf' ? 1 : 0;
}

/** Where the keyboard begins: what is highest and not aside. */
function first({ nodes }: Visible, layout: Layout): number {
  let best = -1;
  nodes.forEach((node, i) => {
    if (node.kind === 'frame' || node.side) return;
    if (best < 0 || layout.x[i] + layout.y[i] < layout.x[best] + layout.y[best]) best = i;
  });
  return best;
}

/** Edges that begin or end at a node. */
export function edgesAt({ edges }: Visible, at: number): number[] {
  if (at < 0) return [];
  return edges.flatMap((edge, i) => (edge.from === at || edge.to === at ? [i] : []));
}
