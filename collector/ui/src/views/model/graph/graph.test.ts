// Promises of the architecture on the screen: nothing is lost in closed groups, heads stand with what they share, numbers
// of several parts together count no tensor twice.
import { describe, expect, it } from 'vitest';
import { architecture, costsOf, report } from '../testing';
import { rankFacts, runFacts, sharers, sizeFacts, together } from './facts';
import { CELL, gridOf } from './grid';
import { closedAround, isOpen, nodesIn, treeOf } from './groups';
import { labelOf } from './names';
import { sceneOf, STREAM } from './scene';
import { searchParts } from './search';
import { measuredOf, place, scaleOf, valuesOf } from './values';

const graph = architecture();
const tree = treeOf(graph);
const id = (name: string) => tree.byId.get(name)!;
const scene = (open: string[]) =>
  sceneOf(
    tree,
    new Set(open),
    {
      measure: (text) => text.length * 7,
      label: (node, group, stream) => labelOf(tree, node, group, stream, null),
      size: () => 0,
    },
    { width: 900, height: 400 },
    null,
  );

describe('groups', () => {
  it('are the layers, with heads and experts gathered within them', () => {
    expect(tree.groups.map((group) => group.key)).toEqual([
      'layer_0',
      'layer_0/heads',
      'layer_1',
      'layer_1/heads',
      'layer_1/experts',
    ]);
    expect(tree.groups[1].members).toHaveLength(6);
    expect(nodesIn(tree, 0)).toHaveLength(graph.nodes.filter((n) => n.layer === 0).length);
  });

  it('open where they are toggled; few heads are shown with their layer, very many are not', () => {
    expect(isOpen(tree, 0, new Set())).toBe(false);
    expect(isOpen(tree, 1, new Set())).toBe(true);
    expect(closedAround(tree, id('layer_0_head_3'), new Set())).toEqual(['layer_0']);
    const many = treeOf(architecture(128, 8));
    expect(isOpen(many, 1, new Set())).toBe(false);
  });

  it('of the tutorial are layers that hold nothing but heads: rows and columns at once', () => {
    const heads = new Set(
      [...graph.nodes.keys()].filter((i) => ['head', 'layer', 'input', 'output'].includes(graph.nodes[i].kind)),
    );
    const kept = [...heads];
    const tutorial = {
      schema: 'tutorial' as const,
      nodes: kept.map((i) => graph.nodes[i]),
      edges: graph.edges
        .filter((e) => heads.has(e.from) && heads.has(e.to) && e.kind === 'contains')
        .map((e) => ({ ...e, from: kept.indexOf(e.from), to: kept.indexOf(e.to) })),
    };
    const of = treeOf(tutorial);
    expect(of.groups.map(({ key, grid }) => [key, grid])).toEqual([
      ['layer_0', true],
      ['layer_1', true],
    ]);
  });
});

describe('the scene', () => {
  it('draws every node as itself or as the closed group around it', () => {
    for (const open of [[], ['layer_0'], ['layer_0', 'layer_1'], ['layer_0', 'layer_0/heads']]) {
      const { box, visible } = scene(open);
      expect([...box].every((at) => at >= 0 && at < visible.nodes.length)).toBe(true);
    }
    const closed = scene([]);
    expect(closed.visible.nodes.map((n) => n.key)).toEqual(['input', 'embedding', 'layer_0', 'layer_1', 'output']);
    expect(closed.box[id('layer_0_head_3')]).toBe(closed.visible.byKey.get('layer_0'));
  });

  it('leads residual connections to the stream behind an open layer', () => {
    const { visible } = scene(['layer_0']);
    const stream = visible.byKey.get(`layer_0${STREAM}`)!;
    const into = visible.edges.filter((e) => e.to === stream).map((e) => [visible.nodes[e.from].key, e.cross]);
    expect(into).toContainEqual(['embedding', true]);
    expect(into).toContainEqual(['layer_0_feed_forward', false]);
    // What comes behind is fed by the stream, not by the frame.
    expect(visible.edges.some((e) => e.from === stream && visible.nodes[e.to].key === 'layer_1')).toBe(true);
  });

  it('puts cells into their frame, none over another', () => {
    const { visible, layout } = scene(['layer_0', 'layer_1']);
    const cells = visible.nodes.flatMap((n, i) => (n.parent >= 0 && /head_|expert_/.test(n.key) ? [i] : []));
    expect(cells).toHaveLength(6 + 6 + 6);
    for (const i of cells) {
      const frame = visible.nodes[i].parent;
      expect(layout.x[i]).toBeGreaterThanOrEqual(layout.x[frame]);
      expect(layout.x[i] + layout.width[i]).toBeLessThanOrEqual(layout.x[frame] + layout.width[frame]);
      expect(layout.y[i] + layout.height[i]).toBeLessThanOrEqual(layout.y[frame] + layout.height[frame]);
    }
    const places = cells.map((i) => `${Math.round(layout.x[i])} ${Math.round(layout.y[i])}`);
    expect(new Set(places).size).toBe(cells.length);
  });
});

describe('rows and columns', () => {
  const nodes = architecture(32, 8, 128).nodes;
  const of = (kind: string, layer: number) =>
    [...nodes.keys()].filter((i) => nodes[i].kind === kind && nodes[i].layer === layer);

  it('put query heads below the keys and values that they share', () => {
    const plan = gridOf(nodes, [...of('kv_head', 0), ...of('head', 0)]);
    const at = (kind: string, index: number) =>
      plan.cells.find((c) => nodes[c.node].kind === kind && nodes[c.node].index === index)!;
    for (const head of [0, 3, 4, 13, 31]) {
      const kv = at('kv_head', Math.floor(head / 4));
      expect(at('head', head).x).toBe(kv.x);
      expect(at('head', head).y - kv.y).toBe((1 + (head % 4)) * (CELL.height + CELL.gap));
    }
    expect(plan.cells).toHaveLength(40);
  });

  it('keep many experts readable: neither one row nor one column', () => {
    const plan = gridOf(nodes, of('expert', 1));
    expect(plan.cells).toHaveLength(128);
    expect(plan.width / plan.height).toBeGreaterThan(1);
    expect(plan.width / plan.height).toBeLessThan(4);
    expect(new Set(plan.cells.map((c) => `${c.x} ${c.y}`)).size).toBe(128);
  });
});

describe('numbers', () => {
  const costs = costsOf(graph);

  it('of a layer count a tensor that its heads share once', () => {
    const layer = nodesIn(tree, 0);
    const measured = measuredOf(tree, layer, costs)!;
    // Norm, keys, queries, feed-forward.
    expect(measured.tensors).toBe(4);
    expect(measured.accesses).toBe(12);
    expect(measured.ns).toBe(2 + 30 + 15 + 30);
    expect(valuesOf(tree, 'time', null, costs)[id('layer_0')]).toBe(measured.ns);
    expect(valuesOf(tree, 'time', null, new Map())[id('layer_0')]).toBeNaN();
  });

  it('of a head are said to be of all heads together', () => {
    const head = {
      ...graph.nodes[id('layer_0_head_1')],
      measured: { accesses: 3, read_bytes: 10, ns: 15, last_token: 2, alone: false },
    };
    expect(sharers(graph.nodes, head)).toBe(4);
    expect(together(tree, head, head.measured)).toContain('all 4 query heads together');
    expect(together(tree, head, { ...head.measured, alone: true })).toBe(null);
  });

  it('say what a part is of the whole', () => {
    // 100 of the embedding, 152 and 152 of the layers.
    const [[, value, more]] = sizeFacts(tree, id('layer_0'));
    expect([value, more]).toEqual(['152', `152, ${((100 * 152) / 404).toFixed(1)} % of the model`]);
    expect(runFacts(tree, id('layer_0'), costs)[1]).toEqual(['accesses', '12 times']);
    expect(rankFacts(report(graph), 0)[0][2]).toBe(`1 of ${graph.nodes.length}`);
  });

  it('have places on their scale', () => {
    const scale = scaleOf([NaN, 0, 1, 100], 'time')!;
    expect([place(scale, 1), place(scale, 10), place(scale, 100)]).toEqual([0, 0.5, 1]);
    expect(place(scaleOf([2, 4], 'bits')!, 3)).toBe(0.5);
    expect(scaleOf([0, NaN], 'time')).toBe(null);
  });
});

describe('search', () => {
  it('finds a head by its layer and number, and no other number', () => {
    const found = searchParts(graph.nodes, 'layer 1 head 2').nodes.map((i) => graph.nodes[i].id);
    expect(found[0]).toBe('layer_1_head_2');
    expect(found).not.toContain('layer_1_head_3');
    expect(searchParts(graph.nodes, 'layer 0 head 1').nodes.map((i) => graph.nodes[i].id)[0]).toBe('layer_0_head_1');
    expect(searchParts(graph.nodes, 'attn_q').nodes).toHaveLength(8);
    expect(searchParts(graph.nodes, '  ').total).toBe(0);
  });
});
