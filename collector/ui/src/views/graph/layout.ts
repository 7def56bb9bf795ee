// Places of all boxes and curves of all edges: groups are laid out from the inside to the outside, each as a layered
// level; the outermost level is broken into columns that fit the panel; what all layers share stands at the left.
import { GAP_X, GAP_Y, layered, ranksOf, type Layered, type LayeredEdge, type LayeredNode } from './layered';

/** A box to be placed; frames come before what is in them. */
export interface Box {
  key: string;
  kind: string;
  parent: number;
  side: boolean;
  width: number;
  height: number;
}

export interface LayoutInput {
  boxes: Box[];
  edges: { from: number; to: number; cross: boolean }[];
  /** Size of the panel, for the number of columns. */
  aspect: { width: number; height: number };
  /** The column of each outermost box in the layout before, so that what is opened leaves the rest where it is. */
  columns: Record<string, number> | null;
}

/** A piece of one or more edges, within one group or between two. */
export interface Segment {
  /** Cubic Bézier curves: x0, y0, then for each curve two control points and its end. */
  curve: number[];
  /** Whether it ends at a box, rather than at the border of a frame. */
  arrow: boolean;
  cross: boolean;
  side: boolean;
  /** How many of the edges it is part of. */
  edges: number;
}

export interface Layout {
  /** Upper left corner and size of each box. */
  x: Float64Array;
  y: Float64Array;
  width: Float64Array;
  height: Float64Array;
  segments: Segment[];
  /** Indices of the segments of each edge, from its begin to its end. */
  parts: number[][];
  total: { width: number; height: number };
  columns: Record<string, number>;
}

export const HEADER = 26;
const PADDING = 12;
const COLUMN_GAP = 56;
const SIDE_GAP = 64;

interface Piece {
  from: number;
  fromPort: string | null;
  to: number;
  toPort: string | null;
  segment: number;
}

interface Level {
  children: number[];
  /** Ports by their key, as places in `children` and after. */
  ports: Map<string, { at: number; port: 'in' | 'out' }>;
  pieces: Map<string, Piece>;
}

/** Lays out. `progress` hears how many of how many groups are done. */
export function layout(input: LayoutInput, progress?: (done: number, of: number) => void): Layout {
  return new Layouter(input).run(progress);
}

class Layouter {
  private readonly levels = new Map<number, Level>();
  private readonly segments: Segment[] = [];
  private readonly parts: number[][];
  private readonly depth: Int32Array;
  private readonly x: Float64Array;
  private readonly y: Float64Array;
  private readonly width: Float64Array;
  private readonly height: Float64Array;
  /** Where the ports of a frame are, from its left edge. */
  private readonly portX = new Map<string, number>();
  private readonly alike = new Map<string, Layered>();
  /** Curves of a level, from the upper left corner of its frame. */
  private readonly local: { frame: number; segment: number }[] = [];

  constructor(private readonly input: LayoutInput) {
    const { boxes } = input;
    this.x = new Float64Array(boxes.length);
    this.y = new Float64Array(boxes.length);
    this.width = Float64Array.from(boxes, (box) => box.width);
    this.height = Float64Array.from(boxes, (box) => box.height);
    this.depth = new Int32Array(boxes.length);
    this.levels.set(-1, { children: [], ports: new Map(), pieces: new Map() });
    boxes.forEach((box, i) => {
      this.depth[i] = box.parent < 0 ? 1 : this.depth[box.parent] + 1;
      if (box.kind === 'frame') this.levels.set(i, { children: [], ports: new Map(), pieces: new Map() });
      this.levels.get(box.parent)!.children.push(i);
    });
    this.parts = input.edges.map((edge) => this.split(edge));
  }

  run(progress?: (done: number, of: number) => void): Layout {
    const frames = [...this.levels.keys()].filter((frame) => frame >= 0).reverse();
    frames.forEach((frame, i) => {
      if (this.input.boxes[frame].side) this.stack(frame);
      else this.frame(frame);
      if (i % 16 === 0) progress?.(i, frames.length + 1);
    });
    const { total, columns } = this.outermost();
    this.settle();
    this.sideEdges();
    progress?.(frames.length + 1, frames.length + 1);
    const { x, y, width, height, segments, parts } = this;
    return { x, y, width, height, segments, parts, total, columns };
  }

  /** Cuts an edge at the frames that it crosses. */
  private split({ from, to, cross }: { from: number; to: number; cross: boolean }): number[] {
    const { boxes } = this.input;
    if (boxes[from].side) return [this.segment(cross, true, true)];
    const out: number[] = [];
    const into: number[] = [];
    let [a, z] = [from, to];
    const port = `${from}`;
    while (boxes[a].parent !== boxes[z].parent) {
      if (this.depthOf(a) >= this.depthOf(z)) {
        const frame = boxes[a].parent;
        out.push(this.piece(frame, a, a === from ? null : port, -1, port, 'out', cross));
        a = frame;
      } else {
        const frame = boxes[z].parent;
        into.unshift(this.piece(frame, -1, port, z, z === to ? null : port, 'in', cross));
        z = frame;
      }
    }
    // From a frame to something that is in it, or the other way: the parts within say it all.
    if (a === z) return [...out, ...into];
    const middle = this.piece(boxes[a].parent, a, a === from ? null : port, z, z === to ? null : port, null, cross);
    return [...out, middle, ...into];
  }

  private depthOf(box: number): number {
    return this.depth[box];
  }

  private piece(
    frame: number,
    from: number,
    fromPort: string | null,
    to: number,
    toPort: string | null,
    port: 'in' | 'out' | null,
    cross: boolean,
  ): number {
    const level = this.levels.get(frame)!;
    const key = `${from}:${fromPort} ${to}:${toPort}`;
    const known = level.pieces.get(key);
    if (known) {
      const segment = this.segments[known.segment];
      segment.edges++;
      segment.cross &&= cross;
      return known.segment;
    }
    if (port) {
      const name = `${port}${port === 'in' ? fromPort : toPort}`;
      if (!level.ports.has(name)) level.ports.set(name, { at: level.children.length + level.ports.size, port });
    }
    const segment = this.segment(cross, to >= 0 && toPort === null, false);
    level.pieces.set(key, { from, fromPort, to, toPort, segment });
    return segment;
  }

  private segment(cross: boolean, arrow: boolean, side: boolean): number {
    return this.segments.push({ curve: [], arrow, cross, side, edges: 1 }) - 1;
  }

  private nodesOf(children: number[]): LayeredNode[] {
    return children.map((i) => ({
      width: this.width[i],
      height: this.height[i],
      tight: this.input.boxes[i].kind === 'leaf',
    }));
  }

  /** The pieces of a level as edges between its nodes. */
  private edgesOf(level: Level, place: Map<number, number>): { edges: LayeredEdge[]; pieces: Piece[] } {
    const edges: LayeredEdge[] = [];
    const pieces: Piece[] = [];
    for (const piece of level.pieces.values()) {
      const from = piece.from < 0 ? level.ports.get(`in${piece.fromPort}`)?.at : place.get(piece.from);
      const to = piece.to < 0 ? level.ports.get(`out${piece.toPort}`)?.at : place.get(piece.to);
      if (from === undefined || to === undefined) continue;
      edges.push({
        from,
        to,
        fromDx: piece.from >= 0 && piece.fromPort !== null ? this.portDx(piece.from, `out${piece.fromPort}`) : 0,
        toDx: piece.to >= 0 && piece.toPort !== null ? this.portDx(piece.to, `in${piece.toPort}`) : 0,
      });
      pieces.push(piece);
    }
    return { edges, pieces };
  }

  private portDx(frame: number, port: string): number {
    const x = this.portX.get(`${frame} ${port}`);
    return x === undefined ? 0 : x - this.width[frame] / 2;
  }

  /** Layers are alike: a level that has been laid out before is not laid out again. */
  private level(nodes: LayeredNode[], edges: LayeredEdge[]): Layered {
    const key = JSON.stringify([
      nodes.map((node) => [node.width, node.height, node.port, node.tight]),
      edges.map((edge) => [edge.from, edge.to, edge.fromDx, edge.toDx]),
    ]);
    let known = this.alike.get(key);
    if (!known) this.alike.set(key, (known = layered(nodes, edges)));
    return { ...known, routes: known.routes.map((route) => [...route]) };
  }

  /** An open group: its level, with a border and a title. */
  private frame(frame: number) {
    const level = this.levels.get(frame)!;
    const { children, ports } = level;
    const nodes = this.nodesOf(children);
    for (const { port } of ports.values()) nodes.push({ width: 8, height: 0, port });
    const { edges, pieces } = this.edgesOf(level, new Map(children.map((child, i) => [child, i])));
    const placed = this.level(nodes, edges);
    const hasIn = [...ports.values()].some(({ port }) => port === 'in');
    const hasOut = [...ports.values()].some(({ port }) => port === 'out');
    const width = Math.max(placed.width, 150) + 2 * PADDING;
    const left = (width - placed.width) / 2;
    const upper = hasIn ? HEADER - GAP_Y / 2 : HEADER;
    const height = upper + placed.height + (hasOut ? 0 : PADDING);
    this.width[frame] = width;
    this.height[frame] = height;
    children.forEach((child, i) => {
      this.x[child] = left + placed.x[i] - this.width[child] / 2;
      this.y[child] = upper + placed.y[i];
    });
    for (const [name, { at }] of ports) this.portX.set(`${frame} ${name}`, left + placed.x[at]);
    pieces.forEach((piece, i) => {
      const points = placed.routes[i];
      for (let k = 0; k < points.length; k += 2) {
        points[k] += left;
        points[k + 1] += upper;
      }
      if (piece.from < 0) points[1] = 0;
      if (piece.to < 0) points[points.length - 1] = height;
      this.segments[piece.segment].curve = smooth(points);
      this.local.push({ frame, segment: piece.segment });
    });
  }

  /** What stands aside: one below the other. */
  private stack(frame: number) {
    const { children } = this.levels.get(frame)!;
    const width = Math.max(130, ...children.map((child) => this.width[child])) + 2 * PADDING;
    let at = HEADER + 2;
    for (const child of children) {
      this.width[child] = width - 2 * PADDING;
      this.x[child] = PADDING;
      this.y[child] = at;
      at += this.height[child] + 6;
    }
    this.width[frame] = width;
    this.height[frame] = at - 6 + PADDING;
  }

  /** The outermost level, in columns. */
  private outermost(): { total: { width: number; height: number }; columns: Record<string, number> } {
    const { boxes, aspect } = this.input;
    const level = this.levels.get(-1)!;
    const aside = level.children.filter((child) => boxes[child].side);
    const children = level.children.filter((child) => !boxes[child].side);
    const nodes = this.nodesOf(children);
    const { edges, pieces } = this.edgesOf(level, new Map(children.map((child, i) => [child, i])));
    const ranks = ranksOf(nodes, edges);
    const asideWidth = aside.reduce((most, child) => Math.max(most, this.width[child] + SIDE_GAP), 0);
    const before = this.input.columns;
    const columnOf =
      before && children.every((child) => before[boxes[child].key] !== undefined)
        ? children.map((child) => before[boxes[child].key])
        : this.columnsOf(nodes, ranks, { width: aspect.width, height: aspect.height }, asideWidth);

    const count = columnOf.reduce((most, column) => Math.max(most, column + 1), 1);
    let left = asideWidth;
    let tall = 0;
    const right: number[] = [];
    for (let column = 0; column < count; column++) {
      const inside = children.flatMap((_, i) => (columnOf[i] === column ? [i] : []));
      const place = new Map(inside.map((node, i) => [node, i]));
      const within = edges.flatMap((edge, e) => (place.has(edge.from) && place.has(edge.to) ? [e] : []));
      const lowest = Math.min(...inside.map((i) => ranks[i]));
      const placed = layered(
        inside.map((i) => nodes[i]),
        within.map((e) => ({ ...edges[e], from: place.get(edges[e].from)!, to: place.get(edges[e].to)! })),
        Int32Array.from(inside, (i) => ranks[i] - lowest),
      );
      inside.forEach((i, k) => {
        this.x[children[i]] = left + placed.x[k] - nodes[i].width / 2;
        this.y[children[i]] = placed.y[k];
      });
      within.forEach((e, k) => {
        const points = placed.routes[k];
        for (let p = 0; p < points.length; p += 2) points[p] += left;
        this.segments[pieces[e].segment].curve = smooth(points);
      });
      left += placed.width;
      right.push(left);
      left += COLUMN_GAP;
      tall = Math.max(tall, placed.height);
    }
    edges.forEach((edge, e) => {
      const [a, z] = [columnOf[edge.from], columnOf[edge.to]];
      if (a === z) return;
      this.segments[pieces[e].segment].curve = this.around(children, edge, ranks, columnOf, right[a], right[z - 1], e);
    });

    let at = 0;
    for (const child of aside) {
      this.x[child] = 0;
      this.y[child] = at;
      at += this.height[child] + GAP_Y;
    }
    const columns = Object.fromEntries(children.map((child, i) => [boxes[child].key, columnOf[i]]));
    return { total: { width: left - COLUMN_GAP, height: Math.max(tall, at - GAP_Y) }, columns };
  }

  /** From one column to the next: below its rank, up between the columns, and down onto the other box. */
  private around(
    children: number[],
    edge: LayeredEdge,
    ranks: Int32Array,
    columnOf: number[],
    leave: number,
    arrive: number | undefined,
    nth: number,
  ): number[] {
    const [from, to] = [children[edge.from], children[edge.to]];
    const same = (node: number) =>
      children.filter((_, i) => ranks[i] === ranks[node] && columnOf[i] === columnOf[node]);
    const x0 = this.x[from] + this.width[from] / 2 + edge.fromDx;
    const y0 = this.y[from] + this.height[from];
    const x1 = this.x[to] + this.width[to] / 2 + edge.toDx;
    const y1 = this.y[to];
    const below = Math.max(...same(edge.from).map((i) => this.y[i] + this.height[i])) + GAP_Y / 2;
    const above = Math.min(...same(edge.to).map((i) => this.y[i])) - GAP_Y / 2;
    const shift = COLUMN_GAP / 2 + ((nth % 3) - 1) * 5;
    const gutters = [leave + shift, (arrive ?? leave) + shift];
    const points = [x0, y0, x0, below, gutters[0], below];
    if (gutters[1] !== gutters[0]) points.push(gutters[0], -GAP_Y, gutters[1], -GAP_Y);
    points.push(gutters[1], above, x1, above, x1, y1);
    return rounded(points, GAP_Y / 2);
  }

  /** The columns that let the whole be drawn largest. */
  private columnsOf(
    nodes: LayeredNode[],
    ranks: Int32Array,
    aspect: { width: number; height: number },
    aside: number,
  ): number[] {
    const count = ranks.reduce((most, rank) => Math.max(most, rank + 1), 0);
    const heights = new Float64Array(count);
    const widths = new Float64Array(count).fill(-GAP_X);
    nodes.forEach((node, i) => {
      heights[ranks[i]] = Math.max(heights[ranks[i]], node.height + GAP_Y);
      widths[ranks[i]] += node.width + GAP_X;
    });
    let best: { scale: number; column: Int32Array } = { scale: 0, column: new Int32Array(count) };
    for (let columns = 1; columns <= Math.min(count, 48); columns++) {
      const column = partition(heights, columns);
      const used = column.reduce((most, c) => Math.max(most, c + 1), 1);
      const wide = new Float64Array(used);
      const tall = new Float64Array(used);
      column.forEach((c, rank) => {
        wide[c] = Math.max(wide[c], widths[rank]);
        tall[c] += heights[rank];
      });
      const width = aside + wide.reduce((sum, w) => sum + w + COLUMN_GAP, -COLUMN_GAP);
      const scale = Math.min(1, aspect.width / width, aspect.height / Math.max(...tall));
      if (scale > best.scale * 1.04) best = { scale, column };
    }
    return nodes.map((_, i) => best.column[ranks[i]]);
  }

  /** From places within frames to places in the whole. */
  private settle() {
    const { boxes } = this.input;
    boxes.forEach((box, i) => {
      if (box.parent < 0) return;
      this.x[i] += this.x[box.parent];
      this.y[i] += this.y[box.parent];
    });
    for (const { frame, segment } of this.local) {
      const { curve } = this.segments[segment];
      for (let k = 0; k < curve.length; k += 2) {
        curve[k] += this.x[frame];
        curve[k + 1] += this.y[frame];
      }
    }
  }

  /** From what stands aside straight into the sides of those who use it. */
  private sideEdges() {
    this.input.edges.forEach(({ from, to }, e) => {
      if (!this.input.boxes[from].side) return;
      const x0 = this.x[from] + this.width[from];
      const y0 = this.y[from] + this.height[from] / 2;
      const x1 = this.x[to];
      const y1 = this.y[to] + this.height[to] / 2;
      const bend = Math.max(24, Math.abs(x1 - x0) * 0.45);
      this.segments[this.parts[e][0]].curve = [x0, y0, x0 + bend, y0, x1 - bend, y1, x1, y1];
    });
  }
}

/** Breaks a sequence into at most `columns` runs, the tallest as low as can be. */
export function partition(heights: ArrayLike<number>, columns: number): Int32Array {
  const all = Array.from(heights);
  const fill = (limit: number) => {
    const column = new Int32Array(all.length);
    let [at, used] = [0, 0];
    all.forEach((height, i) => {
      if (used > 0 && used + height > limit) {
        at++;
        used = 0;
      }
      used += height;
      column[i] = at;
    });
    return column;
  };
  let low = Math.max(0, ...all);
  let high = all.reduce((sum, height) => sum + height, 0);
  for (let round = 0; round < 40 && high - low > 0.5; round++) {
    const middle = (low + high) / 2;
    const column = fill(middle);
    if ((column.at(-1) ?? 0) < columns) high = middle;
    else low = middle;
  }
  return fill(high);
}

/** A smooth line through points: straight down where x stays, an S between ranks where it changes. */
export function smooth(points: number[]): number[] {
  const curve = [points[0], points[1]];
  for (let k = 2; k < points.length; k += 2) {
    const [x0, y0, x1] = [points[k - 2], points[k - 1], points[k]];
    let y1 = points[k + 1];
    if (Math.abs(x1 - x0) < 0.5) {
      while (k + 2 < points.length && Math.abs(points[k + 2] - x0) < 0.5) {
        k += 2;
        y1 = points[k + 1];
      }
    }
    const middle = (y0 + y1) / 2;
    curve.push(x0, middle, x1, middle, x1, y1);
  }
  return curve;
}

/** A line with right angles whose corners are round. */
export function rounded(points: number[], radius: number): number[] {
  const curve = [points[0], points[1]];
  let [x, y] = [points[0], points[1]];
  const line = (tx: number, ty: number) => {
    if (x !== tx || y !== ty)
      curve.push(x + (tx - x) / 3, y + (ty - y) / 3, x + ((tx - x) * 2) / 3, y + ((ty - y) * 2) / 3, tx, ty);
    [x, y] = [tx, ty];
  };
  for (let k = 2; k < points.length - 2; k += 2) {
    const [cx, cy, nx, ny] = [points[k], points[k + 1], points[k + 2], points[k + 3]];
    const before = Math.hypot(cx - x, cy - y);
    const after = Math.hypot(nx - cx, ny - cy);
    const r = Math.min(radius, before, after / 2);
    if (before > 0) line(cx + ((x - cx) * r) / before, cy + ((y - cy) * r) / before);
    const [ex, ey] = after > 0 ? [cx + ((nx - cx) * r) / after, cy + ((ny - cy) * r) / after] : [cx, cy];
    curve.push(x + (cx - x) * 0.55, y + (cy - y) * 0.55, ex + (cx - ex) * 0.55, ey + (cy - ey) * 0.55, ex, ey);
    [x, y] = [ex, ey];
  }
  line(points[points.length - 2], points[points.length - 1]);
  return curve;
}
