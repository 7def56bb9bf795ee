// The regions of a track as cells that do not overlap. Tensors of a compute buffer take turns on the same bytes: such a
// cell counts the reads of all of them, as its bytes were read, and knows the hottest.
import type { Region } from '../../lib/types';
import type { Axis } from './axis';

export type Metric = 'accesses' | 'bytes' | 'last';

/** What a region counts by a metric; -1 if it was read for no token. */
export function measure(region: Region, metric: Metric): number {
  if (metric === 'accesses') return region.accesses;
  return metric === 'bytes' ? region.read_bytes : (region.last_token ?? -1);
}

/** The regions of a track by their begin on the axis. */
export class Placed {
  readonly items: Region[];
  readonly from: Float64Array;
  readonly to: Float64Array;
  /** The furthest end of this region and all before it. */
  private readonly reach: Float64Array;

  constructor(axis: Axis, memory: string, regions: readonly Region[]) {
    const placed: { region: Region; from: number }[] = [];
    for (const region of regions) {
      if (region.memory !== memory || region.bytes <= 0) continue;
      const from = axis.position(region.place, region.start);
      if (from !== undefined) placed.push({ region, from });
    }
    placed.sort((a, b) => a.from - b.from || a.region.bytes - b.region.bytes);
    this.items = placed.map((p) => p.region);
    this.from = Float64Array.from(placed, (p) => p.from);
    this.to = Float64Array.from(placed, (p) => p.from + p.region.bytes);
    this.reach = this.to.slice();
    for (let i = 1; i < this.reach.length; i++) this.reach[i] = Math.max(this.reach[i], this.reach[i - 1]);
  }

  /** The regions that have a byte of `from..to`, in the order of their begins. */
  within(from: number, to: number): number[] {
    const found: number[] = [];
    for (let i = above(this.reach, from); i < this.from.length && this.from[i] < to; i++) {
      if (this.to[i] > from) found.push(i);
    }
    return found;
  }
}

/** Index of the first number of a sorted list that is greater than `x`. */
export function above(sorted: Float64Array, x: number): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] > x) high = middle;
    else low = middle + 1;
  }
  return low;
}

/** Cells in the order of the axis, as columns. */
export interface Cells {
  length: number;
  from: Float64Array;
  to: Float64Array;
  /** Sum of its regions; the latest of them for the metric `last`. */
  value: Float64Array;
  /** The hottest of its regions; of the selected layer, if one is. */
  top: Int32Array;
  /** How many regions it has. */
  count: Uint32Array;
  /** 1 if it is of the selected layer, or none is selected. */
  lit: Uint8Array;
  /** Its layer; -1 none, -2 several. */
  layer: Int32Array;
}

/** Cuts the axis where regions begin and end. */
export function cells(placed: Placed, metric: Metric, layer: number | null): Cells {
  const n = placed.items.length;
  const values = Float64Array.from(placed.items, (r) => measure(r, metric));
  const inLayer = Uint8Array.from(placed.items, (r) => (layer === null || r.layer === layer ? 1 : 0));
  const byEnd = Uint32Array.from({ length: n }, (_, i) => i).sort((a, b) => placed.to[a] - placed.to[b]);
  const most = 2 * n;
  const out: Cells = {
    length: 0,
    from: new Float64Array(most),
    to: new Float64Array(most),
    value: new Float64Array(most),
    top: new Int32Array(most),
    count: new Uint32Array(most),
    lit: new Uint8Array(most),
    layer: new Int32Array(most),
  };
  const heap = new Heap((a, b) => inLayer[b] - inLayer[a] || values[b] - values[a] || a - b);
  const layers = new Map<number, number>();
  let [begun, ended, active, sum, lit] = [0, 0, 0, 0, 0];
  const change = (i: number, by: 1 | -1) => {
    active += by;
    sum += by * values[i];
    lit += by * inLayer[i];
    const of = placed.items[i].layer ?? -1;
    const left = (layers.get(of) ?? 0) + by;
    if (left) layers.set(of, left);
    else layers.delete(of);
  };
  while (ended < n) {
    const end = placed.to[byEnd[ended]];
    const at = begun < n ? Math.min(placed.from[begun], end) : end;
    for (; ended < n && placed.to[byEnd[ended]] === at; ended++) change(byEnd[ended], -1);
    for (; begun < n && placed.from[begun] === at; begun++) {
      change(begun, 1);
      heap.push(begun);
    }
    if (active === 0) continue;
    while (placed.to[heap.top] <= at) heap.pop();
    const next = placed.to[byEnd[ended]];
    const c = out.length++;
    out.from[c] = at;
    out.to[c] = begun < n ? Math.min(placed.from[begun], next) : next;
    out.top[c] = heap.top;
    out.value[c] = metric === 'last' ? values[heap.top] : sum;
    out.count[c] = active;
    out.lit[c] = lit > 0 ? 1 : 0;
    out.layer[c] = layers.size === 1 ? layers.keys().next().value! : -2;
  }
  return out;
}

/** The first cell that ends after a position: the one there, or the next. */
export function cellAt(cells: Cells, position: number): number {
  return above(cells.to.subarray(0, cells.length), position);
}

/** Neighbours of one layer, or of one place, as one. */
export interface Band {
  from: number;
  to: number;
  layer: number;
}

/** The layers above the cells, in the order of the axis. What lies between two parts of a layer belongs to it. */
export function bands(cells: Cells): Band[] {
  const found: Band[] = [];
  for (let i = 0; i < cells.length; i++) {
    const last = found.at(-1);
    if (last && last.layer === cells.layer[i]) last.to = cells.to[i];
    else found.push({ from: cells.from[i], to: cells.to[i], layer: cells.layer[i] });
  }
  return found.filter((band) => band.layer >= 0);
}

/** How many bytes the cells cover. */
export function covered(cells: Cells): number {
  let bytes = 0;
  for (let i = 0; i < cells.length; i++) bytes += cells.to[i] - cells.from[i];
  return bytes;
}

/** A binary heap of numbers; the first in the order is on top. */
class Heap {
  private readonly items: number[] = [];

  constructor(private readonly order: (a: number, b: number) => number) {}

  get top(): number {
    return this.items[0];
  }

  push(item: number) {
    const { items, order } = this;
    let i = items.push(item) - 1;
    while (i > 0) {
      const parent = (i - 1) >> 1;
      if (order(items[parent], item) <= 0) break;
      items[i] = items[parent];
      i = parent;
    }
    items[i] = item;
  }

  pop() {
    const { items, order } = this;
    const item = items.pop();
    if (item === undefined || items.length === 0) return;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= items.length) break;
      if (child + 1 < items.length && order(items[child + 1], items[child]) < 0) child++;
      if (order(item, items[child]) <= 0) break;
      items[i] = items[child];
      i = child;
    }
    items[i] = item;
  }
}
