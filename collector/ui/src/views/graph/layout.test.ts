// Promises of the layout.
import { describe, expect, it } from 'vitest';
import { sizer } from './labels';
import { isotonic, layered, ranksOf } from './layered';
import { layout, partition, rounded, smooth } from './layout';
import { buildModel, openTo } from './model';
import { neighbour } from './navigate';
import { model } from './testing';
import { visible } from './visible';

const box = { width: 40, height: 20 };
const edge = (from: number, to: number) => ({ from, to, fromDx: 0, toDx: 0 });

function laidOut(layers: number, depth: number) {
  const grouped = buildModel(model(layers));
  const size = sizer(
    (text) => text.length * 7,
    () => 1,
  );
  const seen = visible(grouped, { open: openTo(grouped, depth), hideViews: false, size });
  const placed = layout({ boxes: seen.nodes, edges: seen.edges, aspect: { width: 900, height: 400 }, columns: null });
  return { seen, placed };
}

describe('ranks', () => {
  it('put each node below all its sources', () => {
    const edges = [edge(0, 1), edge(1, 2), edge(0, 2), edge(2, 3)];
    expect([...ranksOf([box, box, box, box], edges)]).toEqual([0, 1, 2, 3]);
  });

  it('put a leaf, and what only leaves feed, directly above its user', () => {
    const nodes = [box, box, box, { ...box, tight: true }, box];
    const edges = [edge(0, 1), edge(1, 2), edge(3, 4), edge(4, 2)];
    expect([...ranksOf(nodes, edges)]).toEqual([0, 1, 2, 0, 1]);
  });

  it('put ports above and below all others', () => {
    const nodes = [{ ...box, port: 'in' as const }, box, { ...box, port: 'out' as const }, box];
    expect([...ranksOf(nodes, [edge(0, 1), edge(1, 2), edge(1, 3)])]).toEqual([0, 1, 3, 2]);
  });

  it('end for graphs that go round in circles', () => {
    expect(ranksOf([box, box], [edge(0, 1), edge(1, 0)])).toHaveLength(2);
  });
});

describe('a level', () => {
  it('keeps a chain on one vertical line', () => {
    const { x } = layered([box, { width: 90, height: 20 }, box], [edge(0, 1), edge(1, 2)]);
    expect(x[0]).toBeCloseTo(x[1]);
    expect(x[1]).toBeCloseTo(x[2]);
  });

  it('orders a rank so that its edges do not cross', () => {
    const { x } = layered([box, box, box, box], [edge(0, 3), edge(1, 2)]);
    expect(Math.sign(x[0] - x[1])).toBe(Math.sign(x[3] - x[2]));
  });

  it('leads edges that pass ranks around the nodes there', () => {
    const { routes, x } = layered([box, box, box], [edge(0, 1), edge(1, 2), edge(0, 2)]);
    const passing = routes[2].filter((_, i) => i % 2 === 0).slice(1, -1);
    expect(passing.length).toBeGreaterThan(0);
    for (const at of passing) expect(Math.abs(at - x[1])).toBeGreaterThanOrEqual(box.width / 2);
  });

  it('finds the nearest rising sequence', () => {
    expect(isotonic([3, 1, 2, 5], [1, 1, 1, 1])).toEqual([2, 2, 2, 5]);
    expect(isotonic([], [])).toEqual([]);
  });
});

describe.each([1, 2, 3])('a model opened down to depth %d', (depth) => {
  const { seen, placed } = laidOut(6, depth);
  const { x, y, width, height } = placed;

  it('has no two boxes that overlap', () => {
    const boxes = seen.nodes.flatMap((node, i) => (node.kind === 'frame' ? [] : [i]));
    for (const a of boxes) {
      for (const b of boxes) {
        const apart = x[a] + width[a] <= x[b] + 0.01 || x[b] + width[b] <= x[a] + 0.01;
        const above = y[a] + height[a] <= y[b] + 0.01 || y[b] + height[b] <= y[a] + 0.01;
        if (a < b) expect(apart || above, `${seen.nodes[a].key} and ${seen.nodes[b].key}`).toBe(true);
      }
    }
  });

  it('has every box within its frame', () => {
    seen.nodes.forEach(({ parent }, i) => {
      if (parent < 0) return;
      expect(x[i]).toBeGreaterThanOrEqual(x[parent]);
      expect(y[i]).toBeGreaterThanOrEqual(y[parent]);
      expect(x[i] + width[i]).toBeLessThanOrEqual(x[parent] + width[parent] + 0.01);
      expect(y[i] + height[i]).toBeLessThanOrEqual(y[parent] + height[parent] + 0.01);
    });
  });

  it('draws every edge from its source to its user without a gap', () => {
    seen.edges.forEach((edge, e) => {
      const curves = placed.parts[e].map((part) => placed.segments[part].curve);
      const end = curves.at(-1)!;
      expect(curves[0][0]).toBeGreaterThanOrEqual(x[edge.from]);
      expect(curves[0][0]).toBeLessThanOrEqual(x[edge.from] + width[edge.from] + 0.01);
      expect(end.at(-2)).toBeGreaterThanOrEqual(x[edge.to] - 0.01);
      expect(end.at(-2)).toBeLessThanOrEqual(x[edge.to] + width[edge.to] + 0.01);
      for (let k = 1; k < curves.length; k++) {
        expect(curves[k][0]).toBeCloseTo(curves[k - 1].at(-2)!, 3);
        expect(curves[k][1]).toBeCloseTo(curves[k - 1].at(-1)!, 3);
      }
    });
  });
});

describe('columns', () => {
  it('break a sequence so that the tallest is as low as can be', () => {
    expect([...partition([1, 1, 1, 1], 2)]).toEqual([0, 0, 1, 1]);
    expect([...partition([5, 1, 1], 2)]).toEqual([0, 1, 1]);
    expect([...partition([], 3)]).toEqual([]);
  });

  it('stay as they were when a layer is opened', () => {
    const { placed, seen } = laidOut(12, 1);
    const again = layout({
      boxes: seen.nodes.map((node) => (node.key === 'layer 3' ? { ...node, height: 900 } : node)),
      edges: seen.edges,
      aspect: { width: 900, height: 400 },
      columns: placed.columns,
    });
    expect(again.columns).toEqual(placed.columns);
  });
});

describe('lines', () => {
  it('are cubic curves that begin and end where they should', () => {
    expect(smooth([0, 0, 0, 10, 0, 20])).toEqual([0, 0, 0, 10, 0, 10, 0, 20]);
    const line = rounded([0, 0, 0, 50, 80, 50, 80, 0], 9);
    expect(line.slice(0, 2)).toEqual([0, 0]);
    expect(line.slice(-2)).toEqual([80, 0]);
    expect((line.length - 2) % 6).toBe(0);
  });
});

describe('arrow keys', () => {
  it('lead down along an edge and back up again', () => {
    const { seen, placed } = laidOut(3, 1);
    const start = neighbour(seen, placed, -1, 'down');
    expect(seen.nodes[start].key).toBe('input');
    const down = neighbour(seen, placed, start, 'down');
    expect(seen.nodes[down].key).toBe('layer 0');
    expect(seen.nodes[neighbour(seen, placed, down, 'up')].key).toBe('input');
  });

  it('lead into an open group', () => {
    const { seen, placed } = laidOut(2, 2);
    const into = neighbour(seen, placed, seen.byKey.get('layer 0')!, 'down');
    expect(seen.nodes[into].key).toBe('layer 0/attention');
  });
});
