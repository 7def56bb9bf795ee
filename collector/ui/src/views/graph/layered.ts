// Layered layout of one level: nodes in ranks from top to bottom, ordered so that few edges cross, moved so that edges
// are straight. Edges that pass ranks bend around what is there.

export interface LayeredNode {
  width: number;
  height: number;
  /** Where edges from outside begin, or end: above or below all others. */
  port?: 'in' | 'out';
  /** Goes directly above its first user rather than to the top. */
  tight?: boolean;
}

export interface LayeredEdge {
  from: number;
  to: number;
  /** Where it leaves and arrives, from the middle of the node. */
  fromDx: number;
  toDx: number;
}

export interface Layered {
  /** Middle and upper edge of each node. */
  x: Float64Array;
  y: Float64Array;
  width: number;
  height: number;
  /** Points of each edge: x, y, x, y... from the lower edge of a node to the upper edge of another. */
  routes: number[][];
}

export const GAP_X = 14;
export const GAP_Y = 18;
/** Points for edges that pass ranks: beyond it they are drawn straight. */
const MOST_BENDS = 60_000;
const SWEEPS = 6;

/** The rank of each node: one more than the highest of its sources. Edges that close a circle count for nothing. */
export function ranksOf(nodes: LayeredNode[], edges: LayeredEdge[]): Int32Array {
  const n = nodes.length;
  const out: number[][] = nodes.map(() => []);
  const into = new Int32Array(n);
  for (const { from, to } of edges) {
    if (from === to) continue;
    out[from].push(to);
    into[to]++;
  }
  const ranks = new Int32Array(n);
  const order: number[] = [];
  const done = new Uint8Array(n);
  const left = Int32Array.from(into);
  const ready: number[] = [];
  for (let i = n - 1; i >= 0; i--) if (left[i] === 0) ready.push(i);
  let next = 0;
  while (order.length < n) {
    let at = ready.pop();
    if (at === undefined) {
      // Only circles are left: cut one at the first node of the graph's own order.
      while (done[next]) next++;
      at = next;
    }
    if (done[at]) continue;
    done[at] = 1;
    order.push(at);
    for (const to of out[at]) {
      if (done[to]) continue;
      ranks[to] = Math.max(ranks[to], ranks[at] + 1);
      if (--left[to] === 0) ready.push(to);
    }
  }
  const lowest = nodes.some((node) => node.port === 'in') ? 1 : 0;
  for (let i = 0; i < n; i++) {
    if (nodes[i].port === 'in') ranks[i] = 0;
    else ranks[i] = Math.max(ranks[i], lowest);
  }
  // What nothing but such leaves feeds goes down with them, to where it is used.
  const light = new Uint8Array(n);
  for (let i = 0; i < n; i++) light[i] = nodes[i].port ? 0 : into[i] > 0 ? 1 : nodes[i].tight ? 1 : 0;
  for (const i of order) if (!light[i]) for (const to of out[i]) light[to] = 0;
  for (let k = n - 1; k >= 0; k--) {
    const i = order[k];
    if (!light[i]) continue;
    let user = Infinity;
    for (const to of out[i]) if (nodes[to].port !== 'out') user = Math.min(user, ranks[to]);
    if (user < Infinity) ranks[i] = Math.max(lowest, user - 1);
  }
  let last = 0;
  for (let i = 0; i < n; i++) if (nodes[i].port !== 'out') last = Math.max(last, ranks[i]);
  for (let i = 0; i < n; i++) if (nodes[i].port === 'out') ranks[i] = last + 1;
  return ranks;
}

interface Link {
  a: number;
  z: number;
  aDx: number;
  zDx: number;
  weight: number;
}

/** Lays a level out. `ranks` are those of `ranksOf`, or given. */
export function layered(nodes: LayeredNode[], edges: LayeredEdge[], ranks = ranksOf(nodes, edges)): Layered {
  const n = nodes.length;
  const widths: number[] = nodes.map((node) => node.width);
  const rankOf: number[] = Array.from(ranks);
  const links: Link[] = [];
  const chains: (number[] | null)[] = [];

  let bends = 0;
  for (const edge of edges) bends += Math.max(0, ranks[edge.to] - ranks[edge.from] - 1);
  for (const edge of edges) {
    const [low, high] = [ranks[edge.from], ranks[edge.to]];
    if (high <= low || (bends > MOST_BENDS && high - low > 1)) {
      chains.push(null);
      continue;
    }
    const chain = [edge.from];
    for (let rank = low + 1; rank < high; rank++) {
      chain.push(rankOf.length);
      rankOf.push(rank);
      widths.push(4);
    }
    chain.push(edge.to);
    const light = nodes[edge.from].tight ? 0.15 : 1;
    for (let k = 1; k < chain.length; k++) {
      const [a, z] = [chain[k - 1], chain[k]];
      const weight = a >= n && z >= n ? 6 : a >= n || z >= n ? 2 : light;
      links.push({ a, z, aDx: k === 1 ? edge.fromDx : 0, zDx: k === chain.length - 1 ? edge.toDx : 0, weight });
    }
    chains.push(chain);
  }

  const up: Link[][] = widths.map(() => []);
  const down: Link[][] = widths.map(() => []);
  for (const link of links) {
    down[link.a].push(link);
    up[link.z].push(link);
  }
  const count = rankOf.reduce((most, rank) => Math.max(most, rank + 1), 0);
  const rows: number[][] = Array.from({ length: count }, () => []);
  rankOf.forEach((rank, i) => rows[rank].push(i));
  order(rows, up, down, rankOf.length);
  const x = place(rows, widths, up, down, n);
  for (const chain of chains) if (chain && chain.length > 2) straighten(chain, rows, widths, x, rankOf, n);

  const top = new Float64Array(count);
  const tall = new Float64Array(count);
  for (let i = 0; i < n; i++) tall[rankOf[i]] = Math.max(tall[rankOf[i]], nodes[i].height);
  let at = 0;
  for (let rank = 0; rank < count; rank++) {
    top[rank] = at;
    // Ranks with many bends need room for them.
    at += tall[rank] + (rank + 1 < count ? GAP_Y : 0);
  }
  const y = new Float64Array(n);
  for (let i = 0; i < n; i++) {
    const free = tall[rankOf[i]] - nodes[i].height;
    y[i] = top[rankOf[i]] + (nodes[i].tight ? free : free / 2);
  }

  let [left, right] = [Infinity, -Infinity];
  for (let i = 0; i < widths.length; i++) {
    left = Math.min(left, x[i] - widths[i] / 2);
    right = Math.max(right, x[i] + widths[i] / 2);
  }
  if (!Number.isFinite(left)) [left, right] = [0, 0];
  for (let i = 0; i < x.length; i++) x[i] -= left;

  const routes = edges.map((edge, e) => {
    const chain = chains[e];
    const points = [x[edge.from] + edge.fromDx, y[edge.from] + nodes[edge.from].height];
    for (const bend of chain?.slice(1, -1) ?? []) {
      const rank = rankOf[bend];
      points.push(x[bend], top[rank], x[bend], top[rank] + tall[rank]);
    }
    points.push(x[edge.to] + edge.toDx, y[edge.to]);
    return points;
  });
  return { x: x.subarray(0, n), y, width: right - left, height: at, routes };
}

/** Orders each rank by the middle of what its nodes are linked with, down and up in turn. */
function order(rows: number[][], up: Link[][], down: Link[][], n: number) {
  const position = new Float64Array(n);
  const wish = new Float64Array(n);
  const number = (row: number[]) => row.forEach((i, k) => (position[i] = k));
  rows.forEach(number);
  let best = rows.map((row) => [...row]);
  let fewest = crossings(rows, down, position);
  for (let sweep = 0; sweep < SWEEPS && fewest > 0; sweep++) {
    const downwards = sweep % 2 === 0;
    for (let k = 0; k < rows.length; k++) {
      const row = rows[downwards ? k : rows.length - 1 - k];
      for (const i of row) {
        const links = downwards ? up[i] : down[i];
        let sum = 0;
        for (const link of links)
          sum += position[downwards ? link.a : link.z] + (downwards ? link.aDx : link.zDx) * 1e-5;
        wish[i] = links.length ? sum / links.length : position[i];
      }
      row.sort((a, b) => wish[a] - wish[b] || position[a] - position[b]);
      number(row);
    }
    const now = crossings(rows, down, position);
    if (now < fewest) {
      fewest = now;
      best = rows.map((row) => [...row]);
    }
  }
  best.forEach((row, k) => (rows[k] = row));
}

/** How many pairs of links cross. */
function crossings(rows: number[][], down: Link[][], position: Float64Array): number {
  let total = 0;
  for (const row of rows) {
    const ends: number[] = [];
    for (const i of row) {
      const to = down[i].map((link) => position[link.z]).sort((a, b) => a - b);
      ends.push(...to);
    }
    total += inversions(ends);
  }
  return total;
}

function inversions(values: number[]): number {
  if (values.length < 2) return 0;
  const middle = values.length >> 1;
  const [a, b] = [values.slice(0, middle), values.slice(middle)];
  let total = inversions(a) + inversions(b);
  for (let i = 0, j = 0, k = 0; k < values.length; k++) {
    if (j >= b.length || (i < a.length && a[i] <= b[j])) values[k] = a[i++];
    else {
      values[k] = b[j++];
      total += a.length - i;
    }
  }
  return total;
}

/** Middles of all nodes: each as near as can be to what it is linked with, without overlaps. */
function place(rows: number[][], widths: number[], up: Link[][], down: Link[][], real: number): Float64Array {
  const x = new Float64Array(widths.length);
  const gap = (a: number, b: number) => (a >= real && b >= real ? 6 : GAP_X);
  const offsets = rows.map((row) => {
    let at = 0;
    return row.map((i, k) => {
      if (k > 0) at += widths[row[k - 1]] / 2 + gap(row[k - 1], i) + widths[i] / 2;
      return at;
    });
  });
  rows.forEach((row, r) => {
    const middle = (offsets[r].at(-1) ?? 0) / 2;
    row.forEach((i, k) => (x[i] = offsets[r][k] - middle));
  });
  const settle = (r: number, above: boolean, below: boolean) => {
    const row = rows[r];
    const wishes: number[] = [];
    const weights: number[] = [];
    row.forEach((i, k) => {
      let [sum, weight] = [0, 0];
      if (above)
        for (const link of up[i]) {
          sum += link.weight * (x[link.a] + link.aDx - link.zDx);
          weight += link.weight;
        }
      if (below)
        for (const link of down[i]) {
          sum += link.weight * (x[link.z] + link.zDx - link.aDx);
          weight += link.weight;
        }
      wishes.push((weight > 0 ? sum / weight : x[i]) - offsets[r][k]);
      weights.push(weight > 0 ? weight : 0.01);
    });
    const fitted = isotonic(wishes, weights);
    row.forEach((i, k) => (x[i] = fitted[k] + offsets[r][k]));
  };
  for (let round = 0; round < 8; round++) {
    for (let r = 1; r < rows.length; r++) settle(r, true, false);
    for (let r = rows.length - 2; r >= 0; r--) settle(r, false, true);
  }
  for (let r = 0; r < rows.length; r++) settle(r, true, true);
  return x;
}

/** Moves the bends of an edge that passes ranks onto as few vertical lines as there is room for. */
function straighten(
  chain: number[],
  rows: number[][],
  widths: number[],
  x: Float64Array,
  rankOf: number[],
  real: number,
) {
  const room = (i: number): [number, number] => {
    const row = rows[rankOf[i]];
    const k = row.indexOf(i);
    const away = (other: number) => (widths[other] + widths[i]) / 2 + (other >= real ? 6 : GAP_X);
    const left = k > 0 ? x[row[k - 1]] + away(row[k - 1]) : -Infinity;
    const right = k + 1 < row.length ? x[row[k + 1]] - away(row[k + 1]) : Infinity;
    return [left, right];
  };
  let begin = 1;
  while (begin < chain.length - 1) {
    let [left, right] = room(chain[begin]);
    let end = begin + 1;
    while (end < chain.length - 1) {
      const [l, r] = room(chain[end]);
      if (Math.max(left, l) > Math.min(right, r)) break;
      [left, right] = [Math.max(left, l), Math.min(right, r)];
      end++;
    }
    let sum = 0;
    for (let k = begin; k < end; k++) sum += x[chain[k]];
    const last = x[chain[chain.length - 1]];
    // Straight into the node below, where that is possible.
    const wish = end === chain.length - 1 && last >= left && last <= right ? last : sum / (end - begin);
    const at = Math.min(right, Math.max(left, wish));
    if (Number.isFinite(at)) for (let k = begin; k < end; k++) x[chain[k]] = at;
    begin = end;
  }
}

/** The rising sequence nearest to the given one (pool adjacent violators). */
export function isotonic(values: readonly number[], weights: readonly number[]): number[] {
  const mean: number[] = [];
  const weight: number[] = [];
  const size: number[] = [];
  for (let i = 0; i < values.length; i++) {
    mean.push(values[i]);
    weight.push(weights[i]);
    size.push(1);
    while (mean.length > 1 && mean[mean.length - 2] > mean[mean.length - 1]) {
      const [m, w, s] = [mean.pop()!, weight.pop()!, size.pop()!];
      const k = mean.length - 1;
      mean[k] = (mean[k] * weight[k] + m * w) / (weight[k] + w);
      weight[k] += w;
      size[k] += s;
    }
  }
  return mean.flatMap((m, k) => Array<number>(size[k]).fill(m));
}
